//! The lookup-table kernels beside dense `f32`: GEMV by width, level and temperature of the cache, and the build of the tables.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::ensure;
use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{ActConfig, Backend, DenseMatrix, LowBitMatrix, PreparedActivations, quantize_table, reference};
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
    let limit = |bytes: usize| bytes as f64 / read_bandwidth(if cold { COLD_BYTES } else { bytes });
    drop(copies);
    let mut push = |variant: String, isa, times: Times, bytes: usize, bits: u8| {
        let limit = limit(bytes);
        sink.push(Record {
            area: "lut",
            case: case.clone(),
            variant,
            params: BTreeMap::from([
                ("m", json!(m)),
                ("k", json!(k)),
                ("n", json!(1)),
                ("bits", json!(bits)),
                ("group", json!(GROUP)),
            ]),
            isa,
            threads: 1,
            metric: "time",
            unit: "us",
            median: times.median * 1e6,
            min: times.min * 1e6,
            max: times.max * 1e6,
            runs: times.runs,
            limit: Some(limit * 1e6),
            pct_of_limit: Some(100.0 * limit / times.median),
            baseline: Some("dense-f32".into()),
            ratio_to_baseline: Some(dense_times.median / times.median),
            checked: true,
        });
    };
    push("dense-f32".into(), Level::best().name(), dense_times, dense_bytes, 32);
    for bits in 1..=4 {
        let quantized = quantize(&weights, m, k, Levels::Bits(bits), GROUP)?;
        let mut kernels = Vec::new();
        for level in Level::available() {
            let matrix = LowBitMatrix::from_quantized(&quantized, Backend::Exact(level))?;
            // Several levels may share a body, and the scalar one is no candidate for large sizes.
            if kernels.contains(&matrix.kernel()) || (level == Level::Scalar && m * k > 1 << 20) {
                continue;
            }
            kernels.push(matrix.kernel());
            let prepared = PreparedActivations::try_new(&x, 1, k, ActConfig::for_matrix(&matrix))?;
            let (name, bytes) = (matrix.kernel().name(), matrix.bytes());
            matrix.matmul_into(&prepared, &mut out);
            let error = distance(&out, &reference::matmul_table(&quantized, &prepared));
            ensure!(error <= TABLE_TOLERANCE, "{case}: {name} at {bits} bits is off by {error}");
            let copies = self::copies(matrix, bytes, cold);
            let times =
                pool.install(|| time(budget, |i| copies[i % copies.len()].matmul_into(&prepared, black_box(&mut out))));
            push(format!("{}-{bits}bit", name.trim_start_matches("lut-")), level.name(), times, bytes, bits);
        }
    }
    Ok(())
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
    sink.push(Record {
        area: "lut",
        case,
        variant: "quantize_table".into(),
        params: BTreeMap::from([("k", json!(k)), ("ags", json!(64))]),
        isa: Level::best().name(),
        threads: 1,
        metric: "time",
        unit: "us",
        median: times.median * 1e6,
        min: times.min * 1e6,
        max: times.max * 1e6,
        runs: times.runs,
        limit: None,
        pct_of_limit: None,
        baseline: None,
        ratio_to_baseline: None,
        checked: true,
    });
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
