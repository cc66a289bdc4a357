//! A linear layer over dense or low-bit weights, and the activations that several layers share.

use parsimon_lut::{ActConfig, DenseMatrix, LowBitMatrix, PreparedActivations};

use crate::ModelError;

/// Weights `[m, k]` of `y = W x`.
#[derive(Clone, Debug)]
pub enum Linear {
    /// `f32` weights.
    Dense(DenseMatrix),
    /// Codes of 1 to 4 bits, multiplied by table lookup.
    LowBit(LowBitMatrix),
}

impl Linear {
    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Linear::Dense(matrix) => matrix.shape(),
            Linear::LowBit(matrix) => matrix.shape(),
        }
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Linear::Dense(matrix) => matrix.bytes(),
            Linear::LowBit(matrix) => matrix.bytes(),
        }
    }

    /// `[n, m]` outputs of the activations.
    ///
    /// # Errors
    ///
    /// [`ModelError::Activation`] when a low-bit layer meets activations that are not finite.
    pub fn apply(&self, x: &mut Activations<'_>) -> Result<Vec<f32>, ModelError> {
        let mut out = vec![0.0; x.n * self.shape().0];
        match self {
            Linear::Dense(matrix) => matrix.matmul_into(x.values, x.n, &mut out),
            Linear::LowBit(matrix) => matrix.matmul_into(x.prepared(&ActConfig::for_matrix(matrix))?, &mut out),
        }
        Ok(out)
    }
}

/// Activations `[n, k]` with their lookup tables, built at the first low-bit layer that asks and shared with the next ones.
#[derive(Debug)]
pub struct Activations<'a> {
    values: &'a [f32],
    n: usize,
    k: usize,
    prepared: Option<PreparedActivations>,
}

impl<'a> Activations<'a> {
    /// Activations of `n` tokens.
    ///
    /// # Panics
    ///
    /// When `values` is not `n` equal rows.
    pub fn new(values: &'a [f32], n: usize) -> Self {
        assert!(n > 0 && values.len().is_multiple_of(n), "the activations must be [n, k]");
        Activations { values, n, k: values.len() / n, prepared: None }
    }

    fn prepared(&mut self, config: &ActConfig) -> Result<&PreparedActivations, ModelError> {
        let usable = self.prepared.take().filter(|prepared| prepared.config() == config);
        let prepared = match usable {
            Some(prepared) => prepared,
            None => PreparedActivations::try_new(self.values, self.n, self.k, config)?,
        };
        Ok(self.prepared.insert(prepared))
    }
}
