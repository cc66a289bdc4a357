//! `cargo xtask repro <paper>`: the published tables of a paper beside what this machine measures.
//!
//! `parsimon-bench` measures and prints. Where other projects' kernels are installed, `benches/compare` measures first, so that ours and
//! theirs come from one run.

use std::path::PathBuf;

use anyhow::Result;

use crate::{bench, peers, process, workspace};

/// Papers whose tables hold llama.cpp's times.
const WITH_PEERS: [&str; 1] = ["tmac"];

/// Example: `cargo xtask repro tmac --json target/tmac.jsonl`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The paper: `tmac`, `spfresh`, `vptq`, `sigma`, `seerattention`, `rstar` or `rstar-math`.
    paper: String,
    /// Also writes the rows to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Further arguments of the program, such as `--days 20 --figures target/figures` for `spfresh`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--release", "-p", "parsimon-bench", "--", "repro", &args.paper]);
    if !WITH_PEERS.contains(&args.paper.as_str()) {
        // Nothing of theirs stands in its tables.
    } else if peers::missing().is_empty() {
        let lines = peers::folder().join("tmac.jsonl");
        bench::compare(&["--threads", "1", "--filter", "n=1 cold"], &lines)?;
        command.arg("--peers").arg(lines);
    } else {
        eprintln!("llama.cpp is not installed, its rows stay empty; `{}` installs it", peers::INSTALL);
    }
    if let Some(json) = &args.json {
        command.arg("--json").arg(json);
    }
    process::run(command.args(&args.rest))
}
