//! A linear layer over dense or low-bit weights, and the activations that several layers share.

mod bitnet;

use std::fmt;

pub use bitnet::BitNetMatrix;
pub(crate) use bitnet::uniform_scale;
use parsimon_lut::{ActConfig, DenseMatrix, HalfMatrix, LowBitMatrix, PreparedActivations};
use parsimon_vq::VptqMatrix;
use rayon::prelude::*;

use crate::ModelError;

/// Weights `[m, k]` of `y = W x`.
#[derive(Clone, Debug)]
pub enum Linear {
    /// `f32` weights.
    Dense(DenseMatrix),
    /// 16-bit float weights, which stay 16 bits in memory.
    Half(HalfMatrix),
    /// Codes of 1 to 8 bits, multiplied by table lookup or as integers, as the matrix's plan says.
    LowBit(LowBitMatrix),
    /// Ternary codes, multiplied with activations of 8 bits as BitNet does: exact integers times two scales.
    BitNet(BitNetMatrix),
    /// Codes of short vectors, multiplied by lookup or by fetching centroids, as the matrix's plan says.
    Vptq(VptqMatrix),
}

impl Linear {
    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Linear::Dense(matrix) => matrix.shape(),
            Linear::Half(matrix) => matrix.shape(),
            Linear::LowBit(matrix) => matrix.shape(),
            Linear::BitNet(matrix) => matrix.shape(),
            Linear::Vptq(matrix) => matrix.shape(),
        }
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Linear::Dense(matrix) => matrix.bytes(),
            Linear::Half(matrix) => matrix.bytes(),
            Linear::LowBit(matrix) => matrix.bytes(),
            Linear::BitNet(matrix) => matrix.bytes(),
            Linear::Vptq(matrix) => matrix.bytes(),
        }
    }

    /// Writes the `[n, m]` outputs of the activations.
    ///
    /// # Errors
    ///
    /// [`ModelError::Activation`] when a low-bit layer meets activations that are not finite.
    ///
    /// # Panics
    ///
    /// When `out` has another length, or the activations have other features.
    pub fn apply_into(&self, x: &mut Activations<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        let n = x.n;
        match self {
            Linear::Dense(matrix) => matrix.matmul_into(x.values(), n, out),
            Linear::Half(matrix) => matrix.matmul_into(x.values(), n, out),
            Linear::LowBit(matrix) => matrix.matmul_into(x.prepared(&ActConfig::for_tokens(matrix, n))?, out),
            Linear::BitNet(matrix) => matrix.matmul_into(x.integers(&matrix.act_config(n))?, out),
            Linear::Vptq(matrix) => matrix.matmul_into(x.values(), n, out),
        }
        Ok(())
    }

    /// As [`Linear::apply_into`], where `out` takes the length that it needs.
    pub(crate) fn apply_to(&self, x: &mut Activations<'_>, out: &mut Vec<f32>) -> Result<(), ModelError> {
        out.resize(x.n * self.shape().0, 0.0);
        self.apply_into(x, out)
    }
}

/// The fewest values that one thread makes when tokens run in parallel.
const PARALLEL_MIN: usize = 1 << 14;

/// Computes the row of a token.
type Row<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync + 'a);

/// Activations `[n, k]` that several layers read: stored, or made a row at a time where they are read.
///
/// What a low-bit layer reads is prepared when the first one asks and shared with every layer that wants the same, so query, key and value
/// projections prepare once, and gate and up. Rows go straight into the preparation, `[n, k]` is not stored (PAPER(luttc §3.3)); a dense layer
/// needs all of them and stores them once. All ways give the same bits.
///
/// ```
/// use parsimon_lut::DenseMatrix;
/// use parsimon_model::{Activations, Linear};
///
/// let double = |token: usize, row: &mut [f32]| row.fill(2.0 * token as f32);
/// let layer = Linear::Dense(DenseMatrix::new(vec![1.0; 3 * 4], 3, 4));
/// let mut y = [0.0; 2 * 3];
/// layer.apply_into(&mut Activations::from_rows(2, 4, &double), &mut y)?;
/// assert_eq!(y, [0.0, 0.0, 0.0, 8.0, 8.0, 8.0]);
/// # Ok::<(), parsimon_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Activations<'a> {
    source: Source<'a>,
    n: usize,
    k: usize,
    buffers: ActivationBuffers,
    /// So many of the prepared ones hold these activations, each in another way.
    used: usize,
    /// Whether the values of rows are there: from the first dense layer on.
    is_stored: bool,
    /// As 8-bit integers with a scale a token, once a BitNet layer asked.
    integers: Option<PreparedActivations>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Stored(&'a [f32]),
    Rows(Row<'a>),
}

/// What activations leave to those that come after them: nothing is allocated where shapes repeat.
#[derive(Clone, Default, Debug)]
pub(crate) struct ActivationBuffers {
    prepared: Vec<PreparedActivations>,
    /// Rows for dense layers.
    values: Vec<f32>,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Stored(values) => f.debug_tuple("Stored").field(values).finish(),
            Source::Rows(_) => f.debug_tuple("Rows").finish_non_exhaustive(),
        }
    }
}

impl<'a> Activations<'a> {
    /// Activations of `n` tokens.
    ///
    /// # Panics
    ///
    /// When `values` is not `n` equal rows.
    pub fn new(values: &'a [f32], n: usize) -> Self {
        assert!(n > 0 && values.len().is_multiple_of(n), "the activations must be [n, k]");
        Self::with_source(Source::Stored(values), n, values.len() / n)
    }

    /// Activations that `row(token, out)` computes, `k` for each of `n` tokens: the operator before the layers, fused with them.
    ///
    /// It may run more than once for a token, on any thread, and must give the same each time.
    ///
    /// # Panics
    ///
    /// When `n` or `k` is 0.
    pub fn from_rows(n: usize, k: usize, row: Row<'a>) -> Self {
        assert!(n > 0 && k > 0, "the activations must be [n, k]");
        Self::with_source(Source::Rows(row), n, k)
    }

    fn with_source(source: Source<'a>, n: usize, k: usize) -> Self {
        Activations { source, n, k, buffers: ActivationBuffers::default(), used: 0, is_stored: false, integers: None }
    }

    /// Takes the buffers of activations that are done with: nothing is allocated where shapes repeat.
    pub(crate) fn reusing(mut self, buffers: &mut ActivationBuffers) -> Self {
        self.buffers = std::mem::take(buffers);
        (self.used, self.is_stored) = (0, false);
        self
    }

    /// Leaves the buffers to the next.
    pub(crate) fn finish(self, buffers: &mut ActivationBuffers) {
        *buffers = self.buffers;
    }

    /// Tokens.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many times they were prepared for low-bit layers: once for all layers of one configuration.
    pub fn preparations(&self) -> usize {
        self.used + usize::from(self.integers.is_some())
    }

    /// `[n, k]`.
    pub(crate) fn values(&mut self) -> &[f32] {
        match self.source {
            Source::Stored(values) => values,
            Source::Rows(row) => {
                if !self.is_stored {
                    self.buffers.values.resize(self.n * self.k, 0.0);
                    store(row, self.k, &mut self.buffers.values);
                    self.is_stored = true;
                }
                &self.buffers.values
            }
        }
    }

    fn integers(&mut self, config: &ActConfig) -> Result<&PreparedActivations, ModelError> {
        if self.integers.as_ref().is_none_or(|integers| integers.config() != config) {
            let (n, k) = (self.n, self.k);
            self.integers = Some(bitnet::quantize(self.values(), n, k, config)?);
        }
        Ok(self.integers.as_ref().expect("it was made above"))
    }

    fn prepared(&mut self, config: &ActConfig) -> Result<&PreparedActivations, ModelError> {
        let (n, k) = (self.n, self.k);
        let ActivationBuffers { prepared, values: rows } = &mut self.buffers;
        let at = match prepared[..self.used].iter().position(|prepared| prepared.config() == config) {
            Some(at) => at,
            None => {
                if self.used == prepared.len() {
                    prepared.push(PreparedActivations::empty());
                }
                let next = &mut prepared[self.used];
                match self.source {
                    Source::Stored(values) => next.prepare(values, n, k, config)?,
                    Source::Rows(_) if self.is_stored => next.prepare(rows, n, k, config)?,
                    Source::Rows(row) => next.prepare_with(n, k, config, row)?,
                }
                self.used += 1;
                self.used - 1
            }
        };
        Ok(&prepared[at])
    }
}

/// All rows, tokens in parallel.
fn store(row: Row<'_>, k: usize, values: &mut [f32]) {
    if values.len() == k {
        row(0, values);
    } else {
        let rows = values.par_chunks_exact_mut(k).with_min_len(PARALLEL_MIN.div_ceil(k));
        rows.enumerate().for_each(|(token, out)| row(token, out));
    }
}

#[cfg(test)]
mod tests;
