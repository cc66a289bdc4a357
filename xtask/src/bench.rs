//! `cargo xtask bench <area>`: starts `parsimon-bench`, which measures and prints one JSON object a line.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{process, workspace};

/// Example: `cargo xtask bench lut --smoke --json target/lut.jsonl`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The area to measure, or `all`.
    area: String,
    /// Small sizes that finish in seconds.
    #[arg(long, conflicts_with = "full")]
    smoke: bool,
    /// All sizes, more repetitions.
    #[arg(long)]
    full: bool,
    /// Only the cases whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Writes the lines to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--release", "-p", "parsimon-bench", "--"]);
    process::run(arguments(&mut command, args))
}

/// The smoke run of `ci`, with the program that the workspace's build left: `cargo run -p parsimon-bench` would resolve the
/// features for that package alone and compile a second copy of what it shares with the others.
pub(crate) fn smoke_prebuilt() -> Result<()> {
    let args = Args { area: "all".into(), smoke: true, full: false, filter: None, json: None };
    process::run(arguments(&mut Command::new(workspace::built("parsimon-bench")), &args))
}

fn arguments<'a>(command: &'a mut Command, args: &Args) -> &'a mut Command {
    command.arg(&args.area);
    if args.smoke {
        command.arg("--smoke");
    }
    if args.full {
        command.arg("--full");
    }
    if let Some(filter) = &args.filter {
        command.args(["--filter", filter]);
    }
    if let Some(json) = &args.json {
        command.arg("--json").arg(json);
    }
    command
}
