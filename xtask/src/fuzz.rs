//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, each for some seconds, starting from the golden files.
//!
//! It needs a nightly compiler and cargo-fuzz, and names what is missing. Findings are kept in `fuzz/artifacts`, and found inputs in
//! `target/fuzz`, from where the next run goes on.

use anyhow::{Context, Result, ensure};

use crate::{process, workspace};

/// The targets with the folders of their first inputs, below the root.
const TARGETS: [(&str, &[&str]); 13] = [
    ("gguf", &["crates/parsimon-core/tests/data/formats/gguf_tiny"]),
    ("safetensors", &["crates/parsimon-core/tests/data/formats/packed", "crates/parsimon-lut/tests/data"]),
    ("npy", &[]),
    ("packed_matrix", &[]),
    ("codes", &[]),
    ("config", &["crates/parsimon-model/tests/data"]),
    ("warc", &[]),
    ("pth", &[]),
    ("block_list", &[]),
    ("vptq", &[]),
    ("vectors", &[]),
    ("runbook", &[]),
    ("ann_index", &[]),
];

/// The largest input that is made.
const INPUT_BYTES_MAX: usize = 1 << 16;

/// Example: `cargo xtask fuzz gguf --seconds 600`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Targets; all of them without one.
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let known = |name: &String| TARGETS.iter().any(|(target, _)| target == name);
    for name in &args.targets {
        let names = TARGETS.map(|(target, _)| target).join(", ");
        ensure!(known(name), "no fuzz target `{name}`: there are {names}");
    }
    if !process::works(nightly().args(["fuzz", "--version"])) {
        eprintln!(
            "fuzzing skipped: it needs `rustup toolchain install nightly` and `cargo +nightly install cargo-fuzz`"
        );
        return Ok(());
    }
    for (target, seeds) in TARGETS {
        if args.targets.is_empty() || args.targets.iter().any(|name| name == target) {
            fuzz(target, seeds, args.seconds)?;
        }
    }
    Ok(())
}

fn fuzz(target: &str, seeds: &[&str], seconds: u32) -> Result<()> {
    let corpus = workspace::target_dir().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let mut command = nightly();
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--target-dir"]).arg(workspace::target_dir().join("fuzz/build"));
    command.arg(target).arg(corpus);
    command.args(seeds.iter().map(|seeds| workspace::root().join(seeds)).filter(|seeds| seeds.exists()));
    command.args(["--", "-print_final_stats=1", "-verbosity=0", "-timeout=10", "-rss_limit_mb=2048"]);
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={INPUT_BYTES_MAX}")]);
    process::run(&mut command)
}

/// `cargo` of the nightly toolchain.
fn nightly() -> std::process::Command {
    let mut command = std::process::Command::new("cargo");
    command.arg("+nightly").current_dir(workspace::root());
    // What the cargo that runs this program set would choose its own toolchain again.
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}
