use parsimon_core::SplitMix64;
use parsimon_simd::Level;
use parsimon_testkit::{max_rel, nmse};

use super::*;
use crate::FloatType;
use crate::linear::{OutlierPart, Parts};

/// Shape of a random layer.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    v: usize,
    groups: usize,
    group_size: usize,
    centroids: usize,
    residual: usize,
    /// Outlier columns and their vector length.
    outliers: (usize, usize),
    normed: bool,
}

fn random(case: Case, seed: u64) -> VptqLinear {
    let mut rng = SplitMix64::new(seed);
    let Case { m, v, groups, group_size, centroids, residual, outliers: (ol, v0), normed } = case;
    let k = groups * group_size + ol;
    let blocks = m.div_ceil(v);
    // Sixteenths, which every float type holds, also sums of two.
    let mut floats = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.below(65) as f32 / 16.0 - 2.0).collect() };
    let main = floats(groups * centroids * v);
    let residual_centroids = floats(groups * residual * v);
    let outlier_centroids = floats(9 * v0);
    let norm = normed.then(|| (floats(k), floats(k)));
    let bias = normed.then(|| floats(m));
    let mut codes = |n: usize, k: usize| -> Vec<u16> { (0..n).map(|_| rng.below(k as u64) as u16).collect() };
    let n = groups * blocks * group_size;
    let main_codes = codes(n, centroids);
    let residual_codes = codes(if residual > 0 { n } else { 0 }, residual.max(1));
    let outlier_codes = codes(m.div_ceil(v0) * ol, 9);
    let mut perm: Vec<u32> = (0..k as u32).collect();
    rng.shuffle(&mut perm);
    VptqLinear::from_parts(Parts {
        m,
        k,
        v,
        groups,
        group_size,
        float: FloatType::F32,
        centroids: main,
        residual_centroids,
        codes: main_codes,
        residual_codes,
        outlier: (ol > 0).then_some(OutlierPart {
            v: v0,
            columns: ol,
            centroids: outlier_centroids,
            codes: outlier_codes,
        }),
        perm: normed.then_some(perm),
        norm,
        bias,
        packed: false,
        indices_as_float: false,
        perm_wide: false,
    })
}

/// `x W^T + bias` of the decoded weights in `f64`.
fn reference(linear: &VptqLinear, x: &[f32], n: usize) -> Vec<f64> {
    let ((m, k), w) = (linear.shape(), linear.dequantize());
    let mut out = Vec::with_capacity(n * m);
    for x in x.chunks_exact(k) {
        for (r, w) in w.chunks_exact(k).enumerate() {
            let y: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            out.push(y + linear.bias().map_or(0.0, |bias| f64::from(bias[r])));
        }
    }
    out
}

/// Sums of a few hundred products in `f32`, whatever their order.
const TOLERANCE: f64 = 1e-5;

/// Activations of 8 bits with a scale for 64 to 256 columns: a step of 1/127 of the largest, and a byte a centroid.
const BYTE_NMSE: f64 = 3e-3;

#[track_caller]
fn check(case: Case, n: usize) {
    let linear = random(case, (case.m * 31 + case.v * 7 + n) as u64);
    let (m, k) = linear.shape();
    let mut rng = SplitMix64::new(n as u64);
    let x: Vec<f32> = (0..n * k).map(|_| rng.next_normal() as f32).collect();
    let expected = reference(&linear, &x, n);
    let mut out = vec![f32::NAN; n * m];
    for level in Level::available() {
        for method in [VptqMethod::Gather, VptqMethod::Bucket, VptqMethod::Reg256] {
            let backend = VptqBackend { method: Some(method), level, ..VptqBackend::default() };
            let matrix = VptqMatrix::new(&linear, &backend);
            matrix.matmul_into(&x, n, &mut out);
            let what = format!("{case:?}, n {n}, {}", matrix.plan());
            if matrix.plan().method == VptqMethod::Reg256 && n < TILE_TOKENS {
                assert!(nmse(&out, &expected) <= BYTE_NMSE, "{what}: nmse {}", nmse(&out, &expected));
            } else {
                assert!(max_rel(&out, &expected) <= TOLERANCE, "{what}: {}", max_rel(&out, &expected));
            }
        }
    }
}

#[test]
fn every_kernel_agrees_with_the_decoded_weights() {
    let base =
        Case { m: 70, v: 8, groups: 1, group_size: 300, centroids: 256, residual: 256, outliers: (0, 2), normed: true };
    for v in 1..=16 {
        for (m, group_size) in [(1, 1), (33, 70), (70, 129)] {
            check(Case { m, v, group_size, residual: 0, ..base }, 1);
            check(Case { m, v, group_size, centroids: 16, residual: 7, outliers: (5, 3), ..base }, 2);
        }
    }
    for n in [1, 2, 3, 4, 5, 8, 15, 16, 17, 40] {
        check(base, n);
        check(Case { residual: 0, v: 4, ..base }, n);
        check(Case { groups: 3, group_size: 50, centroids: 300, residual: 4, ..base }, n);
        check(Case { v: 6, centroids: 4096, residual: 0, normed: false, ..base }, n);
        check(Case { v: 12, groups: 2, group_size: 65, outliers: (9, 4), ..base }, n);
    }
}

#[test]
fn threads_do_not_matter() {
    let case = Case {
        m: 300,
        v: 8,
        groups: 2,
        group_size: 100,
        centroids: 256,
        residual: 256,
        outliers: (3, 2),
        normed: true,
    };
    let linear = random(case, 1);
    let x: Vec<f32> = (0..20 * 203).map(|i| (i as f32 * 0.37).sin()).collect();
    for n in [1, 5, 20] {
        for method in [VptqMethod::Gather, VptqMethod::Reg256] {
            let matrix = VptqMatrix::new(&linear, &VptqBackend { method: Some(method), ..VptqBackend::default() });
            let run = |threads: usize| {
                let mut out = vec![0.0; n * 300];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| matrix.matmul_into(&x[..n * 203], n, &mut out));
                out
            };
            let first = run(1);
            assert!([2, 3, 8].into_iter().all(|threads| run(threads) == first), "{method:?}, n {n}");
        }
    }
}

#[test]
fn the_plan_keeps_its_budget() {
    let case =
        Case { m: 64, v: 4, groups: 1, group_size: 64, centroids: 256, residual: 0, outliers: (0, 2), normed: false };
    let linear = random(case, 3);
    let method =
        |max_nmse, level| VptqMatrix::new(&linear, &VptqBackend { method: None, max_nmse, level }).plan().method;
    assert_eq!(method(0.0, Level::best()), VptqMethod::Gather);
    assert_eq!(method(1.0, Level::Scalar), VptqMethod::Gather);
    let by_best = if Level::best().includes(Level::Avx512Vbmi) { VptqMethod::Reg256 } else { VptqMethod::Gather };
    assert_eq!(method(1.0, Level::best()), by_best);
    let many = random(Case { centroids: 257, ..case }, 3);
    let plan = VptqMatrix::new(&many, &VptqBackend { method: Some(VptqMethod::Reg256), ..VptqBackend::default() });
    assert_eq!(plan.plan().method, VptqMethod::Gather);
    assert_eq!(plan.plan().byte_nmse, None);
}
