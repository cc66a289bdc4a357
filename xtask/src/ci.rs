//! `cargo xtask ci`: everything that a change has to pass, with the seconds of each step.
//!
//! burn is compiled once and checked once. Clippy and rustdoc both need the dependencies' metadata, which clippy leaves in the release
//! profile. Everything that is executed comes from one build of the whole workspace: cargo unifies the features of what it builds
//! together, so a later `-p parsimon-bench` alone would compile a second copy of shared dependencies. Tests, the demo, the benches and
//! the ISA variants therefore reuse the programs that the step `build` leaves.
//!
//! The tests run last, after the table of seconds, so that the output ends with the runner's own closing lines.

use anyhow::{Context, Result};

use crate::process::Steps;
use crate::{bench, demo, doc, golden, process, test, tidy, workspace};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.run("fmt", || process::run(workspace::cargo().args(["fmt", "--all", "--check"])))?;
    steps.run("tidy", tidy::check)?;
    steps.run("golden sizes", golden::run)?;
    steps.run("clippy", || {
        let mut command = workspace::cargo();
        command.args(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]);
        process::run(&mut command)?;
        // Apart, because criterion in the same graph would change features of burn's dependencies.
        let mut command = workspace::cargo();
        command.args([
            "clippy",
            "--release",
            "-p",
            "parsimon-bench",
            "--features",
            "criterion",
            "--benches",
            "--",
            "-D",
            "warnings",
        ]);
        process::run(&mut command)
    })?;
    steps.run("docs", doc::build)?;
    steps.run("build", build_all)?;
    steps.run("bench smoke", bench::smoke_prebuilt)?;
    steps.run("demo smoke", || demo::run(&demo::Args::smoke(), demo::Build::Workspace))?;
    steps.run("doctests", test::doctests)?;
    for level in test::ISA_VARIANTS {
        steps.run(&format!("tests, {level}"), || test::isa_variant(level))?;
    }
    eprintln!("\n{}\n== tests", steps.table());
    test::all(&[]).context("step `tests` failed")
}

/// Builds every library, program, test and bench of the workspace.
pub(crate) fn build_all() -> Result<()> {
    process::run(workspace::cargo().args(["build", "--release", "--workspace", "--all-targets"]))
}
