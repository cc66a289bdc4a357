//! `cargo xtask bench <area>`: starts `parsimon-bench`, which measures and prints one JSON object a line, and with `--peers` the program of
//! `benches/compare` after it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{peers, process, workspace};

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
    /// Also compares with other projects: the area `lut` with their kernels, alternating in one process, and the area `model` with llama.cpp's
    /// programs, in turns.
    #[arg(long)]
    peers: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--release", "-p", "parsimon-bench", "--"]);
    ensure!(
        !args.peers || ["lut", "model"].contains(&args.area.as_str()),
        "--peers compares the areas `lut` and `model`"
    );
    process::run(arguments(&mut command, args))?;
    if !args.peers {
        return Ok(());
    }
    let lines = peers::folder().join("bench.jsonl");
    if args.area == "model" {
        compare_models(args.smoke, &lines)?;
    } else {
        compare_kernels(args, &lines)?;
    }
    let Some(json) = &args.json else { return Ok(()) };
    let lines = std::fs::read(&lines).with_context(|| format!("cannot read {}", lines.display()))?;
    let mut file =
        OpenOptions::new().append(true).open(json).with_context(|| format!("cannot open {}", json.display()))?;
    file.write_all(&lines).with_context(|| format!("cannot write {}", json.display()))
}

fn compare_kernels(args: &Args, lines: &Path) -> Result<()> {
    say_missing_peers();
    let mut words = Vec::new();
    words.extend(args.smoke.then_some("--smoke"));
    words.extend(args.full.then_some("--full"));
    if let Some(filter) = &args.filter {
        words.extend(["--filter", filter]);
    }
    compare(&words, lines)
}

fn say_missing_peers() {
    for build in peers::missing() {
        eprintln!("not installed: llama.cpp, {build} build; install it with `{}`", peers::INSTALL);
    }
}

/// Runs the program of `benches/compare`, which leaves its records in `lines`.
pub(crate) fn compare(words: &[&str], lines: &Path) -> Result<()> {
    std::fs::create_dir_all(peers::folder()).with_context(|| format!("cannot create {}", peers::folder().display()))?;
    let mut command = compare_program("parsimon-compare");
    process::run(command.arg("--peers").arg(peers::folder()).args(words).arg("--json").arg(lines))
}

/// Whole models beside llama.cpp's.
fn compare_models(smoke: bool, lines: &Path) -> Result<()> {
    let mut build = workspace::cargo();
    process::run(build.args(["build", "--quiet", "--release", "-p", "parsimon-cli"]))?;
    let mut command = compare_program("models");
    command.arg("--peers").arg(peers::folder()).arg("--parsimon").arg(workspace::built("parsimon"));
    process::run(command.args(smoke.then_some("--smoke")).arg("--json").arg(lines))
}

/// A program of `benches/compare`, without arguments.
fn compare_program(name: &str) -> Command {
    let mut command = workspace::cargo();
    command.current_dir(workspace::root().join("benches/compare"));
    command.args(["run", "--quiet", "--release", "--locked", "--bin", name, "--target-dir"]);
    command.arg(workspace::target_dir().join("compare")).arg("--");
    command
}

/// The smoke run of `ci`, with the program that the workspace's build left: `cargo run -p parsimon-bench` would resolve the
/// features for that package alone and compile a second copy of what it shares with the others.
pub(crate) fn smoke_prebuilt() -> Result<()> {
    let args = Args { area: "all".into(), smoke: true, full: false, filter: None, json: None, peers: false };
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
