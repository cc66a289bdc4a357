//! The mathematics of this crate in `f64` and `i64`, written to be obviously right. Slow; for tests and for judging kernels.

use half::bf16;
use parsimon_core::quant::{GroupQuantized, Zeros};

use crate::{ActQuant, PreparedActivations, trit};

/// `y[t, r] = sum_c w[r, c] x[t, c]` from the unquantized activations `x [n, k]`, in `f64`: `[n, m]`.
pub fn matmul(w: &GroupQuantized, x: &[f32]) -> Vec<f64> {
    let dot = |row: usize, x: &[f32]| -> f64 { (0..w.k).map(|c| w.weight(row, c) * f64::from(x[c])).sum() };
    x.chunks_exact(w.k).flat_map(|x| (0..w.m).map(move |row| dot(row, x))).collect()
}

/// The formula of the method that `x` was prepared for, with its *quantized* activations, in `f64`: `[n, m]`.
///
/// What a kernel computes, without its roundings. Per group, with `o = 2 zp - 2^b + 1` or `s / 2 o = s / 2 + z`:
///
/// ```text
/// Table          s/2 sum_j scale_j sum_i 2^i T_j[idx]      + s/2 o beta_G
/// Int8           s/2 sum_k scale_k (2 q_k - (2^b - 1)) a_k + s/2 o beta_G
/// TernaryTable   s sum_j scale_j (E_j[v] - 128)
/// Bf16           sum_k ((q_k - 2^(b-1)) s - z) a_k
/// ```
///
/// # Panics
///
/// When `x` was prepared for another `k` or `group`.
pub fn matmul_prepared(w: &GroupQuantized, x: &PreparedActivations) -> Vec<f64> {
    assert_eq!((x.k(), x.config().group), (w.k, w.group.min(w.k)));
    (0..x.n()).flat_map(|token| (0..w.m).map(move |row| one_output(w, x, token, row))).collect()
}

/// Some rows of [`matmul_prepared`] for one token.
///
/// # Panics
///
/// As [`matmul_prepared`].
pub fn rows_prepared(w: &GroupQuantized, x: &PreparedActivations, token: usize, rows: &[usize]) -> Vec<f64> {
    assert_eq!((x.k(), x.config().group), (w.k, w.group.min(w.k)));
    rows.iter().map(|&row| one_output(w, x, token, row)).collect()
}

fn one_output(w: &GroupQuantized, x: &PreparedActivations, token: usize, row: usize) -> f64 {
    let row_codes = &w.codes[row * w.k..][..w.k];
    let codes: Vec<u8> = match &x.config().order {
        Some(order) => order.iter().map(|&i| row_codes[i as usize]).collect(),
        None => row_codes.to_vec(),
    };
    let scale_of = |i: usize| f64::from(x.token_scale(token).unwrap_or(1.0)) * f64::from(x.scales(token)[i]);
    let (mut y, mut five, mut five_scale) = (0.0, 0, 0);
    for g in 0..w.n_groups() {
        let columns = g * w.group..((g + 1) * w.group).min(w.k);
        let at = row * w.n_groups() + g;
        let scale = f64::from(w.scales[at]);
        let z = match &w.zeros {
            Zeros::Points(points) => (f64::from(points[at]) - f64::from(1u32 << (w.bits - 1))) * scale,
            Zeros::Real(reals) => f64::from(reals[at]),
        };
        let sum: f64 = match x.config().quant {
            ActQuant::Table { ags } => (columns.start.div_ceil(4)..columns.end.div_ceil(4))
                .map(|j| {
                    scale_of(4 * j / ags)
                        * looked_up(w.bits, &codes[4 * j..w.k.min(4 * j + 4)], &x.codes(token)[16 * j..])
                })
                .sum(),
            ActQuant::Int8 { block } => columns
                .map(|c| {
                    let centred = 2 * i32::from(codes[c]) - ((1 << w.bits) - 1);
                    scale_of(c / block) * f64::from(centred * i32::from(x.codes(token)[c] as i8))
                })
                .sum(),
            ActQuant::TernaryTable { ags } => {
                let mut sum = 0.0;
                for run in codes[columns].chunks(ags) {
                    for codes in run.chunks(trit::FIVE) {
                        let byte = trit::encode(codes);
                        let entry = f64::from(x.codes(token)[five * trit::ENTRIES + usize::from(byte & 127)]) - 128.0;
                        sum += 2.0 * scale_of(five_scale) * if byte > 127 { -entry } else { entry };
                        five += 1;
                    }
                    five_scale += 1;
                }
                y += scale / 2.0 * sum;
                continue;
            }
            ActQuant::Bf16 => {
                let activations = x.codes(token).as_chunks::<2>().0;
                let product = |c: usize| {
                    let weight = (f64::from(codes[c]) - f64::from(1u32 << (w.bits - 1))) * scale - z;
                    weight * bf16::from_le_bytes(activations[c]).to_f64()
                };
                y += f64::from(x.token_scale(token).unwrap_or(1.0)) * columns.map(product).sum::<f64>();
                continue;
            }
        };
        let beta = f64::from(x.token_scale(token).unwrap_or(1.0)) * f64::from(x.betas(token)[g]);
        y += scale / 2.0 * sum + (scale / 2.0 + z) * beta;
    }
    y
}

/// `sum_i 2^i T[idx_i]` of four codes.
fn looked_up(bits: u8, quad: &[u8], table: &[u8]) -> f64 {
    let plane = |i: u8| {
        let idx = quad.iter().enumerate().fold(0, |idx, (t, q)| idx | usize::from(q >> i & 1) << t);
        f64::from(1u32 << i) * f64::from(table[idx] as i8)
    };
    (0..bits).map(plane).sum()
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
