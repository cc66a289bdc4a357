//! One shape, number of tokens, temperature and number of threads.

use parsimon_lut::reference;
use parsimon_lut::roofline::Work;

use super::*;

/// The kernels round a handful of `f32` additions a group.
const TOLERANCE: f64 = 1e-5;

/// The variant that ratios compare with.
const BASELINE: &str = "dense-f32";

/// Rows whose results are compared with the reference, spread over the matrix.
const CHECKED_ROWS: usize = 64;

/// What is measured. Hot: the same matrix again and again. Cold: enough copies that none is still in a cache when its turn comes.
pub(super) struct Case {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) cold: bool,
    pub(super) threads: usize,
    pub(super) budget: Duration,
}

impl Case {
    fn name(&self) -> String {
        let Case { m, k, n, .. } = self;
        match (n, self.cold) {
            (1, true) => format!("gemv {m}x{k} cold"),
            (1, false) => format!("gemv {m}x{k} hot"),
            _ => format!("gemm {m}x{k} n={n}"),
        }
    }

    pub(super) fn run(&self, sink: &mut Sink) -> anyhow::Result<()> {
        let Case { m, k, n, .. } = *self;
        let name = self.name();
        let wanted = self.wanted(sink);
        if wanted.is_empty() && !sink.wants(&name, BASELINE) {
            return Ok(());
        }
        let mut rng = SplitMix64::new(1);
        let weights: Vec<f32> = (0..m * k).map(|_| rng.next_normal() as f32).collect();
        let x: Vec<f32> = (0..n * k).map(|_| rng.next_normal() as f32).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        let dense = self.dense(&weights, &x, &pool, sink)?;
        for (levels, kernels) in wanted {
            let quantized = quantize(&weights, m, k, levels, GROUP)?;
            for kernel in kernels {
                let matrix = LowBitMatrix::from_quantized(&quantized, Backend::Kernel(kernel))?;
                let prepared = PreparedActivations::try_new(&x, n, k, &ActConfig::for_matrix(&matrix))?;
                let mut out = vec![0.0; n * m];
                matrix.matmul_into(&prepared, &mut out);
                self.check(&quantized, &prepared, &out, &kernel.name())?;
                let work = Work::new(&matrix, n);
                let copies = self.copies(matrix);
                let times = pool.install(|| {
                    time(self.budget, |i| copies[i % copies.len()].matmul_into(&prepared, black_box(&mut out)))
                });
                let variant = format!("{}-{}", kernel.name(), label(levels));
                let record = Record::lut_time(&name, &variant, kernel.level(), self.threads, times);
                let ratio = Some(dense / record.median);
                let record = Record { baseline: Some(BASELINE.into()), ratio_to_baseline: ratio, ..record };
                sink.push(self.with_limits(record, kernel, work));
            }
        }
        Ok(())
    }

    /// Measures the baseline and returns its median in microseconds.
    fn dense(&self, weights: &[f32], x: &[f32], pool: &rayon::ThreadPool, sink: &mut Sink) -> anyhow::Result<f64> {
        let Case { m, k, n, .. } = *self;
        let mut out = vec![0.0; n * m];
        let dense = DenseMatrix::new(weights.to_vec(), m, k);
        let bytes = dense.bytes();
        let copies = self.copies(dense);
        let times =
            pool.install(|| time(self.budget, |i| copies[i % copies.len()].matmul_into(x, n, black_box(&mut out))));
        for row in (0..m).step_by(m.div_ceil(CHECKED_ROWS)) {
            let exact: f64 = weights[row * k..][..k].iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            ensure!((f64::from(out[row]) - exact).abs() <= 1e-3, "{}: dense f32 is wrong", self.name());
        }
        let record = Record::lut_time(&self.name(), BASELINE, Level::best(), self.threads, times);
        let median = record.median;
        let limit = 1e6 * bytes as f64 / self.bandwidth(bytes);
        let limit = (n == 1).then_some(limit);
        sink.push(Record { limit, pct_of_limit: limit.map(|limit| 100.0 * limit / median), ..record });
        Ok(median)
    }

    /// Compares rows of the first and the last token with the reference.
    fn check(
        &self,
        quantized: &parsimon_core::quant::GroupQuantized,
        prepared: &PreparedActivations,
        out: &[f32],
        kernel: &str,
    ) -> anyhow::Result<()> {
        let rows: Vec<usize> = (0..self.m).step_by(self.m.div_ceil(CHECKED_ROWS)).collect();
        for token in [0, self.n - 1] {
            let expected = reference::rows_prepared(quantized, prepared, token, &rows);
            let largest = expected.iter().fold(0.0f64, |max, e| max.max(e.abs()));
            for (&row, expected) in rows.iter().zip(expected) {
                let error = (f64::from(out[token * self.m + row]) - expected).abs() / largest;
                ensure!(error <= TOLERANCE, "{}: {kernel}, token {token}, row {row}: off by {error}", self.name());
            }
        }
        Ok(())
    }

    /// The kernels to measure at every width that the filter leaves; portable ones for small sizes only, several threads for the planned ones.
    fn wanted(&self, sink: &Sink) -> Vec<(Levels, Vec<Kernel>)> {
        let name = self.name();
        let small = self.m * self.k * self.n <= 1 << 20;
        let of_width = |levels: Levels| {
            let takes = |kernel: &Kernel| match kernel.method() {
                Method::Lut => levels != Levels::Bits(8),
                Method::Elut => levels == Levels::Ternary,
                Method::Dot => levels != Levels::Bits(3),
            };
            let kernels = Kernel::available().filter(takes).filter(|kernel| {
                (small || kernel.level() != Level::Scalar)
                    && sink.wants(&name, &format!("{}-{}", kernel.name(), label(levels)))
            });
            (levels, kernels.collect::<Vec<_>>())
        };
        WIDTHS.into_iter().map(of_width).filter(|(_, kernels)| !kernels.is_empty()).collect()
    }

    fn copies<T: Clone + HasBytes>(&self, matrix: T) -> Vec<T> {
        let copies = if self.cold { COLD_BYTES.div_ceil(matrix.bytes()) } else { 1 };
        (0..copies).map(|_| matrix.clone()).collect()
    }

    fn bandwidth(&self, bytes: usize) -> f64 {
        self.threads as f64 * probe::read_bandwidth(if self.cold { COLD_BYTES } else { bytes })
    }

    /// Bytes and operations a second, and how far from what the machine can do.
    fn with_limits(&self, mut record: Record, kernel: Kernel, work: Work) -> Record {
        let seconds = record.median * 1e-6;
        let bytes_limit = work.bytes as f64 / self.bandwidth(work.bytes as usize);
        let peak = probe::peak(kernel.method(), kernel.level()).map(|peak| self.threads as f64 * peak);
        let operations_limit = peak.map_or(0.0, |peak| work.operations as f64 / peak);
        let limit = bytes_limit.max(operations_limit);
        // Many tokens are bound by operations; where their peak is not known there is no limit to state.
        let limit = (self.n == 1 || peak.is_some()).then_some(limit);
        record.limit = limit.map(|limit| limit * 1e6);
        record.pct_of_limit = limit.map(|limit| 100.0 * limit / seconds);
        record.params = [("m", self.m), ("k", self.k), ("n", self.n), ("group", GROUP)]
            .map(|(name, number)| (name, json!(number)))
            .into();
        record.params.insert("bytes", json!(work.bytes));
        record.params.insert("gb_per_s", json!(work.bytes as f64 / seconds / 1e9));
        record.params.insert("gop_per_s", json!(work.flops as f64 / seconds / 1e9));
        record.params.insert("pct_of_bandwidth", json!(100.0 * bytes_limit / seconds));
        record.params.insert("pct_of_peak", json!(peak.map(|_| 100.0 * operations_limit / seconds)));
        let dot_peak = probe::peak(Method::Dot, Level::best()).map(|peak| 2.0 * peak * self.threads as f64);
        record.params.insert("ratio_to_dot_peak", json!(dot_peak.map(|peak| work.flops as f64 / seconds / peak)));
        record
    }
}

/// A matrix that knows its size.
trait HasBytes {
    fn bytes(&self) -> usize;
}

impl HasBytes for LowBitMatrix {
    fn bytes(&self) -> usize {
        LowBitMatrix::bytes(self)
    }
}

impl HasBytes for DenseMatrix {
    fn bytes(&self) -> usize {
        DenseMatrix::bytes(self)
    }
}
