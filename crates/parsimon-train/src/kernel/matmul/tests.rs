use parsimon_core::SplitMix64;

use super::*;

#[track_caller]
fn check(m: usize, n: usize, k: usize, transpose: (bool, bool), sum: Sum) {
    let mut rng = SplitMix64::new((m * 31 + n * 7 + k) as u64);
    let mut random = |len: usize| (0..len).map(|_| rng.next_normal() as f32).collect::<Vec<f32>>();
    // Strided operands: every row is followed by three elements that do not belong to it.
    let (a_rows, a_cols) = if transpose.0 { (k, m) } else { (m, k) };
    let (b_rows, b_cols) = if transpose.1 { (n, k) } else { (k, n) };
    let (a, b) = (random(a_rows * (a_cols + 3)), random(b_rows * (b_cols + 3)));
    let mut dst = random(m * (n + 3));
    let before = dst.clone();
    let lhs = Mat::strided(&a, a_rows, a_cols, a_cols + 3);
    let rhs = Mat::strided(&b, b_rows, b_cols, b_cols + 3);
    let (lhs, rhs) = (if transpose.0 { lhs.t() } else { lhs }, if transpose.1 { rhs.t() } else { rhs });
    matmul(MatMut::strided(&mut dst, m, n, n + 3), sum, lhs, rhs, Threads::Pool);
    let at = |mat: &Mat<'_>, i: usize, j: usize| f64::from(mat.data[i * mat.row_stride + j * mat.col_stride]);
    for i in 0..m {
        for j in 0..n + 3 {
            let old = f64::from(before[i * (n + 3) + j]);
            let product = || (0..k).map(|p| at(&lhs, i, p) * at(&rhs, p, j)).sum::<f64>();
            let expected = match (j < n, sum) {
                (false, _) => old,
                (true, Sum::Add) => old + product(),
                (true, Sum::Replace) => product(),
            };
            let actual = f64::from(dst[i * (n + 3) + j]);
            assert!((actual - expected).abs() < 1e-4, "[{i}, {j}] is {actual}, expected {expected}");
        }
    }
}

#[test]
fn products_with_strides() {
    for transpose in [(false, false), (false, true), (true, false), (true, true)] {
        for (m, n, k) in [(1, 1, 1), (3, 17, 5), (64, 33, 20), (70, 96, 129)] {
            check(m, n, k, transpose, Sum::Replace);
            check(m, n, k, transpose, Sum::Add);
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_threads() {
    let (m, n, k) = (520, 300, 1100);
    let mut rng = SplitMix64::new(5);
    let a: Vec<f32> = (0..m * k).map(|_| rng.next_normal() as f32).collect();
    let b: Vec<f32> = (0..k * n).map(|_| rng.next_normal() as f32).collect();
    let product = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut dst = vec![0.0; m * n];
        let run = || {
            matmul(MatMut::new(&mut dst, m, n), Sum::Replace, Mat::new(&a, m, k), Mat::new(&b, k, n), Threads::Pool);
        };
        pool.install(run);
        dst
    };
    let one = product(1);
    for threads in [2, 3, 8] {
        assert!(product(threads) == one, "{threads} threads");
    }
}

#[test]
#[should_panic(expected = "matrix, stride")]
fn a_matrix_beyond_its_slice_is_refused() {
    Mat::strided(&[0.0; 10], 3, 3, 4);
}
