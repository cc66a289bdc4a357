//! Measurements, one area of the workspace each; started by `cargo xtask bench`.
//!
//! Every case is compared with a reference before it is timed, has an honest baseline and a physical limit from a probe in the same run, and
//! becomes one JSON line. Absolute times of a shared machine mean little; the ratios are what to read.
#![forbid(unsafe_code)]

mod ann;
mod attention;
mod lut;
mod measure;
mod model;
mod probe;
mod reason;
mod record;
mod repro;
mod vq;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use parsimon_simd::Level;
use serde::Serialize;

use crate::record::Sink;

/// Measure the kernels and the runtime.
#[derive(Parser)]
#[command(after_help = "Example: cargo xtask bench lut --filter gemv --json lut.jsonl")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the lookup-table kernels.
    Lut(Options),
    /// Measure attention: prefill, block lists, decode.
    Attention(Options),
    /// Measure decoding with a whole model.
    Model(Options),
    /// Measure the vector index.
    Ann(Options),
    /// Measure layers of codebooks and k-means.
    Vq(Options),
    /// Measure the searches, the grader and the clients.
    Reason(Options),
    /// Measure every area.
    All(Options),
    /// Print the tables of a paper beside what this machine measures.
    Repro(repro::Args),
    /// Run a few products and nothing else, for counting instructions.
    #[command(hide = true)]
    Once(repro::Once),
}

#[derive(clap::Args)]
struct Options {
    /// Small sizes that run in seconds; shows that everything works, not how fast it is.
    #[arg(long, conflicts_with = "full")]
    smoke: bool,
    /// All sizes.
    #[arg(long)]
    full: bool,
    /// Only cases whose name or variant holds this text.
    #[arg(long)]
    filter: Option<String>,
    /// Also write the records here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// An area of the workspace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    Ann,
    Lut,
    Attention,
    Model,
    Reason,
    Vq,
}

/// How large the cases are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effort {
    Smoke,
    Normal,
    Full,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Lut(options) => bench(&[Area::Lut], options),
        Command::Model(options) => bench(&[Area::Model], options),
        Command::Ann(options) => bench(&[Area::Ann], options),
        Command::Vq(options) => bench(&[Area::Vq], options),
        Command::Reason(options) => bench(&[Area::Reason], options),
        Command::Attention(options) => bench(&[Area::Attention], options),
        Command::All(options) => {
            bench(&[Area::Lut, Area::Attention, Area::Model, Area::Vq, Area::Ann, Area::Reason], options)
        }
        Command::Repro(args) => repro::run(&args),
        Command::Once(args) => repro::once(&args),
    }
}

fn bench(areas: &[Area], options: Options) -> anyhow::Result<()> {
    let effort = match (options.smoke, options.full) {
        (true, _) => Effort::Smoke,
        (_, true) => Effort::Full,
        _ => Effort::Normal,
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".into());
    eprintln!(
        "processor: {}; level {}; {} threads; load {}",
        probe::processor(),
        Level::best(),
        rayon::current_num_threads(),
        load.trim()
    );
    let mut sink = Sink::new(options.filter);
    for area in areas {
        match area {
            Area::Ann => ann::run(effort, &mut sink)?,
            Area::Attention => attention::run(effort, &mut sink)?,
            Area::Lut => lut::run(effort, &mut sink)?,
            Area::Model => model::run(effort, &mut sink)?,
            Area::Reason => reason::run(effort, &mut sink)?,
            Area::Vq => vq::run(effort, &mut sink)?,
        }
    }
    match options.json {
        Some(path) => write_lines(&path, sink.records()),
        None => Ok(()),
    }
}

/// Writes values as JSON, one a line.
fn write_lines<T: Serialize>(path: &Path, values: &[T]) -> anyhow::Result<()> {
    let mut file = parsimon_core::io::AtomicFile::create(path)?;
    for value in values {
        writeln!(file, "{}", serde_json::to_string(value)?).context("cannot write the records")?;
    }
    file.commit()?;
    Ok(())
}
