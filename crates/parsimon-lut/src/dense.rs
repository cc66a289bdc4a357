//! `f32` weights: the baseline of every comparison, and the runtime of layers that stay in floats.
//!
//! Few tokens go through row dot products that read each weight once in order; many go through the gemm crate. A general
//! `A B^T` with 2 to 16 rows of `A` is ten times slower than either, which is why the border lies where it does.

use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use crate::kernel;

/// Up to so many tokens the weights are read by row dot products.
const SKINNY_MAX: usize = 16;

/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_MIN: usize = 1 << 18;

/// Rows of a task.
const TASK_ROWS: usize = 64;

/// Floats of a register of the widest level; the body below keeps four sums of it.
const LANES: usize = 16;

/// Dense weights `[m, k]`, row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct DenseMatrix {
    m: usize,
    k: usize,
    weights: Vec<f32>,
}

impl DenseMatrix {
    /// Takes weights `[m, k]`.
    ///
    /// # Panics
    ///
    /// When `weights.len() != m * k`.
    pub fn new(weights: Vec<f32>, m: usize, k: usize) -> Self {
        assert_eq!(weights.len(), m * k, "weights must be [m, k]");
        DenseMatrix { m, k, weights }
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    /// The weights, row-major.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Row `r`, for embedding tables.
    pub fn row(&self, r: usize) -> &[f32] {
        &self.weights[r * self.k..][..self.k]
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        4 * self.weights.len()
    }

    /// `out[t, r] = sum_c w[r, c] x[t, c]`: `x` is `[n, k]`, `out` is `[n, m]`.
    ///
    /// The result does not depend on the number of threads; it does depend on whether `n` is above 16, by rounding.
    ///
    /// # Panics
    ///
    /// When a length does not fit.
    pub fn matmul_into(&self, x: &[f32], n: usize, out: &mut [f32]) {
        assert_eq!(x.len(), n * self.k, "x must be [n, k]");
        assert_eq!(out.len(), n * self.m, "out must be [n, m]");
        if n == 0 || self.m == 0 {
            return;
        }
        if n > SKINNY_MAX {
            kernel::gemm_into(x, &self.weights, n, self.m, self.k, out);
        } else if n == 1 {
            self.rows_into(x, out);
        } else {
            self.skinny(x, n, out);
        }
    }

    /// One token: rows in parallel.
    fn rows_into(&self, x: &[f32], out: &mut [f32]) {
        let run = |(task, out): (usize, &mut [f32])| {
            let weights = &self.weights[task * TASK_ROWS * self.k..][..out.len() * self.k];
            vectorize(Level::best(), Rows { weights, x, k: self.k, out });
        };
        if self.is_parallel(1) {
            out.par_chunks_mut(TASK_ROWS).enumerate().for_each(run);
        } else {
            out.chunks_mut(TASK_ROWS).enumerate().for_each(run);
        }
    }

    /// A few tokens: each block of rows is read from memory once and multiplied with every token while it is in cache.
    fn skinny(&self, x: &[f32], n: usize, out: &mut [f32]) {
        let block_len = TASK_ROWS * n;
        let mut blocks = vec![0.0; self.m.div_ceil(TASK_ROWS) * block_len];
        let run = |(task, block): (usize, &mut [f32])| {
            let rows = TASK_ROWS.min(self.m - task * TASK_ROWS);
            let weights = &self.weights[task * TASK_ROWS * self.k..][..rows * self.k];
            for (x, out) in x.chunks_exact(self.k.max(1)).zip(block.chunks_exact_mut(TASK_ROWS)) {
                vectorize(Level::best(), Rows { weights, x, k: self.k, out: &mut out[..rows] });
            }
        };
        if self.is_parallel(n) {
            blocks.par_chunks_exact_mut(block_len).enumerate().for_each(run);
        } else {
            blocks.chunks_exact_mut(block_len).enumerate().for_each(run);
        }
        for (task, block) in blocks.chunks_exact(block_len).enumerate() {
            for (token, rows) in block.chunks_exact(TASK_ROWS).enumerate() {
                let out = &mut out[token * self.m..][task * TASK_ROWS..self.m.min((task + 1) * TASK_ROWS)];
                out.copy_from_slice(&rows[..out.len()]);
            }
        }
    }

    fn is_parallel(&self, n: usize) -> bool {
        n * self.m * self.k >= PARALLEL_MIN && rayon::current_num_threads() > 1
    }
}

/// `out[r] = <weights[r], x>` for consecutive rows.
struct Rows<'a> {
    weights: &'a [f32],
    x: &'a [f32],
    k: usize,
    out: &'a mut [f32],
}

impl Vectorize for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (r, out) in self.out.iter_mut().enumerate() {
            *out = dot::<FMA>(&self.weights[r * self.k..][..self.k], self.x);
        }
    }
}

/// A dot product with four vectors of partial sums, added in a fixed order.
#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    const UNROLL: usize = 4;
    let mut sums = [[0.0f32; LANES]; UNROLL];
    let (a_blocks, a_rest) = a.as_chunks::<{ LANES * UNROLL }>();
    let (b_blocks, b_rest) = b.as_chunks::<{ LANES * UNROLL }>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for (u, sum) in sums.iter_mut().enumerate() {
            for (lane, sum) in sum.iter_mut().enumerate() {
                let (a, b) = (a[u * LANES + lane], b[u * LANES + lane]);
                *sum = if FMA { a.mul_add(b, *sum) } else { a * b + *sum };
            }
        }
    }
    let mut lanes = [0.0f32; LANES];
    for (lane, total) in lanes.iter_mut().enumerate() {
        *total = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests;
