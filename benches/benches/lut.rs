//! The lookup-table GEMV under criterion, for its statistics between two states of the code: `cargo bench -p parsimon-bench
//! --features criterion`.
//!
//! What is published comes from `cargo xtask bench lut`, which checks results and prints limits and baselines of the same run.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make the entry point; inputs are made here")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{ActConfig, Backend, LowBitMatrix, PreparedActivations};

const M: usize = 1024;
const K: usize = 1024;

fn gemv(criterion: &mut Criterion) {
    let mut rng = SplitMix64::new(1);
    let mut normal = |len: usize| (0..len).map(|_| rng.next_normal() as f32).collect::<Vec<f32>>();
    let (weights, x) = (normal(M * K), normal(K));
    let mut group = criterion.benchmark_group(format!("gemv {M}x{K}"));
    group.throughput(Throughput::Elements((M * K) as u64));
    for bits in 1..=4 {
        let codes = quantize(&weights, M, K, Levels::Bits(bits), 64).unwrap();
        let matrix = LowBitMatrix::from_quantized(&codes, Backend::Auto).unwrap();
        let prepared = PreparedActivations::try_new(&x, 1, K, &ActConfig::for_matrix(&matrix)).unwrap();
        let mut out = vec![0.0; M];
        let id = BenchmarkId::new(matrix.kernel().name(), format!("{bits} bits"));
        group.bench_function(id, |bencher| bencher.iter(|| matrix.matmul_into(&prepared, &mut out)));
    }
    group.finish();
}

criterion_group!(benches, gemv);
criterion_main!(benches);
