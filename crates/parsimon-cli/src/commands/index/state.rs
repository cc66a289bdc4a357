//! Searching, checking and maintaining.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use parsimon::ann::io::{GroundTruth, VectorFile, write_results};
use parsimon::ann::{Budget, Index, Neighbor, SearchParams, StdVfs, VerifyLevel, Vfs, salvage};
use serde::Serialize;

use super::{open, runtime};
use crate::context::Context;

/// Find the nearest neighbours of queries.
#[derive(Args)]
#[command(after_help = "Example: parsimon index search idx --queries q.u8bin -k 10 --nprobe 16 --gt gt.bin")]
pub(crate) struct Search {
    dir: PathBuf,
    /// The queries.
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// Neighbours of a query.
    #[arg(short, default_value_t = 10)]
    k: usize,
    /// Postings read.
    #[arg(long, default_value_t = 64)]
    nprobe: usize,
    /// Write the results here: NAME.ibin and NAME.fbin.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The truth, for recall.
    #[arg(long, value_name = "FILE")]
    gt: Option<PathBuf>,
    /// See the last published generation and write nothing.
    #[arg(long)]
    read_only: bool,
}

#[derive(Serialize)]
struct Hit {
    /// A decimal string: 64 bits are more than JSON's numbers hold.
    id: String,
    distance: f32,
}

#[derive(Serialize)]
struct Found {
    neighbours: Vec<Vec<Hit>>,
    recall: Option<f64>,
    queries: usize,
    postings_read: u64,
    records_scanned: u64,
    complete: bool,
    us_p50: f64,
    us_p99: f64,
}

/// What searching for all queries one after another gave.
pub(super) struct Searched {
    pub(super) results: Vec<Vec<Neighbor>>,
    pub(super) us: Vec<f64>,
    pub(super) postings_read: u64,
    pub(super) records_scanned: u64,
    pub(super) complete: bool,
}

pub(super) fn search_all(index: &Index, queries: &VectorFile, k: usize, nprobe: usize) -> anyhow::Result<Searched> {
    let mut searcher = index.searcher();
    let params = SearchParams { k, nprobe, ..SearchParams::default() };
    let mut all =
        Searched { results: Vec::new(), us: Vec::new(), postings_read: 0, records_scanned: 0, complete: true };
    for i in 0..queries.len() {
        let mut found = Vec::new();
        let start = Instant::now();
        let outcome = searcher.search_into(queries.row(i), &params, &mut found)?;
        all.us.push(start.elapsed().as_secs_f64() * 1e6);
        all.postings_read += outcome.postings_read;
        all.records_scanned += outcome.records_scanned;
        all.complete &= outcome.complete;
        all.results.push(found);
    }
    all.us.sort_by(f64::total_cmp);
    Ok(all)
}

impl Searched {
    pub(super) fn us_at(&self, share: f64) -> f64 {
        self.us.get(((self.us.len() as f64 - 1.0).max(0.0) * share) as usize).copied().unwrap_or(0.0)
    }
}

impl Search {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let index = if self.read_only {
            Index::open_read_only(Arc::new(StdVfs::new(&self.dir)), runtime())?
        } else {
            open(&self.dir)?
        };
        let queries = VectorFile::open(&self.queries)?;
        let searched = search_all(&index, &queries, self.k, self.nprobe)?;
        if let Some(out) = &self.out {
            write_results(out, &searched.results, self.k)?;
        }
        let truth = self.gt.as_deref().map(GroundTruth::read).transpose()?;
        let hits = |found: &Vec<Neighbor>| {
            found.iter().map(|n| Hit { id: n.id.0.to_string(), distance: n.distance }).collect()
        };
        let found = Found {
            neighbours: searched.results.iter().map(hits).collect(),
            recall: truth.and_then(|truth| truth.recall(&searched.results, self.k)),
            queries: queries.len(),
            postings_read: searched.postings_read,
            records_scanned: searched.records_scanned,
            complete: searched.complete,
            us_p50: searched.us_at(0.5),
            us_p99: searched.us_at(0.99),
        };
        cx.report(&found, |f| {
            let recall = f.recall.map_or(String::new(), |recall| format!(", recall {recall:.4}"));
            let per_query = f.records_scanned as f64 / f.queries.max(1) as f64;
            format!(
                "{} queries{recall}, {per_query:.0} records each, {:.0} us p50, {:.0} us p99",
                f.queries, f.us_p50, f.us_p99
            )
        })
    }
}

/// Count what an index holds and what it costs.
#[derive(Args)]
#[command(after_help = "Example: parsimon index stats idx --json")]
pub(crate) struct Stats {
    dir: PathBuf,
}

impl Stats {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let stats = open(&self.dir)?.stats()?;
        cx.report(&stats, |s| {
            format!(
                "{} live, {} heads, {} records ({} stale), {:.2} copies a vector, postings {}..{} (median {})",
                s.live, s.heads, s.records, s.stale, s.copies_mean, s.postings.min, s.postings.max, s.postings.p50
            )
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Quick,
    Full,
}

/// Check every file, chunk and account of an index.
#[derive(Args)]
#[command(after_help = "Example: parsimon index verify idx --level full")]
pub(crate) struct Verify {
    dir: PathBuf,
    #[arg(long, value_enum, default_value_t = Level::Full)]
    level: Level,
}

impl Verify {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs::new(&self.dir));
        let level = match self.level {
            Level::Quick => VerifyLevel::Quick,
            Level::Full => VerifyLevel::Full,
        };
        let report = Index::verify(&vfs, level)?;
        let is_clean = report.clean;
        cx.report(&report, |r| {
            let lines = r.violations.iter().map(|v| format!("{}: byte {}: {} ({})", v.file, v.offset, v.what, v.kind));
            let state = if r.clean { "clean" } else { "damaged" };
            lines
                .chain([format!("{state}: {} live, {} heads, {} records", r.live, r.heads, r.records)])
                .collect::<Vec<_>>()
                .join("\n")
        })?;
        if is_clean { Ok(()) } else { Err(crate::failure::BadInput::new("the index is damaged").into()) }
    }
}

#[derive(Serialize)]
struct Done {
    generation: u64,
    jobs: u64,
    reclaimed_bytes: u64,
    seconds: f64,
}

fn done(cx: &Context, index: &Index, jobs: u64, before: u64, start: Instant) -> anyhow::Result<()> {
    let stats = index.stats()?;
    let done = Done {
        generation: stats.generation,
        jobs,
        reclaimed_bytes: before.saturating_sub(stats.disk_bytes),
        seconds: start.elapsed().as_secs_f64(),
    };
    cx.report(&done, |d| {
        format!("generation {}, {} jobs, {} bytes less, {:.2} s", d.generation, d.jobs, d.reclaimed_bytes, d.seconds)
    })
}

/// Apply the log and publish a generation.
#[derive(Args)]
#[command(after_help = "Example: parsimon index checkpoint idx")]
pub(crate) struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let index = open(&self.dir)?;
        index.checkpoint()?;
        done(cx, &index, 0, 0, start)
    }
}

/// Split, merge and collect until nothing is left to do.
#[derive(Args)]
#[command(after_help = "Example: parsimon index maintain idx --budget-ms 5000")]
pub(crate) struct Maintain {
    dir: PathBuf,
    /// Stop after this long.
    #[arg(long, value_name = "T")]
    budget_ms: Option<u64>,
    /// Stop after so many jobs.
    #[arg(long, value_name = "N")]
    jobs: Option<u64>,
}

impl Maintain {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let index = open(&self.dir)?;
        let before = index.stats()?.disk_bytes;
        let limit = self.budget_ms.map(Duration::from_millis);
        let stop = || cx.cancel().is_cancelled() || limit.is_some_and(|limit| start.elapsed() >= limit);
        let report = index.maintain(&Budget { jobs: self.jobs, stop: Some(&stop) })?;
        index.checkpoint()?;
        done(cx, &index, report.jobs, before, start)
    }
}

/// Write everything anew, without stale records and holes.
#[derive(Args)]
#[command(after_help = "Example: parsimon index compact idx")]
pub(crate) struct Compact {
    dir: PathBuf,
}

impl Compact {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let index = open(&self.dir)?;
        let before = index.stats()?.disk_bytes;
        let index = index.compact()?;
        done(cx, &index, 0, before, start)
    }
}

/// Write the vectors of all intact chunks of a damaged index to files.
#[derive(Args)]
#[command(after_help = "Example: parsimon index salvage idx --out saved.u8bin")]
pub(crate) struct Salvage {
    dir: PathBuf,
    /// Vectors; ids go beside, with the ending ids.npy.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Salvage {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs::new(&self.dir));
        let report = salvage(&vfs, &self.out)?;
        cx.report(&report, |r| format!("{} vectors, {} chunks lost", r.rows, r.lost_chunks.len()))
    }
}
