//! Projections by head, and the norm after them, with their gradients.

use super::Real;

/// `y[row, w] = x[row, head_of(w)] W[w]` with `x [rows, x_heads, k]`, `W [w_heads, k, d]`: `[rows, w_heads, d]`.
pub(super) fn project<R: Real>(
    x: &[R],
    (x_heads, k): (usize, usize),
    weights: &[R],
    (w_heads, d): (usize, usize),
    head_of: impl Fn(usize) -> usize,
) -> Vec<R> {
    let rows = x.len() / (x_heads * k);
    let mut y = vec![R::ZERO; rows * w_heads * d];
    for (x, y) in x.chunks_exact(x_heads * k).zip(y.chunks_exact_mut(w_heads * d)) {
        for (w, (weights, y)) in weights.chunks_exact(k * d).zip(y.chunks_exact_mut(d)).enumerate() {
            for (&x, weights) in x[head_of(w) * k..][..k].iter().zip(weights.chunks_exact(d)) {
                y.iter_mut().zip(weights).for_each(|(y, &w)| *y += x * w);
            }
        }
    }
    y
}

/// `dW[w] = sum_row x[row, head_of(w)]^T dy[row, w]`.
pub(super) fn project_grad<R: Real>(
    x: &[R],
    (x_heads, k): (usize, usize),
    dy: &[R],
    (w_heads, d): (usize, usize),
    head_of: impl Fn(usize) -> usize,
) -> Vec<R> {
    let mut dw = vec![R::ZERO; w_heads * k * d];
    for (x, dy) in x.chunks_exact(x_heads * k).zip(dy.chunks_exact(w_heads * d)) {
        for (w, (dw, dy)) in dw.chunks_exact_mut(k * d).zip(dy.chunks_exact(d)).enumerate() {
            for (&x, dw) in x[head_of(w) * k..][..k].iter().zip(dw.chunks_exact_mut(d)) {
                dw.iter_mut().zip(dy).for_each(|(dw, &dy)| *dw += x * dy);
            }
        }
    }
    dw
}

/// `w x / sqrt(mean(x^2) + eps)` of every row.
pub(super) fn rms_norm<R: Real>(x: &[R], weight: &[R], eps: f64) -> Vec<R> {
    let mut y = x.to_vec();
    for row in y.chunks_exact_mut(weight.len()) {
        let r = factor(row, eps);
        row.iter_mut().zip(weight).for_each(|(x, &w)| *x = w * *x * r);
    }
    y
}

/// Replaces `dy` by `dx = r (w dy) - x r^3 sum((w dy) x) / d`, and returns `dw = sum dy x r`.
pub(super) fn rms_norm_grad<R: Real>(x: &[R], weight: &[R], eps: f64, dy: &mut [R]) -> Vec<R> {
    let d = weight.len();
    let mut dw = vec![R::ZERO; d];
    for (x, dy) in x.chunks_exact(d).zip(dy.chunks_exact_mut(d)) {
        let r = factor(x, eps);
        for (dw, (&dy, &x)) in dw.iter_mut().zip(dy.iter().zip(x)) {
            *dw += dy * x * r;
        }
        dy.iter_mut().zip(weight).for_each(|(dy, &w)| *dy = *dy * w);
        let along = R::dot(dy, x) * r * r * r / R::of(d as f64);
        dy.iter_mut().zip(x).for_each(|(dy, &x)| *dy = r * *dy - x * along);
    }
    dw
}

fn factor<R: Real>(row: &[R], eps: f64) -> R {
    R::of(1.0) / (R::dot(row, row) / R::of(row.len() as f64) + R::of(eps)).sqrt()
}
