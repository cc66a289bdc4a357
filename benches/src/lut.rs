//! The lookup-table kernels beside dense `f32`: GEMV by width, level and temperature of the cache, and the build of the tables.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::ensure;
use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{
    ActConfig, Backend, DenseMatrix, Kernel, LowBitMatrix, PreparedActivations, quantize_table, reference,
};
use parsimon_simd::Level;
use serde_json::json;

use crate::Effort;
use crate::measure::{Times, time};
use crate::probe::read_bandwidth;
use crate::record::{Record, Sink};

/// A working set that no cache of a common machine holds.
const COLD_BYTES: usize = 320 << 20;

/// The kernels round a handful of `f32` additions a group; see the crate's own tests.
const TABLE_TOLERANCE: f64 = 1e-5;

const GROUP: usize = 128;

/// The variant that ratios compare with.
const BASELINE: &str = "dense-f32";

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    let shapes: &[(usize, usize)] = match effort {
        Effort::Smoke => &[(256, 256), (512, 768)],
        Effort::Normal => &[(4096, 4096)],
        Effort::Full => &[(4096, 4096), (11008, 4096), (4096, 11008)],
    };
    let budget = Duration::from_millis(if effort == Effort::Smoke { 20 } else { 400 });
    for &(m, k) in shapes {
        gemv(m, k, false, budget, sink)?;
        if effort != Effort::Smoke {
            gemv(m, k, true, budget, sink)?;
        }
    }
    tables(if effort == Effort::Smoke { 512 } else { 4096 }, budget, sink)
}

/// One token, one thread. Hot: the same matrix again and again. Cold: enough copies that none is still in a cache when its turn comes.
fn gemv(m: usize, k: usize, cold: bool, budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let case = format!("gemv {m}x{k} {}", if cold { "cold" } else { "hot" });
    let wanted = wanted_levels(&case, m * k > 1 << 20, sink)?;
    if wanted.is_empty() && !sink.wants(&case, BASELINE) {
        return Ok(());
    }
    let mut rng = SplitMix64::new(1);
    let weights: Vec<f32> = (0..m * k).map(|_| rng.next_normal() as f32).collect();
    let x: Vec<f32> = (0..k).map(|_| rng.next_normal() as f32).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut out = vec![0.0; m];

    let dense = DenseMatrix::new(weights.clone(), m, k);
    let dense_bytes = dense.bytes();
    let copies = copies(dense, dense_bytes, cold);
    let dense_times =
        pool.install(|| time(budget, |i| copies[i % copies.len()].matmul_into(&x, 1, black_box(&mut out))));
    let exact: Vec<f64> = weights.chunks_exact(k).map(|row| dot(row, &x)).collect();
    ensure!(distance(&out, &exact) <= TABLE_TOLERANCE, "{case}: dense f32 is wrong");
    drop(copies);
    let mut push = |variant: &str, level, times: Times, bytes: usize, bits: u8| {
        let limit = 1e6 * bytes as f64 / read_bandwidth(if cold { COLD_BYTES } else { bytes });
        let record = Record::lut_time(&case, variant, level, times);
        let numbers = [("m", m), ("k", k), ("n", 1), ("bits", usize::from(bits)), ("group", GROUP)];
        sink.push(Record {
            params: numbers.map(|(name, number)| (name, json!(number))).into(),
            limit: Some(limit),
            pct_of_limit: Some(100.0 * limit / record.median),
            baseline: Some(BASELINE.into()),
            ratio_to_baseline: Some(dense_times.median / times.median),
            ..record
        });
    };
    push(BASELINE, Level::best(), dense_times, dense_bytes, 32);
    for (bits, levels) in wanted {
        let quantized = quantize(&weights, m, k, Levels::Bits(bits), GROUP)?;
        for level in levels {
            let matrix = LowBitMatrix::from_quantized(&quantized, Backend::Exact(level))?;
            let prepared = PreparedActivations::try_new(&x, 1, k, ActConfig::for_matrix(&matrix))?;
            let (kernel, bytes) = (matrix.kernel(), matrix.bytes());
            matrix.matmul_into(&prepared, &mut out);
            let error = distance(&out, &reference::matmul_table(&quantized, &prepared));
            ensure!(error <= TABLE_TOLERANCE, "{case}: {} at {bits} bits is off by {error}", kernel.name());
            let copies = self::copies(matrix, bytes, cold);
            let times =
                pool.install(|| time(budget, |i| copies[i % copies.len()].matmul_into(&prepared, black_box(&mut out))));
            push(&variant(kernel, bits), level, times, bytes, bits);
        }
    }
    Ok(())
}

/// The levels to measure at every width that the filter leaves: one a kernel, and the scalar one for small sizes only.
fn wanted_levels(case: &str, is_large: bool, sink: &Sink) -> anyhow::Result<Vec<(u8, Vec<Level>)>> {
    let mut levels: Vec<(Kernel, Level)> = Vec::new();
    for level in Level::available().filter(|&level| !(is_large && level == Level::Scalar)) {
        let kernel = Kernel::select(Backend::Exact(level))?;
        if levels.iter().all(|&(known, _)| known != kernel) {
            levels.push((kernel, level));
        }
    }
    let wanted = (1..=4).map(|bits| {
        let wanted = levels.iter().filter(|(kernel, _)| sink.wants(case, &variant(*kernel, bits)));
        (bits, wanted.map(|&(_, level)| level).collect::<Vec<_>>())
    });
    Ok(wanted.filter(|(_, levels)| !levels.is_empty()).collect())
}

fn variant(kernel: Kernel, bits: u8) -> String {
    format!("{}-{bits}bit", kernel.name().trim_start_matches("lut-"))
}

fn copies<T: Clone>(matrix: T, bytes: usize, cold: bool) -> Vec<T> {
    vec![matrix; if cold { COLD_BYTES.div_ceil(bytes) } else { 1 }]
}

/// The build of the tables of one activation vector.
fn tables(k: usize, budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let case = format!("table build k={k}");
    if !sink.wants(&case, "quantize_table") {
        return Ok(());
    }
    let mut rng = SplitMix64::new(2);
    let x: Vec<f32> = (0..k).map(|_| rng.next_normal() as f32).collect();
    let (mut entries, mut scales) = (vec![0; 4 * k], vec![0.0; k / 64]);
    let times = time(budget, |_| quantize_table(black_box(&x), 64, &mut entries, &mut scales));
    for (j, (quad, table)) in x.chunks_exact(4).zip(entries.chunks_exact(16)).enumerate() {
        let sum: f32 = quad.iter().sum();
        let scale = scales[j / 16];
        ensure!((f32::from(table[15]) * scale - sum).abs() <= 0.501 * scale, "{case}: table {j} is wrong");
    }
    let record = Record::lut_time(&case, "quantize_table", Level::best(), times);
    sink.push(Record { params: BTreeMap::from([("k", json!(k)), ("ags", json!(64))]), ..record });
    Ok(())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The largest difference over the largest expected value.
fn distance(y: &[f32], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(0.0f64, |max, e| max.max(e.abs()));
    y.iter().zip(expected).fold(0.0f64, |max, (&y, e)| max.max((f64::from(y) - e).abs())) / scale
}
