//! `parsimon index run`: a runbook on an index, measured step by step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use parsimon::ann::io::{GroundTruth, VectorFile};
use parsimon::ann::runbook::{Operation, Runbook};
use parsimon::ann::{Index, IndexConfig, Metric, Space, VectorId, reference};
use parsimon::tensor::Unit;
use serde::Serialize;

use super::state::search_all;
use super::{runtime, uuid};
use crate::context::Context;

/// Vectors of a batch.
const BATCH: usize = 1000;
const K: usize = 10;

/// Run a big-ann runbook on a new index and report every step.
#[derive(Args)]
#[command(after_help = "Example: parsimon index run idx rb.yaml --data base.u8bin --queries q.u8bin --report out")]
pub(crate) struct Run {
    /// The index; it must not exist.
    dir: PathBuf,
    runbook: PathBuf,
    /// The vectors that the runbook speaks of.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The queries of its searches.
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// Folder with stepN.gt100 or stepN.bin, the truth of search step N; computed where it is missing.
    #[arg(long, value_name = "DIR")]
    gt_dir: Option<PathBuf>,
    /// Postings read.
    #[arg(long, default_value_t = 16)]
    nprobe: usize,
    /// Where steps.csv and report.html go.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Default, Serialize)]
struct Step {
    step: usize,
    operation: &'static str,
    live: u64,
    recall: Option<f64>,
    qps: Option<f64>,
    us_p50: Option<f64>,
    us_p99: Option<f64>,
    us_p999: Option<f64>,
    scanned: Option<f64>,
    splits: u64,
    merges: u64,
    reassigned: u64,
    ram_bytes: u64,
    disk_bytes: u64,
    seconds: f64,
}

struct Runner {
    index: Index,
    data: VectorFile,
    queries: VectorFile,
    space: Space,
    /// Row of each live tag.
    rows: BTreeMap<u64, u64>,
    nprobe: usize,
    gt_dir: Option<PathBuf>,
}

impl Run {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.runbook)
            .map_err(|e| crate::failure::BadInput { file: Some(self.runbook.clone()), message: e.to_string() })?;
        let runbook = Runbook::parse(&text)?;
        let (data, queries) = (VectorFile::open(&self.data)?, VectorFile::open(&self.queries)?);
        runbook.check(data.len() as u64)?;
        let space = Space::new(Metric::L2, data.element(), data.dim(), None)?;
        let index = Index::create(&self.dir, &space, &IndexConfig::default(), uuid(&self.dir), runtime())?;
        let rows = BTreeMap::new();
        let mut runner = Runner { index, data, queries, space, rows, nprobe: self.nprobe, gt_dir: self.gt_dir };
        let control = cx.control();
        control.progress.start("run", Some(runbook.steps.len() as u64), Unit::Items("steps"));
        let mut steps = Vec::new();
        for (i, operation) in runbook.steps.iter().enumerate() {
            if control.cancel.is_cancelled() {
                break;
            }
            steps.push(runner.step(i + 1, operation)?);
            control.progress.advance(1);
        }
        runner.index.checkpoint()?;
        control.progress.finish();
        if let Some(dir) = &self.report {
            write_report(dir, &steps)?;
        }
        cx.report(&steps, |steps| {
            let searches = steps.iter().filter(|s| s.recall.is_some());
            let line = |s: &Step| {
                format!(
                    "step {}: {} live, recall {:.4}, p99 {:.0} us",
                    s.step,
                    s.live,
                    s.recall.unwrap_or(0.0),
                    s.us_p99.unwrap_or(0.0)
                )
            };
            searches.map(line).collect::<Vec<_>>().join("\n")
        })
    }
}

impl Runner {
    fn step(&mut self, number: usize, operation: &Operation) -> anyhow::Result<Step> {
        let (start, before) = (Instant::now(), self.index.counts());
        let mut step = Step { step: number, ..Step::default() };
        match operation {
            Operation::Insert(range) => {
                step.operation = "insert";
                self.upsert(range.clone().zip(range.clone()))?;
            }
            Operation::Replace { tags, ids } => {
                step.operation = "replace";
                self.upsert(tags.clone().zip(ids.clone()))?;
            }
            Operation::Delete(range) => {
                step.operation = "delete";
                let ids: Vec<VectorId> = range.clone().map(VectorId).collect();
                self.index.delete(&ids)?;
                range.clone().for_each(|tag| {
                    self.rows.remove(&tag);
                });
            }
            Operation::Search => {
                step.operation = "search";
                self.search(&mut step)?;
            }
        }
        let counts = self.index.counts().since(&before);
        let ram = self.index.ram_bytes();
        step.live = self.index.len();
        (step.splits, step.merges, step.reassigned) = (counts.splits, counts.merges, counts.reassigned);
        step.ram_bytes = ram.heads + ram.ids + ram.tails;
        step.disk_bytes = self.index.disk_bytes();
        step.seconds = start.elapsed().as_secs_f64();
        Ok(step)
    }

    fn upsert(&mut self, pairs: impl Iterator<Item = (u64, u64)>) -> anyhow::Result<()> {
        let pairs: Vec<(u64, u64)> = pairs.collect();
        for part in pairs.chunks(BATCH) {
            let ids: Vec<VectorId> = part.iter().map(|(tag, _)| VectorId(*tag)).collect();
            let rows: Vec<u8> = part.iter().flat_map(|(_, row)| self.data.row(*row as usize)).copied().collect();
            self.index.upsert(&ids, &rows)?;
        }
        self.rows.extend(pairs);
        Ok(())
    }

    fn search(&self, step: &mut Step) -> anyhow::Result<()> {
        let searched = search_all(&self.index, &self.queries, K, self.nprobe)?;
        let total: f64 = searched.us.iter().sum();
        step.qps = (total > 0.0).then(|| searched.us.len() as f64 / total * 1e6);
        step.us_p50 = Some(searched.us_at(0.5));
        step.us_p99 = Some(searched.us_at(0.99));
        step.us_p999 = Some(searched.us_at(0.999));
        step.scanned = Some(searched.records_scanned as f64 / searched.us.len().max(1) as f64);
        step.recall = self.truth(step.step)?.recall(&searched.results, K);
        Ok(())
    }

    fn truth(&self, step: usize) -> anyhow::Result<GroundTruth> {
        let names = [format!("step{step}.gt100"), format!("step{step}.bin")];
        let found =
            self.gt_dir.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))).find(|path| path.exists());
        if let Some(path) = found {
            return Ok(GroundTruth::read(&path)?);
        }
        let mut truth = GroundTruth { k: K.min(self.rows.len()), ids: Vec::new(), distances: Vec::new() };
        for q in 0..self.queries.len() {
            let rows = self.rows.iter().map(|(&tag, &row)| (VectorId(tag), self.data.row(row as usize)));
            for n in reference::nearest(&self.space, rows, self.queries.row(q), K)? {
                truth.ids.push(n.id.0 as u32);
                truth.distances.push(n.distance);
            }
        }
        Ok(truth)
    }
}

/// A number of a step that is drawn over the steps.
type Figure = fn(&Step) -> Option<f64>;

fn write_report(dir: &std::path::Path, steps: &[Step]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut csv = String::from(
        "step,operation,live,recall,qps,us_p50,us_p99,us_p999,scanned,splits,merges,reassigned,ram_bytes,disk_bytes\n",
    );
    let number = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.4}"));
    for s in steps {
        let cells = [s.recall, s.qps, s.us_p50, s.us_p99, s.us_p999, s.scanned].map(number).join(",");
        // Writing to a string cannot fail.
        let _ = writeln!(
            csv,
            "{},{},{},{cells},{},{},{},{},{}",
            s.step, s.operation, s.live, s.splits, s.merges, s.reassigned, s.ram_bytes, s.disk_bytes
        );
    }
    std::fs::write(dir.join("steps.csv"), csv)?;
    let mut html = String::from("<!doctype html><meta charset=utf-8><title>Runbook</title><h1>Runbook</h1>");
    let figures: [(&str, Figure); 5] = [
        ("recall@10", |s| s.recall),
        ("p99, us", |s| s.us_p99),
        ("records scanned a query", |s| s.scanned),
        ("memory, MB", |s| Some(s.ram_bytes as f64 / 1e6)),
        ("splits", |s| Some(s.splits as f64)),
    ];
    for (title, value) in figures {
        let points: Vec<(f64, f64)> = steps.iter().filter_map(|s| Some((s.step as f64, value(s)?))).collect();
        html.push_str(&line_chart(title, &points));
    }
    std::fs::write(dir.join("report.html"), html)?;
    Ok(())
}

/// A line over steps, as SVG with its smallest and largest value.
fn line_chart(title: &str, points: &[(f64, f64)]) -> String {
    let (width, height) = (640.0, 160.0);
    let bounds = |get: fn(&(f64, f64)) -> f64| {
        points.iter().map(get).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((x0, x1), (y0, y1)) = (bounds(|p| p.0), bounds(|p| p.1));
    let place = |&(x, y): &(f64, f64)| {
        let share = |v: f64, low: f64, high: f64| if high > low { (v - low) / (high - low) } else { 0.5 };
        format!("{:.1},{:.1}", share(x, x0, x1) * width, height - share(y, y0, y1) * height)
    };
    let path: Vec<String> = points.iter().map(place).collect();
    format!(
        "<h2>{title}</h2><p>{y0:.4} to {y1:.4}</p><svg viewBox='-5 -5 650 170' width='650'><polyline fill='none' stroke='#2563eb' \
         stroke-width='2' points='{}'/></svg>",
        path.join(" ")
    )
}
