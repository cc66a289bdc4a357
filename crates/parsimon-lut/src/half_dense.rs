//! 16-bit float weights: half the bytes of `f32`, the same products.
//!
//! A few rows at a time are widened to `f32`, exactly, and multiplied with every token while they are cached, by the body of
//! [`DenseMatrix`](crate::DenseMatrix); many tokens go through the gemm crate, a panel of rows at a time.

use std::cell::RefCell;

use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use crate::dense::{SKINNY_MAX, TASK_ROWS, by_tasks, multiply_rows};
use crate::kernel;

/// Rows that are widened together: 128 KiB at 4096 inputs.
const GROUP_ROWS: usize = 8;

/// Rows of a panel for many tokens.
const PANEL_ROWS: usize = 256;

thread_local! {
    /// The rows that a thread widened last: a buffer that is kept, so that a product allocates nothing.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Which 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HalfFormat {
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

/// Weights `[m, k]` of 16 bits, row-major.
///
/// ```
/// use parsimon_lut::{HalfFormat, HalfMatrix};
///
/// // 1.0, 2.0, -1.0 and 0.5 in bf16
/// let matrix = HalfMatrix::new(vec![0x3f80, 0x4000, 0xbf80, 0x3f00], HalfFormat::Bf16, 2, 2);
/// let mut out = [0.0; 2];
/// matrix.matmul_into(&[3.0, 4.0], 1, &mut out);
/// assert_eq!(out, [11.0, -1.0]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HalfMatrix {
    m: usize,
    k: usize,
    format: HalfFormat,
    bits: Vec<u16>,
}

impl HalfMatrix {
    /// Takes the bits of weights `[m, k]`.
    ///
    /// # Panics
    ///
    /// When `bits.len() != m * k`.
    pub fn new(bits: Vec<u16>, format: HalfFormat, m: usize, k: usize) -> Self {
        assert_eq!(bits.len(), m * k, "weights must be [m, k]");
        HalfMatrix { m, k, format, bits }
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    /// Which 16 bits.
    pub fn format(&self) -> HalfFormat {
        self.format
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        2 * self.bits.len()
    }

    /// Writes row `r` as `f32`.
    ///
    /// # Panics
    ///
    /// When there is no such row, or `out.len() != k`.
    pub fn row_into(&self, r: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.k, "a row has k weights");
        self.widen(r * self.k, out);
    }

    fn widen(&self, at: usize, out: &mut [f32]) {
        let bits = &self.bits[at..][..out.len()];
        match self.format {
            HalfFormat::F16 => vectorize(Level::best(), Widen::<true> { bits, out }),
            HalfFormat::Bf16 => vectorize(Level::best(), Widen::<false> { bits, out }),
        }
    }

    /// `out[t, r] = sum_c w[r, c] x[t, c]`: `x` is `[n, k]`, `out` is `[n, m]`.
    ///
    /// The result does not depend on the number of threads. Up to 16 tokens each has the bits that it has alone.
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
        if self.k == 0 {
            out.fill(0.0);
        } else if n > SKINNY_MAX {
            self.panels(x, n, out);
        } else {
            by_tasks((self.m, n, self.k), out, |task, rows, out| self.task(task, rows, x, out));
        }
    }

    /// `rows` of the task for all tokens of `x`: `out [n][TASK_ROWS]`, or for one token `[rows]`.
    fn task(&self, task: usize, rows: usize, x: &[f32], out: &mut [f32]) {
        WIDENED.with_borrow_mut(|widened| {
            widened.resize(widened.len().max(GROUP_ROWS * self.k), 0.0);
            for first in (0..rows).step_by(GROUP_ROWS) {
                let group = GROUP_ROWS.min(rows - first);
                let weights = &mut widened[..group * self.k];
                self.widen((task * TASK_ROWS + first) * self.k, weights);
                multiply_rows(weights, x, (group, self.k), &mut out[first..]);
            }
        });
    }

    fn panels(&self, x: &[f32], n: usize, out: &mut [f32]) {
        let mut panel = vec![0.0; PANEL_ROWS.min(self.m) * self.k];
        let mut part = vec![0.0; n * PANEL_ROWS.min(self.m)];
        for first in (0..self.m).step_by(PANEL_ROWS) {
            let rows = PANEL_ROWS.min(self.m - first);
            let (panel, part) = (&mut panel[..rows * self.k], &mut part[..n * rows]);
            let widen = |(r, row): (usize, &mut [f32])| self.row_into(first + r, row);
            panel.par_chunks_exact_mut(self.k).with_min_len(TASK_ROWS).enumerate().for_each(widen);
            kernel::gemm_into(x, panel, n, rows, self.k, part);
            for (out, part) in out.chunks_exact_mut(self.m).zip(part.chunks_exact(rows)) {
                out[first..first + rows].copy_from_slice(part);
            }
        }
    }
}

/// `out = bits` as `f32`, of F16 or BF16.
struct Widen<'a, const F16: bool> {
    bits: &'a [u16],
    out: &'a mut [f32],
}

impl<const F16: bool> Vectorize for Widen<'_, F16> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (out, &bits) in self.out.iter_mut().zip(self.bits) {
            *out = widen::<F16>(bits);
        }
    }
}

/// Exact, without branches. A half's exponent is 112 below that of the `f32` with the same bits; subnormal numbers become normal in the
/// product, and the largest exponent stands for what is no number.
#[inline(always)]
fn widen<const F16: bool>(bits: u16) -> f32 {
    const POWER: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(bits);
    if !F16 {
        return f32::from_bits(bits << 16);
    }
    let magnitude = (bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * POWER).to_bits();
    let special = magnitude | 0x7f80_0000;
    let value = if bits & 0x7c00 == 0x7c00 { special } else { finite };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests;
