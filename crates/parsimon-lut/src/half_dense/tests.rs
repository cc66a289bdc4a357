use half::{bf16, f16};
use parsimon_core::SplitMix64;

use super::*;
use crate::DenseMatrix;

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = SplitMix64::new(seed);
    (0..len).map(|_| rng.next_normal() as f32).collect()
}

#[test]
fn every_half_is_widened_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let mut out = vec![0.0; all.len()];
    HalfMatrix::new(all.clone(), HalfFormat::F16, 1, all.len()).row_into(0, &mut out);
    for (&bits, &value) in all.iter().zip(&out) {
        let exact = f16::from_bits(bits).to_f32();
        assert!(value.to_bits() == exact.to_bits() || (value.is_nan() && exact.is_nan()), "{bits:#06x}: {value}");
    }
    HalfMatrix::new(all.clone(), HalfFormat::Bf16, 1, all.len()).row_into(0, &mut out);
    for (&bits, &value) in all.iter().zip(&out) {
        assert!(value.to_bits() == u32::from(bits) << 16, "{bits:#06x}: {value}");
    }
}

/// Weights that are exact in 16 bits: the product is that of `f32`, up to the order of the sums.
#[track_caller]
fn check(format: HalfFormat, m: usize, k: usize, n: usize) {
    let (bits, wide): (Vec<u16>, Vec<f32>) = random(m * k, 1)
        .into_iter()
        .map(|w| match format {
            HalfFormat::F16 => (f16::from_f32(w).to_bits(), f16::from_f32(w).to_f32()),
            HalfFormat::Bf16 => (bf16::from_f32(w).to_bits(), bf16::from_f32(w).to_f32()),
        })
        .unzip();
    let x = random(n * k, 2);
    let matrix = HalfMatrix::new(bits, format, m, k);
    let (mut out, mut expected) = (vec![f32::NAN; n * m], vec![0.0; n * m]);
    matrix.matmul_into(&x, n, &mut out);
    DenseMatrix::new(wide.clone(), m, k).matmul_into(&x, n, &mut expected);
    for (i, (&y, &e)) in out.iter().zip(&expected).enumerate() {
        let (t, r) = (i / m, i % m);
        let magnitude: f32 = (0..k).map(|c| (wide[r * k + c] * x[t * k + c]).abs()).sum();
        // Twice the rounding of k / 64 + 12 additions.
        let bound = 2.0 * magnitude * (k as f32 / 64.0 + 12.0) * 2f32.powi(-24) + 1e-30;
        assert!((y - e).abs() <= bound, "{format:?} [{m}, {k}] n = {n}: {y} for {e} at token {t}, row {r}");
    }
    if n <= SKINNY_MAX {
        assert_eq!(out, expected, "{format:?} [{m}, {k}] n = {n}: few tokens have the bits of f32 weights");
        let mut alone = vec![0.0; m];
        for (x, out) in x.chunks_exact(k.max(1)).zip(out.chunks_exact(m)) {
            matrix.matmul_into(x, 1, &mut alone);
            assert_eq!(alone, out, "{format:?} [{m}, {k}] n = {n}");
        }
    }
}

#[test]
fn every_path_equals_the_product_of_wide_weights() {
    for format in [HalfFormat::F16, HalfFormat::Bf16] {
        for (m, k) in [(1, 1), (3, 5), (64, 64), (33, 63), (130, 257), (300, 128)] {
            for n in [1, 2, 5, 16, 17, 40] {
                check(format, m, k, n);
            }
        }
        check(format, 600, 512, 1);
        check(format, 600, 512, 3);
    }
    let empty = HalfMatrix::new(Vec::new(), HalfFormat::F16, 3, 0);
    let mut out = [1.0; 6];
    empty.matmul_into(&[], 2, &mut out);
    assert_eq!(out, [0.0; 6]);
}

#[test]
fn threads_do_not_change_a_bit() {
    let (m, k) = (1000, 300);
    let bits = random(m * k, 1).into_iter().map(|w| bf16::from_f32(w).to_bits()).collect();
    let matrix = HalfMatrix::new(bits, HalfFormat::Bf16, m, k);
    for n in [1, 4, 33] {
        let x = random(n * k, 2);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; n * m];
            pool.install(|| matrix.matmul_into(&x, n, &mut out));
            out
        };
        let one = run(1);
        assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one), "n = {n}");
    }
}
