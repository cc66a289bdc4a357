//! The repository's own workflows: `cargo xtask <command>`. It only starts processes and reads files; everything that measures or
//! computes lives in the crates and in `benches/`.
//!
//! One file per command. `cargo xtask --help` lists them.

#![forbid(unsafe_code)]

mod aarch64;
mod bench;
mod ci;
mod demo;
mod doc;
mod fuzz;
mod golden;
mod peers;
mod process;
mod repro;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The workflows of the Parsimon repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole story on real input: curate, train, quantize, evaluate, generate, report.
    Demo(demo::Args),
    /// Runs all tests of the workspace in the release profile.
    Test(test::Args),
    /// Runs everything that a change has to pass, the tests last.
    Ci,
    /// Checks the rules of the house: crate edges, places of unsafe code, lengths, names, paper tags.
    Tidy(tidy::Args),
    /// Measures an area and prints JSON lines.
    Bench(bench::Args),
    /// Prints the tables of a paper beside what this machine measures.
    Repro(repro::Args),
    /// Installs other projects' kernels for `bench lut --peers`.
    Peers(peers::Args),
    /// Feeds the parsers with mutated inputs (nightly compiler and cargo-fuzz).
    Fuzz(fuzz::Args),
    /// Builds the documentation of all crates.
    Doc(doc::Args),
    /// Lists and checks the golden files that the repository carries.
    Golden,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args, demo::Build::CliOnly),
        Command::Test(args) => test::run(&args),
        Command::Ci => ci::run(),
        Command::Tidy(args) => tidy::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Repro(args) => repro::run(&args),
        Command::Peers(args) => peers::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Doc(args) => doc::run(&args),
        Command::Golden => golden::run(),
    }
}
