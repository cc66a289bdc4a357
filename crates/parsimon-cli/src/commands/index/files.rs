//! Ground truth, runbooks and conversions.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use parsimon::ann::io::{VectorFile, VectorWriter};
use parsimon::ann::runbook::Runbook;
use parsimon::ann::{Metric, Space, max_norm, reference};
use serde::Serialize;

use crate::context::Context;

/// Compute the true nearest neighbours.
#[derive(Args)]
#[command(after_help = "Example: parsimon index groundtruth --data base.u8bin --queries q.u8bin -k 100 --out gt.bin")]
pub(crate) struct Groundtruth {
    /// The vectors.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The queries.
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// Neighbours of a query.
    #[arg(short, default_value_t = 100)]
    k: usize,
    /// What "near" means: l2, cosine or ip.
    #[arg(long, default_value = "l2")]
    metric: Metric,
    /// Where the truth goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Written {
    rows: u64,
    file: PathBuf,
}

impl Written {
    fn report(cx: &Context, rows: u64, file: PathBuf) -> anyhow::Result<()> {
        cx.report(&Written { rows, file }, |w| format!("{} rows in {}", w.rows, w.file.display()))
    }
}

impl Groundtruth {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (data, queries) = (VectorFile::open(&self.data)?, VectorFile::open(&self.queries)?);
        let bound = (self.metric == Metric::InnerProduct).then(|| max_norm(&data));
        let space = Space::new(self.metric, data.element(), data.dim(), bound)?;
        let truth = reference::ground_truth(&space, &data, &queries, self.k)?;
        truth.write(&self.out)?;
        Written::report(cx, truth.queries() as u64, self.out)
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Random deletes.
    Churn,
    /// The oldest go: a window slides over the rows.
    Sliding,
    /// As sliding, for data whose rows are ordered by what they show.
    Shift,
}

/// Write a runbook: what is inserted, deleted and searched when.
#[derive(Args)]
#[command(after_help = "Example: parsimon index runbook churn --initial 50000 --days 100 --per-day 500 --out rb.yaml")]
pub(crate) struct RunbookArgs {
    #[arg(value_enum)]
    kind: Kind,
    /// Rows at the start.
    #[arg(long)]
    initial: u64,
    /// Days.
    #[arg(long, default_value_t = 100)]
    days: u64,
    /// Rows deleted and inserted each day.
    #[arg(long)]
    per_day: u64,
    /// Name of the data set.
    #[arg(long, default_value = "data")]
    name: String,
    /// Seed of the deletes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the runbook goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl RunbookArgs {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let runbook = match self.kind {
            Kind::Churn => Runbook::churn(&self.name, self.initial, self.days, self.per_day, self.seed),
            Kind::Sliding | Kind::Shift => Runbook::sliding(&self.name, self.initial, self.days, self.per_day),
        };
        use std::io::Write;
        let mut file = parsimon::tensor::io::AtomicFile::create(&self.out)?;
        file.write_all(runbook.to_yaml().as_bytes())?;
        file.commit()?;
        Written::report(cx, runbook.steps.len() as u64, self.out)
    }
}

/// Copy vectors to another format, by the endings of the names.
#[derive(Args)]
#[command(after_help = "Example: parsimon index convert base.fvecs base.fbin")]
pub(crate) struct Convert {
    from: PathBuf,
    to: PathBuf,
}

impl Convert {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let from = VectorFile::open(&self.from)?;
        let mut to = VectorWriter::create(&self.to, from.element(), from.dim())?;
        for i in 0..from.len() {
            cx.cancel().check()?;
            to.push(from.row(i))?;
        }
        Written::report(cx, to.finish()?, self.to)
    }
}
