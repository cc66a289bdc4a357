//! The second moments of a layer's inputs, `H = E[x x^T]`, gathered token by token.
//!
//! The uncentred matrix is kept. Tokens are summed in blocks of [`BLOCK`] in their order, whatever pieces they come in, and blocks are added in
//! `f64`; a block is an `f32` product ([`Numerics::Fast`]) or an `f64` one. Columns are cut into fixed strips, so the bits depend on the tokens
//! alone. Cost: `k^2` multiplications a token.

use rayon::prelude::*;

use crate::kernel::gemm::{Mat, gemm_into};
use crate::{Numerics, QuantizeError};

/// Tokens whose products are summed before they are added to the total.
const BLOCK: usize = 256;

/// Rows of `H` that one task computes.
const STRIP: usize = 128;

/// `E[x x^T]` of a layer's inputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Hessian {
    h: Vec<f64>,
    k: usize,
    tokens: u64,
}

impl Hessian {
    /// A matrix `[k, k]` that was made elsewhere, made exactly symmetric.
    ///
    /// # Errors
    ///
    /// [`QuantizeError::ShapeMismatch`], [`QuantizeError::NonFinite`], and [`QuantizeError::NotSymmetric`] beyond 1e-6 of the largest element.
    pub fn try_new(mut h: Vec<f64>, k: usize) -> Result<Self, QuantizeError> {
        if k == 0 {
            return Err(QuantizeError::EmptyShape { m: 0, k });
        }
        if k.checked_mul(k) != Some(h.len()) {
            return Err(QuantizeError::ShapeMismatch {
                what: "elements of the Hessian",
                expected: k * k,
                actual: h.len(),
            });
        }
        if let Some(at) = h.iter().position(|h| !h.is_finite()) {
            return Err(QuantizeError::NonFinite { what: "Hessian", row: at / k, column: at % k });
        }
        let largest = h.iter().fold(0.0f64, |max, h| max.max(h.abs()));
        for i in 0..k {
            for j in 0..i {
                let (a, b) = (h[i * k + j], h[j * k + i]);
                if (a - b).abs() > 1e-6 * largest {
                    return Err(QuantizeError::NotSymmetric { i, j });
                }
                let mean = 0.5 * (a + b);
                (h[i * k + j], h[j * k + i]) = (mean, mean);
            }
        }
        Ok(Hessian { h, k, tokens: 0 })
    }

    /// Where no input was seen: `H = I`, which makes quantization minimise the error of the weights themselves.
    pub fn identity(k: usize) -> Self {
        let mut h = vec![0.0; k * k];
        (0..k).for_each(|j| h[j * k + j] = 1.0);
        Hessian { h, k, tokens: 0 }
    }

    /// Input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// `[k, k]`.
    pub fn data(&self) -> &[f64] {
        &self.h
    }

    /// Tokens that it was made of, 0 where that is not known.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Fewer tokens than columns four times: the matrix is far from full rank and damping carries it.
    pub fn is_thin(&self) -> bool {
        self.tokens > 0 && self.tokens < 4 * self.k as u64
    }

    /// `tr(D H D^T)` of `d [m, k]`.
    ///
    /// # Panics
    ///
    /// When `d` is not `[m, k]`.
    pub fn quadratic(&self, d: &[f64]) -> f64 {
        assert!(d.len().is_multiple_of(self.k), "the matrix must be [m, k]");
        let sums: Vec<f64> = d
            .par_chunks(64 * self.k)
            .map(|d| {
                let mut product = vec![0.0; d.len()];
                let (rows, k) = (d.len() / self.k, self.k);
                gemm_into(&mut product, k, None, 1.0, Mat::rows(d, rows, k, k), Mat::rows(&self.h, k, k, k));
                product.iter().zip(d).map(|(p, d)| p * d).sum::<f64>()
            })
            .collect();
        crate::chunks::sum(sums.into_iter())
    }
}

/// Gathers a [`Hessian`].
#[derive(Clone, Debug)]
pub struct HessianAccumulator {
    sum: Vec<f64>,
    pending: Vec<f32>,
    k: usize,
    tokens: u64,
    numerics: Numerics,
}

impl HessianAccumulator {
    /// For inputs of `k` features.
    ///
    /// # Panics
    ///
    /// When `k` is 0.
    pub fn new(k: usize, numerics: Numerics) -> Self {
        assert!(k > 0, "inputs have features");
        HessianAccumulator { sum: vec![0.0; k * k], pending: Vec::new(), k, tokens: 0, numerics }
    }

    /// Adds tokens `x [n, k]`.
    ///
    /// # Errors
    ///
    /// [`QuantizeError::ShapeMismatch`], [`QuantizeError::NonFinite`] with the token's number.
    pub fn push(&mut self, x: &[f32]) -> Result<(), QuantizeError> {
        let k = self.k;
        if !x.len().is_multiple_of(k) {
            return Err(QuantizeError::ShapeMismatch {
                what: "the last token's features",
                expected: k,
                actual: x.len() % k,
            });
        }
        if let Some(at) = x.iter().position(|x| !x.is_finite()) {
            let row = (self.tokens + (at / k) as u64) as usize;
            return Err(QuantizeError::NonFinite { what: "input", row, column: at % k });
        }
        self.tokens += (x.len() / k) as u64;
        let mut x = x;
        while !x.is_empty() {
            let take = (BLOCK * k - self.pending.len()).min(x.len());
            let (now, later) = x.split_at(take);
            self.pending.extend_from_slice(now);
            x = later;
            if self.pending.len() == BLOCK * k {
                self.flush();
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        let (k, n) = (self.k, self.pending.len() / self.k);
        if n == 0 {
            return;
        }
        match self.numerics {
            Numerics::Fast => add_products(&mut self.sum, &self.pending, n, k),
            Numerics::Exact => {
                let wide: Vec<f64> = self.pending.iter().map(|&x| f64::from(x)).collect();
                add_products(&mut self.sum, &wide, n, k);
            }
        }
        self.pending.clear();
    }

    /// `E[x x^T]`; all zero where no token came.
    pub fn finish(mut self) -> Hessian {
        self.flush();
        let count = self.tokens.max(1) as f64;
        let k = self.k;
        for i in 0..k {
            for j in 0..=i {
                let mean = self.sum[i * k + j] / count;
                (self.sum[i * k + j], self.sum[j * k + i]) = (mean, mean);
            }
        }
        Hessian { h: self.sum, k, tokens: self.tokens }
    }
}

/// Adds `x^T x` of `x [n, k]`, the lower triangle of it at least.
fn add_products<T>(sum: &mut [f64], x: &[T], n: usize, k: usize)
where
    T: Copy + Default + From<f32> + Into<f64> + Sync + Send + 'static,
{
    sum.par_chunks_mut(STRIP * k).enumerate().for_each(|(strip, sum)| {
        let (first, rows) = (strip * STRIP, sum.len() / k);
        let columns = first + rows;
        let mut product = vec![T::default(); rows * columns];
        let left = Mat::rows(&x[first..], n, rows, k).t();
        gemm_into(&mut product, columns, None, T::from(1.0f32), left, Mat::rows(x, n, columns, k));
        for (sum, product) in sum.chunks_exact_mut(k).zip(product.chunks_exact(columns)) {
            sum.iter_mut().zip(product).for_each(|(sum, &product)| *sum += product.into());
        }
    });
}

#[cfg(test)]
mod tests;
