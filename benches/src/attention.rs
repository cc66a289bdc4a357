//! Attention: dense and block-sparse prefill against the processor's peak, decode against memory.
//!
//! Every case is first compared with the definition in `f64`, for its last queries. Rates count the products of visible queries and keys,
//! `2 (d_qk + d_v)` operations each; the share of the peak is of what a loop of the same instruction reaches in this run.

mod data;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::ensure;
use parsimon_attn::{
    Attention, AttnConfig, BlockList, BlockShape, Compute, Grid, HeadMap, KvDtype, KvPool, KvSequence, KvShape, Mask,
    Peak, PrefillOptions, Workspace, reference, run_peak,
};
use parsimon_core::SplitMix64;
use parsimon_simd::Level;
use serde_json::{Value, json};

use crate::Effort;
use crate::measure::{Times, time};
use crate::probe::read_bandwidth;
use crate::record::{Record, Sink};

use self::data::{Rows, distance};

/// Relative distance of decoded values in `f32`: over ten thousands of keys they cancel to a hundredth of their terms.
const DECODE_TOLERANCE: f64 = 1e-4;

/// Width of a head.
const D: usize = 128;

/// Heads of prefill.
const HEADS: usize = 8;

/// Queries that are compared with the definition.
const CHECKED: usize = 4;

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    let (lens, sparse, decode): (&[usize], &[usize], &[usize]) = match effort {
        Effort::Smoke => (&[256], &[512], &[1024]),
        Effort::Normal => (&[512, 2048, 8192], &[8192], &[32_768]),
        Effort::Full => (&[1024, 2048, 4096, 8192, 16_384, 32_768], &[8192, 32_768], &[1024, 8192, 32_768, 131_072]),
    };
    let budget = Duration::from_millis(if effort == Effort::Smoke { 20 } else { 1000 });
    let threads = rayon::current_num_threads();
    for threads in if threads > 1 { vec![1, threads] } else { vec![1] } {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| {
            for compute in [Compute::F32, Compute::Bf16] {
                let bench = Prefill { compute, threads, budget };
                lens.iter().try_for_each(|&n| bench.dense(n, sink))?;
                sparse.iter().try_for_each(|&n| bench.sparse(n, sink))?;
            }
            for dtype in [KvDtype::F32, KvDtype::Bf16] {
                for heads in [(32, 32, 32), (32, 8, 8), (32, 16, 16), (32, 4, 16)] {
                    decode.iter().try_for_each(|&n| decode_case(heads, dtype, (n, threads, budget), sink))?;
                }
            }
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

/// Operations a second of one thread, the best reading of a few short ones.
fn peak(compute: Compute) -> f64 {
    let kind = match compute {
        Compute::Bf16 if Level::best().includes(Level::Avx512Bf16) => Peak::Bf16,
        _ => Peak::F32,
    };
    let mut operations = 0;
    let times = time(Duration::from_millis(100), |_| operations = run_peak(kind, Level::best(), 200_000).unwrap_or(0));
    operations as f64 / times.min
}

struct Prefill {
    compute: Compute,
    threads: usize,
    budget: Duration,
}

impl Prefill {
    fn variant(&self) -> &'static str {
        match self.compute {
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
        }
    }

    fn attention(&self) -> anyhow::Result<Attention> {
        let heads = HeadMap::try_new(HEADS, HEADS, HEADS)?;
        Ok(Attention::prepare(&AttnConfig { compute: self.compute, ..AttnConfig::new(heads, (D, D), Mask::Causal) })?)
    }

    fn record(&self, case: String, flops: f64, times: Times, params: BTreeMap<&'static str, Value>) -> Record {
        let limit = peak(self.compute) * self.threads as f64 / 1e9;
        rate_record((case, self.variant(), self.threads), ("rate", "GFLOP/s"), (flops, times), limit, params)
    }

    fn dense(&self, n: usize, sink: &mut Sink) -> anyhow::Result<()> {
        let case = format!("causal n={n}");
        if !sink.wants(&case, self.variant()) {
            return Ok(());
        }
        let (rows, times) = self.measure(n, None)?;
        let params = BTreeMap::from([("n", json!(n)), ("ms", json!(times.median * 1e3))]);
        sink.push(self.record(case, rows.flops(), times, params));
        Ok(())
    }

    /// The same with lists of decreasing density; the ratio is of times, dense over sparse.
    fn sparse(&self, n: usize, sink: &mut Sink) -> anyhow::Result<()> {
        let wanted: Vec<(f64, String)> =
            [0.5, 0.25, 0.12, 0.1].map(|density| (density, format!("blocks {density} n={n}"))).into();
        if !wanted.iter().any(|(_, case)| sink.wants(case, self.variant())) {
            return Ok(());
        }
        let (_, dense) = self.measure(n, None)?;
        for (density, case) in wanted {
            let (shape, list) = (square(n)?, random_list(n, density)?);
            let actual = list.density(&shape);
            let (rows, times) = self.measure(n, Some(&list))?;
            let kept = actual * dense.min / times.min;
            let params = BTreeMap::from([("n", json!(n)), ("density", json!(actual)), ("rate_kept", json!(kept))]);
            let mut record = self.record(case, rows.flops() * actual, times, params);
            record.baseline = Some("dense".into());
            record.ratio_to_baseline = Some(dense.min / times.min);
            sink.push(record);
        }
        Ok(())
    }

    fn measure(&self, n: usize, blocks: Option<&BlockList>) -> anyhow::Result<(Rows, Times)> {
        let attention = self.attention()?;
        let rows = Rows::new(attention.config(), n, self.compute == Compute::Bf16);
        let view = rows.view(attention.config())?;
        let mut out = vec![0.0; n * HEADS * D];
        let mut work = Workspace::default();
        let mut run = || {
            let options = PrefillOptions { blocks, ..PrefillOptions::default() };
            attention.prefill_into(&rows.q, view, options, (&mut out, None), &mut work)
        };
        run()?;
        let times = time(self.budget, |_| {
            // The first call succeeded, and this is the same one.
            _ = black_box(run());
        });
        let last = (n - CHECKED) * HEADS * D;
        let is_visible = |h: usize, i: usize, j: usize| {
            blocks.is_none_or(|blocks| blocks.row(h, (n - CHECKED + i) / 64).contains(&((j / 64) as u32)))
        };
        let (expected, _) = reference::attention_where(attention.config(), &rows.q[last..], view, is_visible);
        let tolerance = if self.compute == Compute::Bf16 { 1e-2 } else { 1e-5 };
        let error = distance(&out[last..], &expected);
        ensure!(error <= tolerance, "n = {n}, {}: {error} away from the definition", self.variant());
        Ok((rows, times))
    }
}

fn decode_case(
    (n_q, n_k, n_v): (usize, usize, usize),
    dtype: KvDtype,
    (n, threads, budget): (usize, usize, Duration),
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let case = format!("decode {n_q}/{n_k}/{n_v} n={n}");
    if !sink.wants(&case, dtype.name()) {
        return Ok(());
    }
    let (times, bytes) = decode_times((n_q, n_k, n_v), dtype, n, budget)?;
    let limit = read_bandwidth(bytes.max(64 << 20)) / 1e9;
    let params = BTreeMap::from([("n", json!(n)), ("kv_bytes", json!(bytes)), ("ms", json!(times.median * 1e3))]);
    let of = (case, dtype.name(), threads);
    sink.push(rate_record(of, ("kv read", "GB/s"), (bytes as f64, times), limit, params));
    Ok(())
}

/// `work / time` of a case, variant and number of threads, in units of 1e9, beside the limit.
fn rate_record(
    (case, variant, threads): (String, &str, usize),
    (metric, unit): (&'static str, &'static str),
    (work, times): (f64, Times),
    limit: f64,
    params: BTreeMap<&'static str, Value>,
) -> Record {
    let rate = |seconds: f64| work / seconds / 1e9;
    Record {
        area: "attention",
        case,
        variant: variant.into(),
        params,
        isa: Level::best().name(),
        threads,
        metric,
        unit,
        median: rate(times.median),
        min: rate(times.max),
        max: rate(times.min),
        runs: times.runs,
        limit: Some(limit),
        pct_of_limit: Some(100.0 * rate(times.median) / limit),
        baseline: None,
        ratio_to_baseline: None,
        checked: true,
    }
}

/// Times of one token over `n` keys, and the bytes of the keys and values.
pub(crate) fn decode_times(
    (n_q, n_k, n_v): (usize, usize, usize),
    dtype: KvDtype,
    n: usize,
    budget: Duration,
) -> anyhow::Result<(Times, usize)> {
    let heads = HeadMap::try_new(n_q, n_k, n_v)?;
    let shape = KvShape { layers: 1, heads, d_qk: D, d_v: D, dtype };
    let (mut pool, mut sequence) = (KvPool::new(shape, None), KvSequence::default());
    let mut rng = SplitMix64::new(1);
    let page =
        |n: usize, rng: &mut SplitMix64| -> Vec<f32> { (0..64 * n * D).map(|_| rng.next_normal() as f32).collect() };
    let (k, v) = (page(n_k, &mut rng), page(n_v, &mut rng));
    while sequence.len() < n {
        pool.append(&mut sequence, &k, &v)?;
    }
    let attention = Attention::prepare(&AttnConfig::new(heads, (D, D), Mask::Causal))?;
    let q: Vec<f32> = (0..n_q * D).map(|_| rng.next_normal() as f32).collect();
    let mut out = vec![0.0; n_q * D];
    let view = pool.view(0, &sequence, 0);
    attention.forward_into(&q, view, &mut out, None)?;
    let (expected, _) = reference::attention(attention.config(), &q, view);
    let error = distance(&out, &expected);
    ensure!(error <= DECODE_TOLERANCE, "decode over {n} keys: {error} away from the definition");
    let times = time(budget, |_| {
        // The first call succeeded, and this is the same one.
        _ = black_box(attention.forward_into(&q, view, &mut out, None));
    });
    Ok((times, n * shape.position_bytes()))
}

/// How many times faster than dense prefill lists of some densities are, in one thread.
pub(crate) fn sparse_speedups(n: usize, densities: &[f64]) -> anyhow::Result<Vec<f64>> {
    let bench = Prefill { compute: Compute::F32, threads: 1, budget: Duration::from_millis(500) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| {
        let (_, dense) = bench.measure(n, None)?;
        let speedup = |&density: &f64| Ok(dense.min / bench.measure(n, Some(&random_list(n, density)?))?.1.min);
        densities.iter().map(speedup).collect()
    })
}

/// A list of blocks of 64 with about the density.
fn random_list(n: usize, density: f64) -> anyhow::Result<BlockList> {
    let mut rng = SplitMix64::new(7);
    let chosen = |_, row, col| col <= row && rng.next_f64() <= density;
    Ok(BlockList::from_fn(square(n)?, HEADS, chosen))
}

fn square(n: usize) -> anyhow::Result<BlockShape> {
    let grid = Grid::try_new(64, 0)?;
    Ok(BlockShape { q: grid, k: grid, t_q: n, t_k: n })
}
