//! Products of layers of codebooks beside the lookup kernels of 2 bits, dense `f32` and decoding the whole matrix; and k-means.
//!
//! The baseline of a product of one token is `max(our 2-bit lookup GEMV, stream read of its bytes / 0.65)`, so that a faster lookup kernel does not
//! turn into a miss here; of many tokens it is dense `f32`. Every product is compared with the decoded weights in `f64` first.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, ensure};
use parsimon_core::io::{Checkpoint, TensorData, write_safetensors};
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_core::{CancelFlag, Control, NoProgress, SplitMix64};
use parsimon_lut::{ActConfig, Backend, DenseMatrix, LowBitMatrix, PreparedActivations};
use parsimon_simd::Level;
use parsimon_vq::{KMeansConfig, LayerConfig, Points, VptqBackend, VptqLinear, VptqMatrix, VptqMethod, kmeans};
use serde_json::json;

use crate::Effort;
use crate::measure::{Times, time};
use crate::probe;
use crate::record::{Record, Sink};

/// A working set that no cache of a common machine holds.
const COLD_BYTES: usize = 320 << 20;

/// What a lookup GEMV of 2 bits reaches of the memory's rate, in the prototypes that the bars come from.
const LUT_OF_STREAM: f64 = 0.65;

/// Codebooks: vector length, main and residual centroids.
const BOOKS: [(usize, usize, usize); 4] = [(4, 256, 0), (8, 256, 256), (6, 4096, 0), (8, 4096, 4096)];

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    let (size, budget) = match effort {
        Effort::Smoke => (256, Duration::from_millis(10)),
        _ => (4096, Duration::from_millis(500)),
    };
    for threads in [1, 2] {
        if threads == 1 || effort != Effort::Smoke {
            Bench { size, threads, budget, cold: effort != Effort::Smoke }.run(sink)?;
        }
    }
    let n = if effort == Effort::Smoke { 2048 } else { 262_144 };
    clusters(n, 4, sink)?;
    clusters(n, 8, sink)
}

struct Bench {
    size: usize,
    threads: usize,
    budget: Duration,
    cold: bool,
}

/// A layer with random codes and centroids on the byte grid, read from a file as any layer is.
fn random_layer(size: usize, (v, main, residual): (usize, usize, usize)) -> anyhow::Result<VptqLinear> {
    let pair = |outlier: i64, k: usize| json!([outlier, if k == 0 { -1 } else { k as i64 }]);
    let json = json!({
        "bias": null, "enable_norm": true, "enable_perm": true, "group_num": 1, "group_size": size, "in_features": size,
        "indices_as_float": false, "is_indice_packed": true, "num_centroids": pair(-1, main),
        "num_res_centroids": pair(-1, residual), "out_features": size, "outlier_size": 0, "vector_lens": pair(-1, v),
    });
    let config = LayerConfig::from_json("layer", &json).map_err(|kind| anyhow::anyhow!("{kind}"))?;
    let mut rng = SplitMix64::new(1);
    let mut floats = |n: usize| -> Vec<half::f16> {
        (0..n).map(|_| half::f16::from_f32(rng.below(127) as f32 / 64.0 - 1.0)).collect()
    };
    let mut tensors = BTreeMap::new();
    let mut add = |suffix: &str, tensor| tensors.insert(format!("layer.{suffix}"), tensor);
    add("centroids.weight", TensorData::from_f16(&[1, main * v], &floats(main * v)));
    if residual > 0 {
        add("res_centroids.weight", TensorData::from_f16(&[1, residual * v], &floats(residual * v)));
    }
    add("weight_scale", TensorData::from_f16(&[size], &vec![half::f16::ONE; size]));
    add("weight_bias", TensorData::from_f16(&[size], &floats(size)));
    let (blocks, words) = (size.div_ceil(v), (size * config.index_bits()).div_ceil(32));
    let mut rng = SplitMix64::new(2);
    let words: Vec<i32> = (0..blocks * words).map(|_| rng.next_u64() as i32).collect();
    add("indices", TensorData::from_i32(&[1, blocks, words.len() / blocks], &words));
    let mut perm: Vec<u16> = (0..size as u16).collect();
    rng.shuffle(&mut perm);
    let bytes = perm.iter().flat_map(|j| j.to_le_bytes()).collect();
    add("perm", TensorData { dtype: parsimon_core::DType::I16, shape: vec![size], bytes });
    let dir = tempfile::tempdir().context("no temporary folder")?;
    let path = dir.path().join("layer.safetensors");
    write_safetensors(&path, &tensors, None)?;
    Ok(VptqLinear::read(&Checkpoint::open(&path)?, "layer", &config, (size, size))?)
}

impl Bench {
    fn record(&self, case: &str, variant: &str, bytes: usize, times: Times) -> Record {
        let record = Record::lut_time(case, variant, Level::best(), self.threads, times);
        let rate = self.threads as f64 * probe::read_bandwidth(if self.cold { COLD_BYTES } else { bytes });
        let limit = 1e6 * bytes as f64 / rate;
        let seconds = record.median * 1e-6;
        let params = BTreeMap::from([
            ("size", json!(self.size)),
            ("bytes", json!(bytes)),
            ("gb_per_s", json!(bytes as f64 / seconds / 1e9)),
        ]);
        Record { area: "vq", limit: Some(limit), pct_of_limit: Some(100.0 * limit / record.median), params, ..record }
    }

    fn copies<T: Clone>(&self, matrix: T, bytes: usize) -> Vec<T> {
        let copies = if self.cold { COLD_BYTES.div_ceil(bytes) } else { 1 };
        vec![matrix; copies]
    }

    fn run(&self, sink: &mut Sink) -> anyhow::Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        pool.install(|| {
            let baseline = self.lookup(sink)?;
            for books in BOOKS {
                self.books(books, baseline, sink)?;
            }
            Ok(())
        })
    }

    fn case(&self, n: usize) -> String {
        let size = self.size;
        let temperature = if self.cold { " cold" } else { "" };
        if n == 1 { format!("gemv {size}x{size}{temperature}") } else { format!("gemm {size}x{size} n={n}") }
    }

    /// Our lookup GEMV of 2 bits; the median that ratios compare with, in microseconds.
    fn lookup(&self, sink: &mut Sink) -> anyhow::Result<f64> {
        let size = self.size;
        let mut rng = SplitMix64::new(3);
        let weights: Vec<f32> = (0..size * size).map(|_| rng.next_normal() as f32).collect();
        let x: Vec<f32> = (0..size).map(|_| rng.next_normal() as f32).collect();
        let matrix =
            LowBitMatrix::from_quantized(&quantize(&weights, size, size, Levels::Bits(2), 128)?, Backend::Auto)?;
        let prepared = PreparedActivations::try_new(&x, 1, size, &ActConfig::for_matrix(&matrix))?;
        let bytes = matrix.bytes();
        let copies = self.copies(matrix, bytes);
        let mut out = vec![0.0; size];
        let times = time(self.budget, |i| copies[i % copies.len()].matmul_into(&prepared, black_box(&mut out)));
        let record = self.record(&self.case(1), "lut-2bit", bytes, times);
        let stream = record.limit.unwrap_or_default() / LUT_OF_STREAM;
        let baseline = record.median.max(stream);
        sink.push(record);
        Ok(baseline)
    }

    fn books(&self, books: (usize, usize, usize), baseline: f64, sink: &mut Sink) -> anyhow::Result<()> {
        let (v, main, residual) = books;
        let label = if residual > 0 { format!("v{v} {main}+{residual}") } else { format!("v{v} {main}") };
        let linear = random_layer(self.size, books)?;
        let weights = linear.dequantize();
        let size = self.size;
        let mut rng = SplitMix64::new(4);
        let x: Vec<f32> = (0..128 * size).map(|_| rng.next_normal() as f32).collect();
        for method in [VptqMethod::Reg256, VptqMethod::Gather, VptqMethod::Bucket] {
            let matrix = VptqMatrix::new(&linear, &VptqBackend { method: Some(method), ..VptqBackend::default() });
            if matrix.plan().method != method {
                continue;
            }
            let bytes = matrix.bytes();
            let copies = self.copies(matrix, 2 * bytes);
            for n in [1, 8] {
                let variant = format!("{label} {}", method.name());
                if !sink.wants(&self.case(n), &variant) {
                    continue;
                }
                let mut out = vec![0.0; n * size];
                copies[0].matmul_into(&x[..n * size], n, &mut out);
                check(&weights, &x, &out, size, if method == VptqMethod::Reg256 { 3e-3 } else { 1e-9 })?;
                let times =
                    time(self.budget, |i| copies[i % copies.len()].matmul_into(&x[..n * size], n, black_box(&mut out)));
                let record = self.record(&self.case(n), &variant, bytes, times);
                let ratio = Some(baseline / record.median);
                sink.push(Record { baseline: Some("lut-2bit or stream".into()), ratio_to_baseline: ratio, ..record });
            }
        }
        self.dense(&label, &linear, &weights, &x, sink)
    }

    /// Many tokens beside dense `f32`, and one token by decoding everything.
    fn dense(
        &self,
        label: &str,
        linear: &VptqLinear,
        weights: &[f32],
        x: &[f32],
        sink: &mut Sink,
    ) -> anyhow::Result<()> {
        let (size, n) = (self.size, 128);
        let dense = DenseMatrix::new(weights.to_vec(), size, size);
        let mut out = vec![0.0; n * size];
        let times = time(self.budget, |_| dense.matmul_into(x, n, black_box(&mut out)));
        let base = self.record(&self.case(n), "dense-f32", dense.bytes(), times);
        let baseline = base.median;
        // Many tokens are bound by operations.
        sink.push(Record { limit: None, pct_of_limit: None, ..base });
        let matrix = VptqMatrix::new(linear, &VptqBackend::default());
        matrix.matmul_into(x, n, &mut out);
        check(weights, x, &out, size, 1e-9)?;
        let times = time(self.budget, |_| matrix.matmul_into(x, n, black_box(&mut out)));
        let record = self.record(&self.case(n), &format!("{label} tile"), matrix.bytes(), times);
        let ratio = Some(baseline / record.median);
        let tile = Record { baseline: Some("dense-f32".into()), ratio_to_baseline: ratio, ..record };
        sink.push(Record { limit: None, pct_of_limit: None, ..tile });
        let mut decoded = vec![0.0; size * size];
        let times = time(self.budget, |_| {
            linear.dequantize_into(&mut decoded);
            DenseMatrix::new(std::mem::take(&mut decoded), size, size).matmul_into(&x[..size], 1, &mut out[..size]);
            decoded = vec![0.0; size * size];
        });
        sink.push(self.record(&self.case(1), &format!("{label} decode all"), matrix.bytes(), times));
        Ok(())
    }
}

/// Some rows of the first token against the decoded weights.
fn check(weights: &[f32], x: &[f32], out: &[f32], size: usize, bound: f64) -> anyhow::Result<()> {
    let (mut error, mut energy) = (0.0, 0.0);
    for row in (0..size).step_by(size.div_ceil(64)) {
        let exact: f64 = weights[row * size..][..size].iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        error += (f64::from(out[row]) - exact).powi(2);
        energy += exact * exact;
    }
    // Half-precision files round weights that the kernels do not.
    let bound = bound.max(1e-6);
    ensure!(error <= bound * energy, "a product is off by {} of its energy", error / energy);
    Ok(())
}

/// Seconds of a round of k-means with 256 centroids.
fn clusters(n: usize, v: usize, sink: &mut Sink) -> anyhow::Result<()> {
    let mut rng = SplitMix64::new(5);
    let x: Vec<f64> = (0..n * v).map(|_| f64::from(rng.next_normal() as f32)).collect();
    let case = format!("kmeans n={n} v={v} K=256");
    for threads in [1, 2] {
        if !sink.wants(&case, "round") {
            continue;
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let run = |iters| {
            let config = KMeansConfig { iters, tol: 0.0, init: parsimon_vq::Init::Sample, ..KMeansConfig::new(256) };
            let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
            pool.install(|| kmeans(Points::new(&x, v), None, &config, &mut SplitMix64::new(6), &control))
        };
        let inertia = run(20)?.report.inertia;
        ensure!(inertia < run(1)?.report.inertia, "k-means lowers the inertia");
        let times = |iters| time(Duration::from_millis(10), |_| drop(black_box(run(iters))));
        let (long, short) = (times(20), times(0));
        let round = |a: f64, b: f64| (a - b) / 20.0;
        let times = Times {
            min: round(long.min, short.min),
            median: round(long.median, short.median),
            max: round(long.max, short.max),
            runs: long.runs,
        };
        let record = Record::lut_time(&case, "round", Level::best(), threads, times);
        let params = BTreeMap::from([("inertia", json!(inertia)), ("points_per_us", json!(n as f64 / record.median))]);
        sink.push(Record { area: "vq", params, ..record });
    }
    Ok(())
}
