//! Measurements, one area of the workspace each; started by `cargo xtask bench`.
//!
//! Every case is compared with a reference before it is timed, has an honest baseline and a physical limit from a probe in the same run, and
//! becomes one JSON line. Absolute times of a shared machine mean little; the ratios are what to read.
#![forbid(unsafe_code)]

mod lut;
mod measure;
mod model;
mod probe;
mod record;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use parsimon_simd::Level;

use crate::record::Sink;

/// Measure the kernels and the runtime.
#[derive(Parser)]
#[command(after_help = "Example: cargo xtask bench lut --filter gemv --json lut.jsonl")]
struct Args {
    /// What to measure.
    area: Area,
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Area {
    /// The lookup-table kernels.
    Lut,
    /// Decoding with a whole model.
    Model,
    /// Every area.
    All,
}

/// How large the cases are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effort {
    Smoke,
    Normal,
    Full,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let effort = match (args.smoke, args.full) {
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
    let mut sink = Sink::new(args.filter);
    if args.area != Area::Model {
        lut::run(effort, &mut sink)?;
    }
    if args.area != Area::Lut {
        model::run(effort, &mut sink)?;
    }
    if let Some(path) = args.json {
        let mut file = parsimon_core::io::AtomicFile::create(&path)?;
        for record in sink.records() {
            writeln!(file, "{}", serde_json::to_string(record)?).context("cannot write the records")?;
        }
        file.commit()?;
    }
    Ok(())
}
