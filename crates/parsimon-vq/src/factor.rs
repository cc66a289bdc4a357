//! The inverse factor of a damped Hessian: `U` upper triangular with `Hd^-1 = U^T U`.
//!
//! With `P` the reversal of indices, `Hd[P][P] = L L^T` (Cholesky) and `U = (L^-1)[P][P]`; no inverse is formed. Both steps walk blocks of
//! [`BLOCK`] rows and leave the cubic part to matrix products over fixed strips, so the bits do not depend on the number of threads.

use rayon::prelude::*;

use crate::kernel::gemm::{Mat, gemm_into};

const BLOCK: usize = 64;

/// Rows of a strip of the trailing update.
const STRIP: usize = 128;

/// `U [k, k]` and the damping that it took.
#[derive(Clone, PartialEq, Debug)]
pub struct InverseFactor {
    /// Upper triangular, row-major.
    pub u: Vec<f64>,
    /// Columns.
    pub k: usize,
    /// The part of the mean diagonal that was added to the diagonal.
    pub percdamp: f64,
}

impl InverseFactor {
    /// Factors `H + percdamp mean(diag H) I`; where that is not positive definite, with ten, a hundred and a thousand times the damping.
    ///
    /// # Errors
    ///
    /// The last damping tried.
    ///
    /// # Panics
    ///
    /// When `h` is not `[k, k]`.
    pub fn of_damped(h: &[f64], k: usize, percdamp: f64) -> Result<Self, f64> {
        assert_eq!(h.len(), k * k, "a Hessian must be [k, k]");
        let mean = crate::chunks::sum((0..k).map(|j| h[j * k + j])) / k as f64;
        let mut percdamp = percdamp;
        for attempt in 0..4 {
            if attempt > 0 {
                percdamp *= 10.0;
            }
            let mut reversed: Vec<f64> = h.iter().rev().copied().collect();
            for j in 0..k {
                reversed[j * k + j] += percdamp * mean;
            }
            if cholesky(&mut reversed, k) {
                let mut u = invert_lower(&reversed, k);
                u.reverse();
                return Ok(InverseFactor { u, k, percdamp });
            }
        }
        Err(percdamp)
    }

    /// `U_jj`.
    pub fn diagonal(&self, j: usize) -> f64 {
        self.u[j * self.k + j]
    }

    /// Row `j` from column `j + 1` on: what the error of column `j` adds to the columns after it.
    pub fn row_after(&self, j: usize) -> &[f64] {
        &self.u[j * self.k + j + 1..(j + 1) * self.k]
    }
}

/// The lower Cholesky factor in place of `a [k, k]`; `false` where `a` is not positive definite. What stands above the diagonal is not used after.
fn cholesky(a: &mut [f64], k: usize) -> bool {
    for start in (0..k).step_by(BLOCK) {
        let end = (start + BLOCK).min(k);
        if !factor_block(a, k, start, end) {
            return false;
        }
        let (top, below) = a.split_at_mut(end * k);
        let block = &top[start * k..];
        below.par_chunks_mut(k).for_each(|row| {
            for j in start..end {
                let l = &block[(j - start) * k..];
                let known = dot(&row[start..j], &l[start..j]);
                row[j] = (row[j] - known) / l[j];
            }
        });
        let panel: Vec<f64> = below.chunks(k).flat_map(|row| &row[start..end]).copied().collect();
        let width = end - start;
        below.par_chunks_mut(STRIP * k).zip(panel.par_chunks(STRIP * width)).enumerate().for_each(
            |(s, (rows, left))| {
                // Columns up to the last row of the strip: the lower triangle is enough.
                let columns = ((s + 1) * STRIP).min(k - end);
                let left = Mat::rows(left, rows.len() / k, width, width);
                let right = Mat::rows(&panel, columns, width, width).t();
                gemm_into(&mut rows[end..], k, Some(1.0), -1.0, left, right);
            },
        );
    }
    true
}

fn factor_block(a: &mut [f64], k: usize, start: usize, end: usize) -> bool {
    for j in start..end {
        for i in j..end {
            let known = dot(&a[i * k + start..i * k + j], &a[j * k + start..j * k + j]);
            let rest = a[i * k + j] - known;
            if i > j {
                a[i * k + j] = rest / a[j * k + j];
            } else if rest > 0.0 && rest.is_finite() {
                a[j * k + j] = rest.sqrt();
            } else {
                return false;
            }
        }
    }
    true
}

/// The inverse of a lower triangular matrix, zeros above the diagonal.
fn invert_lower(l: &[f64], k: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; k * k];
    for start in (0..k).step_by(BLOCK) {
        let end = (start + BLOCK).min(k);
        let width = end - start;
        let (done, rest) = inverse.split_at_mut(start * k);
        let mut block = vec![0.0; width * width];
        invert_block(l, k, start, end, &mut block);
        // Rows of the block: -block (L[rows, ..start] X[..start, ..start]), a strip of columns at a time.
        let strips = (0..start.div_ceil(STRIP)).into_par_iter().map(|strip| {
            let columns = (start - strip * STRIP).min(STRIP);
            let (mut product, mut out) = (vec![0.0; width * columns], vec![0.0; width * columns]);
            let left = Mat::rows(&l[start * k..], width, start, k);
            let right = Mat::rows(&done[strip * STRIP..], start, columns, k);
            gemm_into(&mut product, columns, None, 1.0, left, right);
            let block = Mat::rows(&block, width, width, width);
            gemm_into(&mut out, columns, None, -1.0, block, Mat::rows(&product, width, columns, columns));
            (strip, columns, out)
        });
        for (strip, columns, out) in strips.collect::<Vec<_>>() {
            for (row, out) in rest.chunks_mut(k).zip(out.chunks_exact(columns)) {
                row[strip * STRIP..][..columns].copy_from_slice(out);
            }
        }
        for (row, block) in rest.chunks_mut(k).zip(block.chunks_exact(width)) {
            row[start..end].copy_from_slice(block);
        }
    }
    inverse
}

fn invert_block(l: &[f64], k: usize, start: usize, end: usize, block: &mut [f64]) {
    let width = end - start;
    for j in 0..width {
        block[j * width + j] = 1.0 / l[(start + j) * k + start + j];
        for i in j + 1..width {
            let row = &l[(start + i) * k + start..];
            let known: f64 = (j..i).map(|p| row[p] * block[p * width + j]).sum();
            block[i * width + j] = -known / row[i];
        }
    }
}

/// Four running sums, so that additions need not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a4.zip(b4) {
        for t in 0..4 {
            sums[t] += a[t] * b[t];
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

#[cfg(test)]
mod tests;
