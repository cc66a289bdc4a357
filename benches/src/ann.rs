//! The vector index on real SIFT vectors: quality and CPU time of a static index, and of one that is updated.
//!
//! Times are CPU times of one thread (`/proc/thread-self/schedstat`), because wall time on a shared machine says nothing. The data is
//! looked for below `PARSIMON_SHARED` (by default `shared` beside the workspace); without it nothing is measured, and that is said.

pub(crate) mod churn;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use parsimon_ann::io::{GroundTruth, VectorFile, VectorWriter};
use parsimon_ann::{
    Budget, Durability, Index, IndexConfig, Metric, Neighbor, Rebuild, Runtime, SearchParams, Space, VectorId,
    reference,
};
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_simd::Level;
use serde_json::json;

use crate::Effort;
use crate::record::{Record, Sink};

pub(crate) const K: usize = 10;
pub(crate) const UUID: [u8; 16] = [7; 16];

/// Nothing is synchronized and rebalancing waits for `maintain`: foreground and background are measured apart.
pub(crate) const RUNTIME: Runtime = Runtime {
    durability: Durability::Deferred,
    rebuild: Rebuild::Deferred,
    checkpoint_wal_bytes: 1 << 30,
    tail_bytes: 64 << 20,
    heads: parsimon_ann::HeadIndexKind::Auto,
    compat: parsimon_ann::Compat {
        append_only: false,
        no_reassign: false,
        gc_at_overflow_only: false,
        own_head_only: false,
    },
};

/// The folder of the data, if it is there.
pub(crate) fn data() -> Option<PathBuf> {
    let root = std::env::var_os("PARSIMON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let dir = root.join("data/ann");
    if dir.exists() {
        return Some(dir);
    }
    eprintln!("ann: skipped, the vectors are not at {} (set PARSIMON_SHARED)", dir.display());
    None
}

/// CPU seconds of this thread.
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(0.0, |ns| ns / 1e9)
}

/// What a pass over all queries gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    pub(crate) recall: f64,
    /// Records read a query.
    pub(crate) scan: f64,
    /// CPU microseconds a query.
    pub(crate) us: f64,
    /// The 99th percentile of records read.
    pub(crate) scan_p99: f64,
}

pub(crate) fn quality(
    index: &Index,
    queries: &VectorFile,
    truth: &GroundTruth,
    nprobe: usize,
) -> anyhow::Result<Quality> {
    let mut searcher = index.searcher();
    let params = SearchParams { k: K, nprobe, ..SearchParams::default() };
    let mut results: Vec<Vec<Neighbor>> = vec![Vec::new(); queries.len()];
    let mut scans = Vec::new();
    let mut us = f64::INFINITY;
    // The first pass warms; the better of the others counts.
    for _ in 0..3 {
        scans.clear();
        let start = cpu_seconds();
        for (i, found) in results.iter_mut().enumerate() {
            scans.push(searcher.search_into(queries.row(i), &params, found)?.records_scanned as f64);
        }
        us = us.min((cpu_seconds() - start) * 1e6 / queries.len() as f64);
    }
    scans.sort_by(f64::total_cmp);
    Ok(Quality {
        recall: truth.recall(&results, K).context("the truth fits the queries")?,
        scan: scans.iter().sum::<f64>() / scans.len() as f64,
        us,
        scan_p99: scans[(scans.len() - 1) * 99 / 100],
    })
}

/// Builds an index of chosen rows on one thread; returns its CPU seconds. Row numbers are the ids.
pub(crate) fn build(dir: &Path, base: &VectorFile, rows: &[u64]) -> anyhow::Result<(Index, f64)> {
    let file = dir.with_extension("u8bin");
    let mut writer = VectorWriter::create(&file, base.element(), base.dim())?;
    for &row in rows {
        writer.push(base.row(row as usize))?;
    }
    writer.finish()?;
    let vectors = VectorFile::open(&file)?;
    let space = Space::new(Metric::L2, base.element(), base.dim(), None)?;
    let cancel = CancelFlag::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let seconds = pool.install(|| -> anyhow::Result<f64> {
        let start = cpu_seconds();
        let control = Control { progress: &NoProgress, cancel: &cancel };
        Index::build(dir, &space, &IndexConfig::default(), UUID, &vectors, Some(rows), &control)?;
        Ok(cpu_seconds() - start)
    })?;
    Ok((Index::open(dir, RUNTIME)?, seconds))
}

/// The truth among chosen rows.
pub(crate) fn truth_of(base: &VectorFile, queries: &VectorFile, rows: &[u64]) -> anyhow::Result<GroundTruth> {
    use rayon::prelude::*;
    let space = Space::new(Metric::L2, base.element(), base.dim(), None)?;
    let one = |q: usize| {
        let rows = rows.iter().map(|&row| (VectorId(row), base.row(row as usize)));
        reference::nearest(&space, rows, queries.row(q), K)
    };
    let found = (0..queries.len()).into_par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(GroundTruth {
        k: K,
        ids: found.iter().flatten().map(|n| n.id.0 as u32).collect(),
        distances: found.iter().flatten().map(|n| n.distance).collect(),
    })
}

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    let Some(data) = data() else { return Ok(()) };
    let (file, n) =
        if effort == Effort::Smoke { ("kodaksift_20k.u8bin", 5_000) } else { ("photosift_200k.u8bin", 50_000) };
    let query_file = if effort == Effort::Smoke { "kodaksift_query_500.u8bin" } else { "photosift_query_1k.u8bin" };
    let (base, queries) = (VectorFile::open(&data.join(file))?, VectorFile::open(&data.join(query_file))?);
    if sink.wants(&format!("static {n}"), "") {
        fixed(&base, &queries, n, sink)?;
    }
    if effort != Effort::Smoke && sink.wants("static 200000", "") {
        fixed(&base, &queries, base.len(), sink)?;
    }
    if sink.wants(&format!("insert {n}"), "") {
        insert(&base, n, sink)?;
        durable(&base, n, sink)?;
    }
    if sink.wants(&format!("beside {n}"), "") {
        beside(&base, &queries, n, sink)?;
    }
    Ok(())
}

/// A static index against exact search: recall, records read and CPU time at four widths.
fn fixed(base: &VectorFile, queries: &VectorFile, n: usize, sink: &mut Sink) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rows: Vec<u64> = (0..n as u64).collect();
    let (index, build_seconds) = build(&dir.path().join("index"), base, &rows)?;
    let truth = truth_of(base, queries, &rows)?;
    let all = quality_of_all(&index, queries, &truth)?;
    ensure!(all == 1.0, "with every posting read recall is {all}, not 1");
    let exact_us = exact(base, queries, n)?;
    let ram = index.ram_bytes();
    let stats = index.stats()?;
    push(sink, "static", "build", n, "time", "s", build_seconds, BTreeMap::new(), None);
    let bytes = (ram.heads + ram.ids + ram.tails) as f64;
    push(sink, "static", "memory", n, "size", "MB", bytes / 1e6, BTreeMap::new(), None);
    for nprobe in [4, 8, 12, 16, 20, 24, 32] {
        let q = quality(&index, queries, &truth, nprobe)?;
        let params = BTreeMap::from([
            ("n", json!(n)),
            ("nprobe", json!(nprobe)),
            ("recall_at_10", json!(q.recall)),
            ("records_scanned", json!(q.scan)),
            ("records_scanned_p99", json!(q.scan_p99)),
            ("heads", json!(stats.heads)),
            ("copies_mean", json!(stats.copies_mean)),
        ]);
        let variant = format!("nprobe {nprobe}: {:.4}@{:.0}", q.recall, q.scan);
        push(sink, "static", &variant, n, "time", "us", q.us, params, Some(exact_us));
    }
    Ok(())
}

fn quality_of_all(index: &Index, queries: &VectorFile, truth: &GroundTruth) -> anyhow::Result<f64> {
    let mut searcher = index.searcher();
    let params = SearchParams { k: K, nprobe: usize::MAX, ..SearchParams::default() };
    let mut results = Vec::new();
    for i in 0..queries.len().min(20) {
        let mut found = Vec::new();
        searcher.search_into(queries.row(i), &params, &mut found)?;
        results.push(found);
    }
    truth.recall(&results, K).context("the truth fits the queries")
}

/// CPU microseconds of looking at every row.
fn exact(base: &VectorFile, queries: &VectorFile, n: usize) -> anyhow::Result<f64> {
    let space = Space::new(Metric::L2, base.element(), base.dim(), None)?;
    let rows: Vec<(VectorId, &[u8])> = (0..n).map(|i| (VectorId(i as u64), base.row(i))).collect();
    let start = cpu_seconds();
    let sample = queries.len().min(20);
    for i in 0..sample {
        reference::nearest(&space, rows.iter().copied(), queries.row(i), K)?;
    }
    Ok((cpu_seconds() - start) * 1e6 / sample as f64)
}

/// Inserts into a built index: foreground, and the rebalancing that follows.
fn insert(base: &VectorFile, n: usize, sink: &mut Sink) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rows: Vec<u64> = (0..n as u64).collect();
    let (index, _) = build(&dir.path().join("index"), base, &rows)?;
    let more: Vec<u64> = (n as u64..(n + n / 10) as u64).collect();
    let start = cpu_seconds();
    for &row in &more {
        index.insert(&[VectorId(row)], base.row(row as usize))?;
    }
    let foreground = (cpu_seconds() - start) * 1e6 / more.len() as f64;
    let start = cpu_seconds();
    let report = index.maintain(&Budget::default())?;
    let background = (cpu_seconds() - start) * 1e6 / more.len() as f64;
    ensure!(index.len() == (n + more.len()) as u64, "every insert is there");
    let params =
        BTreeMap::from([("splits", json!(report.counts.splits)), ("reassigned", json!(report.counts.reassigned))]);
    push(sink, "insert", "foreground", n, "time", "us", foreground, params.clone(), None);
    push(sink, "insert", "background", n, "time", "us", background, params, None);
    Ok(())
}

/// Vectors of a group that is synchronized together.
const GROUP: usize = 100;

/// Replaces vectors under `fsync`, a group at a time: what `hnsw.py` does without a log.
fn durable(base: &VectorFile, n: usize, sink: &mut Sink) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rows: Vec<u64> = (0..n as u64).collect();
    drop(build(&dir.path().join("index"), base, &rows)?);
    let index = Index::open(&dir.path().join("index"), Runtime { durability: Durability::Sync, ..RUNTIME })?;
    let more: Vec<u64> = (n as u64..(n + n / 10) as u64).collect();
    let (start, wall) = (cpu_seconds(), std::time::Instant::now());
    for group in more.chunks(GROUP) {
        let gone: Vec<VectorId> = group.iter().map(|row| VectorId(row - n as u64)).collect();
        index.delete(&gone)?;
        let ids: Vec<VectorId> = group.iter().map(|&row| VectorId(row)).collect();
        let vectors: Vec<u8> = group.iter().flat_map(|&row| base.row(row as usize)).copied().collect();
        index.insert(&ids, &vectors)?;
    }
    let us = |seconds: f64| seconds * 1e6 / more.len() as f64;
    let (foreground, wall) = (us(cpu_seconds() - start), us(wall.elapsed().as_secs_f64()));
    let start = cpu_seconds();
    index.maintain(&Budget::default())?;
    let background = us(cpu_seconds() - start);
    ensure!(index.len() == n as u64, "as many come as go");
    let params = BTreeMap::from([
        ("group", json!(GROUP)),
        ("wall_us", json!(wall)),
        ("foreground_us", json!(foreground)),
        ("background_us", json!(background)),
    ]);
    let variant = format!("replace, fsync each {GROUP}");
    push(sink, "insert", &variant, n, "time", "us", foreground + background, params, None);
    Ok(())
}

/// The 99th percentile of a search beside a thread that replaces vectors, against the median of a quiet index: CPU time of the
/// searching thread.
fn beside(base: &VectorFile, queries: &VectorFile, n: usize, sink: &mut Sink) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rows: Vec<u64> = (0..n as u64).collect();
    drop(build(&dir.path().join("index"), base, &rows)?);
    let runtime = Runtime { rebuild: Rebuild::Threads(1), ..RUNTIME };
    let index = Index::open(&dir.path().join("index"), runtime)?;
    let times = |rounds: usize| -> anyhow::Result<Vec<f64>> {
        let mut searcher = index.searcher();
        let params = SearchParams { k: K, nprobe: 16, ..SearchParams::default() };
        let (mut times, mut found) = (Vec::new(), Vec::new());
        for i in 0..rounds * queries.len() {
            let start = cpu_seconds();
            searcher.search_into(queries.row(i % queries.len()), &params, &mut found)?;
            times.push((cpu_seconds() - start) * 1e6);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    };
    times(1)?;
    let quiet = times(4)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (busy, replaced) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let writer = scope.spawn(|| -> anyhow::Result<usize> {
            let mut replaced = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && n + replaced < base.len() {
                index.delete(&[VectorId(replaced as u64)])?;
                index.insert(&[VectorId((n + replaced) as u64)], base.row(n + replaced))?;
                replaced += 1;
            }
            Ok(replaced)
        });
        let busy = times(4);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok((busy?, writer.join().expect("the writer does not panic")?))
    })?;
    ensure!(replaced > 0, "vectors were replaced meanwhile");
    let at = |times: &[f64], share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99) = (at(&quiet, 0.5), at(&busy, 0.99));
    let params = BTreeMap::from([
        ("quiet_p50_us", json!(p50)),
        ("quiet_p99_us", json!(at(&quiet, 0.99))),
        ("busy_p50_us", json!(at(&busy, 0.5))),
        ("replaced", json!(replaced)),
        ("p99_over_quiet_p50", json!(p99 / p50)),
    ]);
    push(sink, "beside", "p99 of a search", n, "time", "us", p99, params, None);
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "one line of a table")]
fn push(
    sink: &mut Sink,
    case: &str,
    variant: &str,
    n: usize,
    metric: &'static str,
    unit: &'static str,
    value: f64,
    mut params: BTreeMap<&'static str, serde_json::Value>,
    baseline: Option<f64>,
) {
    params.entry("n").or_insert(json!(n));
    sink.push(Record {
        area: "ann",
        case: format!("{case} {n}"),
        variant: variant.to_owned(),
        params,
        isa: Level::best().name(),
        threads: 1,
        metric,
        unit,
        median: value,
        min: value,
        max: value,
        runs: 1,
        limit: None,
        pct_of_limit: None,
        baseline: baseline.map(|_| "exact scan".to_owned()),
        ratio_to_baseline: baseline.map(|baseline| baseline / value),
        checked: true,
    });
}
