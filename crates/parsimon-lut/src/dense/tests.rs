use parsimon_core::SplitMix64;

use super::*;

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = SplitMix64::new(seed);
    (0..len).map(|_| rng.next_normal() as f32).collect()
}

#[track_caller]
fn check(m: usize, k: usize, n: usize) {
    let (w, x) = (random(m * k, 1), random(n * k, 2));
    let mut out = vec![f32::NAN; n * m];
    DenseMatrix::new(w.clone(), m, k).matmul_into(&x, n, &mut out);
    for t in 0..n {
        for r in 0..m {
            let terms = || (0..k).map(|c| f64::from(w[r * k + c]) * f64::from(x[t * k + c]));
            let (exact, magnitude): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
            // Each of at most k/64 + 8 additions of a partial sum rounds by 2^-24 of it.
            let bound = magnitude * (k as f64 / 64.0 + 12.0) * 2f64.powi(-24) + 1e-30;
            let error = (f64::from(out[t * m + r]) - exact).abs();
            assert!(error <= bound, "[{m}, {k}] n = {n}: {error} > {bound} at token {t}, row {r}");
        }
    }
}

#[test]
fn every_path_equals_the_f64_product() {
    for (m, k) in [(1, 1), (3, 5), (64, 64), (65, 63), (130, 257), (200, 0)] {
        for n in [0, 1, 2, 5, 16, 17, 40] {
            check(m, k, n);
        }
    }
    check(600, 512, 1);
    check(600, 512, 3);
}

#[test]
fn threads_do_not_change_a_bit() {
    let (m, k) = (1000, 300);
    let matrix = DenseMatrix::new(random(m * k, 1), m, k);
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

#[test]
fn a_few_tokens_have_the_bits_of_each_alone() {
    for (m, k) in [(1, 64), (7, 200), (130, 257), (1000, 300)] {
        let matrix = DenseMatrix::new(random(m * k, 1), m, k);
        let x = random(SKINNY_MAX * k, 2);
        let run = |x: &[f32]| {
            let mut out = vec![f32::NAN; x.len() / k * m];
            matrix.matmul_into(x, x.len() / k, &mut out);
            out
        };
        let alone: Vec<f32> = x.chunks_exact(k).flat_map(run).collect();
        for n in 2..=SKINNY_MAX {
            assert_eq!(run(&x[..n * k]), alone[..n * m], "[{m}, {k}] n = {n}");
        }
    }
}
