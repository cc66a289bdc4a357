//! The `parsimon` command.
//!
//! Every command is a module of [`commands`] with its arguments and a `run`; it reports through [`context::Context`], which knows
//! whether a person or a program reads. Libraries return data; only this crate prints and draws.
#![forbid(unsafe_code)]

mod commands;
mod context;
mod failure;
mod progress;
mod report;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::context::Context;
use crate::failure::Failure;

/// An efficient language-model stack: curate, train, quantize, run.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    /// Print one JSON document on standard output and nothing else there.
    #[arg(long, global = true)]
    json: bool,
    /// Threads of the process; the default is one per processor. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

/// The first argument of the process that becomes the sandbox around a model-written program.
pub(crate) const HELPER: &str = "sandbox-helper";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(HELPER) {
        // Before anything starts a thread: a process with threads cannot enter a user namespace.
        return ExitCode::from(parsimon::reason::sandbox::helper_main(&arguments.collect::<Vec<_>>()));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::from_error(&error).report(json),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("PARSIMON_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    if let Some(Err(unknown)) = &parsimon::simd::Selection::current().requested {
        return Err(unknown.clone().into());
    }
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    cli.command.run(&Context::new(cli.json)?)
}
