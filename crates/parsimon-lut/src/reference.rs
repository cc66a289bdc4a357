//! The mathematics of this crate in `f64` and `i64`, written to be obviously right. Slow; for tests and for judging kernels.

use parsimon_core::quant::{GroupQuantized, Zeros};

use crate::PreparedActivations;

/// `y[t, r] = sum_c w[r, c] x[t, c]` from the unquantized activations `x [n, k]`, in `f64`: `[n, m]`.
pub fn matmul(w: &GroupQuantized, x: &[f32]) -> Vec<f64> {
    let dot = |row: usize, x: &[f32]| -> f64 { (0..w.k).map(|c| w.weight(row, c) * f64::from(x[c])).sum() };
    x.chunks_exact(w.k).flat_map(|x| (0..w.m).map(move |row| dot(row, x))).collect()
}

/// The table formula of the crate documentation with the *quantized* tables of `x`, in `f64`: `[n, m]`.
///
/// What a kernel computes, without its roundings: `y = sum_G s/2 sum_j scale_j sum_i 2^i T_j[idx] + (s/2 + z) beta_G`.
///
/// # Panics
///
/// When `x` was prepared for another `k` or `group`, or the columns are in act-order.
pub fn matmul_table(w: &GroupQuantized, x: &PreparedActivations) -> Vec<f64> {
    assert_eq!((x.k(), x.config().group), (w.k, w.group.min(w.k)));
    assert!(w.g_idx.is_none());
    (0..x.n()).flat_map(|token| (0..w.m).map(move |row| row_by_table(w, x, token, row))).collect()
}

fn row_by_table(w: &GroupQuantized, x: &PreparedActivations, token: usize, row: usize) -> f64 {
    let codes = &w.codes[row * w.k..][..w.k];
    let mut y = 0.0;
    for g in 0..w.n_groups() {
        let columns = g * w.group..((g + 1) * w.group).min(w.k);
        let mut sum = 0.0;
        for j in columns.start.div_ceil(4)..columns.end.div_ceil(4) {
            let quad = &codes[4 * j..w.k.min(4 * j + 4)];
            let scale = f64::from(x.scales(token)[4 * j / x.config().ags]);
            for i in 0..w.bits {
                let idx = quad.iter().enumerate().fold(0, |idx, (t, q)| idx | usize::from(q >> i & 1) << t);
                sum += scale * f64::from(1u32 << i) * f64::from(x.tables(token)[16 * j + idx]);
            }
        }
        let at = row * w.n_groups() + g;
        let scale = f64::from(w.scales[at]);
        let z = match &w.zeros {
            Zeros::Points(points) => (f64::from(points[at]) - f64::from(1u32 << (w.bits - 1))) * scale,
            Zeros::Real(reals) => f64::from(reals[at]),
        };
        y += scale / 2.0 * sum + (scale / 2.0 + z) * f64::from(x.betas(token)[g]);
    }
    y
}

/// `sum_c (2 q[r, c] - (2^b - 1)) a[t, c]` for integer activations `a [n, k]`: `[n, m]`.
pub fn matmul_integer(w: &GroupQuantized, a: &[i8]) -> Vec<i64> {
    let middle = (1i64 << w.bits) - 1;
    let dot = |row: usize, a: &[i8]| -> i64 {
        let codes = &w.codes[row * w.k..][..w.k];
        codes.iter().zip(a).map(|(&q, &a)| (2 * i64::from(q) - middle) * i64::from(a)).sum()
    };
    a.chunks_exact(w.k).flat_map(|a| (0..w.m).map(move |row| dot(row, a))).collect()
}
