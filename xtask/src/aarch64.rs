//! `cargo xtask test --aarch64`: the tests of the crates with kernels, built for AArch64 and run by an emulator.
//!
//! It needs the target's standard library (`rustup target add`, or `RUSTC` naming a compiler that has it), a linker and qemu. What is missing
//! is named, and the tests are skipped: nothing else needs any of it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{process, workspace};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// Where Debian's cross compiler keeps the target's shared libraries.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Runs the unit and integration tests of `packages`; says what is missing where they cannot run.
pub(crate) fn run(packages: &[&str]) -> Result<()> {
    let missing = missing();
    if !missing.is_empty() {
        for (what, install) in missing {
            eprintln!("AArch64 tests skipped: {what} is missing ({install})");
        }
        return Ok(());
    }
    let mut command = workspace::cargo();
    command.args(["test", "--release", "--target", TARGET, "--lib", "--tests"]);
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{EMULATOR} -L {LIBRARIES}"));
    process::run(&mut command)
}

/// What the tests need and the machine lacks, each with the command that installs it.
fn missing() -> Vec<(String, &'static str)> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut libdir = Command::new(rustc);
    libdir.args(["--print", "target-libdir", "--target", TARGET]);
    let has_std = workspace::output_of(&mut libdir).is_ok_and(|dir| Path::new(dir.trim()).exists());
    let needs = [
        (has_std, format!("the standard library for {TARGET}"), "rustup target add aarch64-unknown-linux-gnu"),
        (process::works(Command::new(LINKER).arg("--version")), LINKER.to_owned(), "apt install gcc-aarch64-linux-gnu"),
        (process::works(Command::new(EMULATOR).arg("--version")), EMULATOR.to_owned(), "apt install qemu-user"),
    ];
    needs.into_iter().filter(|(there, ..)| !there).map(|(_, what, install)| (what, install)).collect()
}
