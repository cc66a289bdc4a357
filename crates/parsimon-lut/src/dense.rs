//! `f32` weights: the baseline of every comparison, and the runtime of layers that stay in floats.
//!
//! Few tokens go through row dot products that read each weight once in order; many go through the gemm crate. A general
//! `A B^T` with 2 to 16 rows of `A` is ten times slower than either, which is why the border lies where it does.

use std::ops::Range;

use parsimon_simd::math::lane_sum;
use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use crate::kernel;

/// Up to so many tokens the weights are read by row dot products.
pub(crate) const SKINNY_MAX: usize = 16;

/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_MIN: usize = 1 << 18;

/// Rows of a task.
pub(crate) const TASK_ROWS: usize = 64;

/// Floats of a register of the widest level.
const LANES: usize = 16;

/// Vectors of partial sums of a dot product, and floats of a step of all.
const UNROLL: usize = 4;
const STEP: usize = LANES * UNROLL;

/// Rows and tokens whose dot products run together where there are 32 registers: a number that was loaded is used four times.
const WIDE_ROWS: usize = 4;
const WIDE_TOKENS: usize = 4;

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
    /// The result does not depend on the number of threads. Up to 16 tokens each has the bits that it has alone; more differ by rounding.
    ///
    /// # Panics
    ///
    /// When a length does not fit.
    pub fn matmul_into(&self, x: &[f32], n: usize, out: &mut [f32]) {
        assert_eq!(x.len(), n * self.k, "x must be [n, k]");
        assert_eq!(out.len(), n * self.m, "out must be [n, m]");
        if n == 0 || self.m == 0 || self.k == 0 {
            out.fill(0.0);
            return;
        }
        if n > SKINNY_MAX {
            kernel::gemm_into(x, &self.weights, n, self.m, self.k, out);
        } else {
            by_tasks((self.m, n, self.k), out, |task, rows, out| {
                let weights = &self.weights[task * TASK_ROWS * self.k..][..rows * self.k];
                multiply_rows(weights, x, (rows, self.k), out);
            });
        }
    }
}

/// Fills `out [n, m]` by tasks of [`TASK_ROWS`] rows, in parallel where it is worth it: `run(task, rows, out)` makes `rows` outputs of every token,
/// `[n][TASK_ROWS]`, or for one token `[rows]`. So each block of weights is read from memory once.
pub(crate) fn by_tasks(
    (m, n, k): (usize, usize, usize),
    out: &mut [f32],
    run: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let is_parallel = n * m * k >= PARALLEL_MIN && rayon::current_num_threads() > 1;
    let one = |(task, out): (usize, &mut [f32])| run(task, TASK_ROWS.min(m - task * TASK_ROWS), out);
    let all = |blocks: &mut [f32], len: usize| {
        if is_parallel {
            blocks.par_chunks_mut(len).enumerate().for_each(one);
        } else {
            blocks.chunks_mut(len).enumerate().for_each(one);
        }
    };
    if n == 1 {
        return all(out, TASK_ROWS);
    }
    let block_len = TASK_ROWS * n;
    let mut blocks = vec![0.0; m.div_ceil(TASK_ROWS) * block_len];
    all(&mut blocks, block_len);
    for (task, block) in blocks.chunks_exact(block_len).enumerate() {
        for (token, rows) in block.chunks_exact(TASK_ROWS).enumerate() {
            let out = &mut out[token * m..][task * TASK_ROWS..m.min((task + 1) * TASK_ROWS)];
            out.copy_from_slice(&rows[..out.len()]);
        }
    }
}

/// `out[t, r] = <weights[r], x[t]>` for weights `[rows, k]`, a few tokens, and `out [n][TASK_ROWS]`, or for one token `out [rows]`.
pub(crate) fn multiply_rows(weights: &[f32], x: &[f32], (rows, k): (usize, usize), out: &mut [f32]) {
    let wide = x.len() > k && Level::best().includes(Level::Avx512);
    let rows = Rows { weights, x, k, out, rows };
    if wide {
        vectorize(Level::best(), Wide(rows));
    } else {
        vectorize(Level::best(), rows);
    }
}

/// `out[t, r] = <weights[r], x[t]>` for consecutive rows and `out [n][TASK_ROWS]`, or for one token `out [rows]`.
struct Rows<'a> {
    weights: &'a [f32],
    x: &'a [f32],
    k: usize,
    out: &'a mut [f32],
    rows: usize,
}

/// [`Rows`] by blocks of rows and tokens, whose sums fill the registers of AVX-512.
struct Wide<'a>(Rows<'a>);

impl Vectorize for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        self.tiles::<FMA, 1, 1>(0..self.rows);
    }
}

impl Vectorize for Wide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let whole = self.0.rows / WIDE_ROWS * WIDE_ROWS;
        self.0.tiles::<FMA, WIDE_ROWS, WIDE_TOKENS>(0..whole);
        self.0.tiles::<FMA, 1, WIDE_TOKENS>(whole..self.0.rows);
    }
}

impl Rows<'_> {
    /// Rows of `range`, `R` at a time, which divides them.
    #[inline(always)]
    fn tiles<const FMA: bool, const R: usize, const T: usize>(&mut self, range: Range<usize>) {
        let k = self.k;
        for r in range.step_by(R) {
            let weights: [&[f32]; R] = std::array::from_fn(|i| &self.weights[(r + i) * k..][..k]);
            let tokens = self.x.len() / k;
            let whole = tokens / T * T;
            for t in (0..whole).step_by(T) {
                self.tile::<FMA, R, T>(weights, r, t);
            }
            for t in whole..tokens {
                self.tile::<FMA, R, 1>(weights, r, t);
            }
        }
    }

    #[inline(always)]
    fn tile<const FMA: bool, const R: usize, const T: usize>(&mut self, weights: [&[f32]; R], r: usize, t: usize) {
        let x: [&[f32]; T] = std::array::from_fn(|i| &self.x[(t + i) * self.k..][..self.k]);
        let sums = dots::<FMA, R, T>(weights, x);
        for (i, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                self.out[(t + j) * TASK_ROWS + r + i] = sum;
            }
        }
    }
}

/// Dot products with four vectors of partial sums each, added in an order that does not depend on `R` and `T`.
#[inline(always)]
fn dots<const FMA: bool, const R: usize, const T: usize>(a: [&[f32]; R], b: [&[f32]; T]) -> [[f32; T]; R] {
    let mut partial = [[[[0.0f32; LANES]; T]; R]; UNROLL];
    for (u, partial) in partial.iter_mut().enumerate() {
        *partial = partial_sums::<FMA, R, T>(a, b, u, a[0].len() / STEP);
    }
    let done = a[0].len() / STEP * STEP;
    let mut out = [[0.0; T]; R];
    for i in 0..R {
        for j in 0..T {
            let mut lanes = [0.0f32; LANES];
            for (lane, total) in lanes.iter_mut().enumerate() {
                let [p, q, r, s] = [0, 1, 2, 3].map(|u| partial[u][i][j][lane]);
                *total = (p + q) + (r + s);
            }
            let rest: f32 = a[i][done..].iter().zip(&b[j][done..]).map(|(a, b)| a * b).sum();
            out[i][j] = lane_sum(lanes) + rest;
        }
    }
    out
}

/// The sums of vector `u` of every step: `R T` of them stay in registers.
#[inline(always)]
fn partial_sums<const FMA: bool, const R: usize, const T: usize>(
    a: [&[f32]; R],
    b: [&[f32]; T],
    u: usize,
    steps: usize,
) -> [[[f32; LANES]; T]; R] {
    let mut acc = [[[0.0f32; LANES]; T]; R];
    let a: [&[[f32; LANES]]; R] = a.map(|a| a.as_chunks().0.get(u..).unwrap_or_default());
    let b: [&[[f32; LANES]]; T] = b.map(|b| b.as_chunks().0.get(u..).unwrap_or_default());
    for step in 0..steps {
        let a: [[f32; LANES]; R] = a.map(|a| a[step * UNROLL]);
        for (j, b) in b.iter().enumerate() {
            let b = b[step * UNROLL];
            for (acc, a) in acc.iter_mut().zip(&a) {
                for ((sum, a), b) in acc[j].iter_mut().zip(a).zip(&b) {
                    *sum = if FMA { a.mul_add(*b, *sum) } else { a * b + *sum };
                }
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests;
