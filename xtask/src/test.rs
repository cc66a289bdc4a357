//! `cargo xtask test`: every test of the workspace, in the release profile.
//!
//! Doctests come first and the test binaries last, so that the output ends with the runner's own closing lines. nextest runs them
//! where it is installed, `cargo test` elsewhere. An ISA variant starts the binaries that exist again under `PARSIMON_ISA`: the
//! variable is read at run time, so nothing is built for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{aarch64, process, workspace};

/// Example: `cargo xtask test --isa-sweep`, or `cargo xtask test -- parsimon_lut` for the tests whose name holds that text.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs the tests of the crates with kernels under every lower instruction set as well.
    #[arg(long)]
    isa_sweep: bool,
    /// Only the tests of the crates with kernels, for AArch64 in an emulator; says what is missing where that is not possible.
    #[arg(long, conflicts_with = "isa_sweep")]
    aarch64: bool,
    /// Passed on to the test runner; doctests are left out then.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Crates whose results could depend on the instruction set.
const ISA_CRATES: &[&str] = &["parsimon-ann", "parsimon-simd", "parsimon-lut", "parsimon-attn", "parsimon-model"];

/// The instruction sets below the best one that are worth a run of their own.
pub(crate) const ISA_VARIANTS: &[&str] = if cfg!(target_arch = "x86_64") { &["scalar", "avx2"] } else { &["scalar"] };

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.aarch64 {
        return aarch64::run(ISA_CRATES);
    }
    if args.args.is_empty() {
        doctests()?;
    }
    if args.isa_sweep {
        for level in ISA_VARIANTS {
            isa_variant(level)?;
        }
    }
    all(&args.args)
}

/// The examples in the documentation.
pub(crate) fn doctests() -> Result<()> {
    process::run(workspace::cargo().args(["test", "--quiet", "--release", "--workspace", "--doc"]))
}

/// All test binaries at the best instruction set.
pub(crate) fn all(extra: &[String]) -> Result<()> {
    let log = workspace::target_dir().join("golden.log");
    if log.exists() {
        std::fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    }
    let mut command = workspace::cargo();
    command.env("PARSIMON_GOLDEN_LOG", &log).stdin(Stdio::null());
    let closing = if process::works(workspace::cargo().args(["nextest", "--version"])) {
        with_nextest(command.args(["nextest", "run", "--release", "--workspace"]).args(extra))
    } else {
        eprintln!(
            "cargo-nextest is not installed; `cargo test` runs the tests (`cargo install cargo-nextest` gives a faster run)"
        );
        with_cargo_test(command.args(["test", "--release", "--workspace", "--lib", "--bins", "--tests"]).args(extra))
    }?;
    eprint!("{}", golden_table(&std::fs::read_to_string(&log).unwrap_or_default()));
    eprint!("{}", closing.lines);
    ensure!(closing.passed, "tests failed");
    Ok(())
}

/// How a test run ended; the lines are printed after the table of golden cases.
struct Closing {
    lines: String,
    passed: bool,
}

/// nextest reports on standard error; its summary is held back.
fn with_nextest(command: &mut Command) -> Result<Closing> {
    eprintln!("$ {}", process::shown(command));
    let mut child = command.stderr(Stdio::piped()).spawn().context("cannot start cargo nextest")?;
    let mut lines = String::new();
    for line in BufReader::new(child.stderr.take().expect("standard error is piped")).lines() {
        let line = line?;
        if !lines.is_empty() || line.trim_start().starts_with("Summary [") {
            lines.push_str(&line);
            lines.push('\n');
        } else {
            eprintln!("{line}");
        }
    }
    Ok(Closing { lines, passed: child.wait()?.success() })
}

/// `cargo test` closes every binary with a line of its own; the sum of them is held back.
fn with_cargo_test(command: &mut Command) -> Result<Closing> {
    eprintln!("$ {}", process::shown(command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut sums = Sums::default();
    for line in BufReader::new(child.stdout.take().expect("standard output is piped")).lines() {
        let line = line?;
        sums.add(&line);
        println!("{line}");
    }
    let passed = child.wait()?.success();
    Ok(Closing { lines: sums.line(passed), passed })
}

/// The sums of the `test result:` lines of several binaries.
#[derive(Default)]
struct Sums {
    binaries: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sums {
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result:") else { return };
        let count = |what: &str| {
            let before = rest.split(&format!(" {what}")).next().unwrap_or_default();
            before.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        self.binaries += 1;
        self.passed += count("passed");
        self.failed += count("failed");
        self.ignored += count("ignored");
    }

    fn line(&self, passed: bool) -> String {
        let state = if passed { "ok" } else { "FAILED" };
        let Sums { binaries, passed, failed, ignored } = self;
        format!(
            "test result: {state}. {passed} passed; {failed} failed; {ignored} ignored; in {binaries} test binaries\n"
        )
    }
}

/// Golden cases by crate, from the lines that the test kit logs.
fn golden_table(log: &str) -> String {
    let mut crates: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in log.lines() {
        if let [name, _place, run, skipped] = line.split('\t').collect::<Vec<_>>()[..] {
            let entry = crates.entry(name).or_default();
            entry.0 += run.parse::<u64>().unwrap_or(0);
            entry.1 += skipped.parse::<u64>().unwrap_or(0);
        }
    }
    if crates.is_empty() {
        return String::new();
    }
    let mut table = format!("\n{:<28}{:>10}{:>18}\n", "golden cases", "run", "folders skipped");
    for (name, (run, skipped)) in crates {
        table.push_str(&format!("{name:<28}{run:>10}{skipped:>18}\n"));
    }
    table.push('\n');
    table
}

/// Runs the test binaries of the crates with kernels once more at a lower instruction set.
pub(crate) fn isa_variant(level: &str) -> Result<()> {
    for binary in binaries()?.iter().filter(|binary| ISA_CRATES.contains(&binary.package())) {
        let mut command = Command::new(&binary.executable);
        command.arg("--quiet").env("PARSIMON_ISA", level).current_dir(&binary.dir).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot start {}", binary.executable.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().rev().find(|line| line.starts_with("test result:")).unwrap_or("no result");
        eprintln!("PARSIMON_ISA={level} {} {}: {result}", binary.package(), binary.name);
        if !output.status.success() {
            eprint!("{text}{}", String::from_utf8_lossy(&output.stderr));
        }
        ensure!(output.status.success(), "{} fails with PARSIMON_ISA={level}", binary.package());
    }
    Ok(())
}

/// A built test binary.
struct Binary {
    /// The folder of the package, where its tests expect to run.
    dir: PathBuf,
    name: String,
    executable: PathBuf,
}

impl Binary {
    /// Folder and package share their name.
    fn package(&self) -> &str {
        self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// The test binaries of the workspace, built where they are not.
fn binaries() -> Result<Vec<Binary>> {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--release", "--workspace", "--no-run", "--message-format", "json"]);
    Ok(parse_binaries(&workspace::output_of(&mut command)?))
}

fn parse_binaries(messages: &str) -> Vec<Binary> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["profile"]["test"] == true)
        .filter_map(|message| {
            Some(Binary {
                dir: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
                name: message["target"]["name"].as_str()?.to_owned(),
                executable: message["executable"].as_str()?.into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let mut sums = Sums::default();
        sums.add("running 3 tests");
        sums.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        sums.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!(sums.line(false), "test result: FAILED. 15 passed; 2 failed; 1 ignored; in 2 test binaries\n");
    }

    #[test]
    fn golden_lines_are_summed_by_crate() {
        let table = golden_table("parsimon-core\tformats\t12\t0\nparsimon-core\tnpy\t3\t0\nparsimon-lut\tlut\t0\t1\n");
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["parsimon-core", "15", "0"]), "{table}");
        assert!(rows.contains(&vec!["parsimon-lut", "0", "1"]), "{table}");
        assert_eq!(golden_table(""), "");
    }

    #[test]
    fn only_test_binaries_are_taken() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/w/crates/parsimon-lut/Cargo.toml","target":{"name":"parsimon_lut"},"profile":{"test":true},"executable":"/t/lut-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/crates/parsimon-cli/Cargo.toml","target":{"name":"parsimon"},"profile":{"test":false},"executable":"/t/parsimon"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let binaries = parse_binaries(messages);
        assert_eq!(binaries.len(), 1);
        assert_eq!((binaries[0].package(), binaries[0].executable.to_str()), ("parsimon-lut", Some("/t/lut-1")));
    }
}
