//! The published tables of a paper beside what this machine measures; started by `cargo xtask repro`.

mod attention;
mod energy;
mod figure;
mod reason;
mod spfresh;
mod tmac;
mod vptq;

use std::path::PathBuf;

use clap::ValueEnum;
pub(crate) use energy::{Once, once};
use serde::Serialize;

/// What to print.
#[derive(clap::Args)]
pub(crate) struct Args {
    paper: Paper,
    /// Also write the rows here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Records of the program in `benches/compare`: where there are some, ours are theirs, from one run with the peers'.
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Days of the churn runs of `spfresh`.
    #[arg(long, default_value_t = 100)]
    days: usize,
    /// Training games of `rstar-math`.
    #[arg(long, default_value_t = 1500)]
    games: usize,
    /// Where figures go, as SVG.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Paper {
    /// T-MAC: times of low-bit GEMV.
    Tmac,
    /// SPFresh: an index under churn.
    Spfresh,
    /// VPTQ: the ablation on a synthetic layer, and perplexity against bits on a trained model (minutes).
    Vptq,
    /// Sigma: cost of DiffQKV beside grouped-query attention.
    Sigma,
    /// SeerAttention: speed-up of block-sparse attention.
    Seerattention,
    /// rStar: its tables, and mutual consistency with a policy of known error rate.
    Rstar,
    /// rStar-Math: its rounds, and rounds of self-evolution on Countdown.
    RstarMath,
}

/// One published number and ours; the field names are the contract of docs/ARCHITECTURE.md. What does not exist is null.
#[derive(Clone, Debug, Serialize)]
struct Row {
    paper: &'static str,
    table: &'static str,
    row: String,
    published: Option<f64>,
    published_conditions: String,
    ours: Option<f64>,
    unit: &'static str,
    conditions: String,
    /// `ours / published - 1`.
    deviation: Option<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let rows = match args.paper {
        Paper::Spfresh => spfresh::rows(args.days, args.figures.as_deref(), args.peers.as_deref())?,
        Paper::Tmac => [tmac::rows(args.peers.as_deref())?, energy::rows()?].concat(),
        Paper::Vptq => vptq::rows(args.figures.as_deref())?,
        Paper::Sigma => attention::sigma()?,
        Paper::Seerattention => attention::seerattention()?,
        Paper::Rstar => reason::rstar()?,
        Paper::RstarMath => reason::rstar_math(args.games)?,
    };
    print(&rows);
    match &args.json {
        Some(path) => crate::write_lines(path, &rows),
        None => Ok(()),
    }
}

fn print(rows: &[Row]) {
    let mut table = "";
    let number = |number: Option<f64>| number.map_or_else(|| "-".into(), |number| format!("{number:.3}"));
    for row in rows {
        if row.table != table {
            table = row.table;
            println!("\n{table}");
            println!("{:<52} {:>10} {:>10} {:<5} {:>10}", "row", "published", "ours", "unit", "deviation");
        }
        let deviation = row.deviation.map_or_else(|| "-".into(), |deviation| format!("{:+.0} %", 100.0 * deviation));
        println!(
            "{:<52} {:>10} {:>10} {:<5} {deviation:>10}",
            format!("{}, {}", row.row, row.published_conditions),
            number(row.published),
            number(row.ours),
            row.unit
        );
    }
    let mut conditions: Vec<&str> = rows.iter().map(|row| row.conditions.as_str()).collect();
    conditions.dedup();
    conditions.sort_unstable();
    conditions.dedup();
    println!("\nours:\n  {}", conditions.join("\n  "));
}
