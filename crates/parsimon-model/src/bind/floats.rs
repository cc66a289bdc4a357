//! Float tensors as layers: 16-bit ones stay so, all others become `f32`.

use parsimon_core::{DType, TensorView};
use parsimon_lut::{DenseMatrix, HalfFormat, HalfMatrix};

use super::pack::Packing;
use super::rows::Rows;
use crate::embedding::Embedding;
use crate::{Linear, ModelError};

/// A matrix `[m, k]` of floats.
pub(super) enum Floats {
    Wide(DenseMatrix),
    Half(HalfMatrix),
}

impl Floats {
    /// `rows` of the tensor, with `k` columns each.
    pub(super) fn read(
        name: &str,
        view: &TensorView<'_>,
        rows: &Rows,
        k: usize,
        packing: &Packing,
    ) -> Result<Self, ModelError> {
        let format = match view.dtype() {
            DType::F16 => HalfFormat::F16,
            DType::BF16 => HalfFormat::Bf16,
            _ => {
                let weights = packing.checked(name, rows.of(view.to_f32()?, k), k)?;
                let m = weights.len() / k;
                return Ok(Floats::Wide(DenseMatrix::new(weights, m, k)));
            }
        };
        let bits: Vec<u16> = view.bytes().as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
        let bits = rows.of(bits, k);
        let matrix = HalfMatrix::new(bits, format, rows.len(), k);
        packing.checked_half(name, &matrix)?;
        Ok(Floats::Half(matrix))
    }
}

impl From<Floats> for Linear {
    fn from(floats: Floats) -> Self {
        match floats {
            Floats::Wide(matrix) => Linear::Dense(matrix),
            Floats::Half(matrix) => Linear::Half(matrix),
        }
    }
}

impl From<Floats> for Embedding {
    fn from(floats: Floats) -> Self {
        match floats {
            Floats::Wide(matrix) => Embedding::Dense(matrix),
            Floats::Half(matrix) => Embedding::Half(matrix),
        }
    }
}
