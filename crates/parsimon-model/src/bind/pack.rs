//! From weights of a file to the form that a layer keeps.

use parsimon_core::quant::packed::i2s::I2sBlock;
use parsimon_core::quant::{BlockError, BlockMatrix, GroupQuantized};
use parsimon_lut::{Backend, DenseMatrix, HalfMatrix, LowBitMatrix, PackError};

use super::LoadOptions;
use crate::linear::{BitNetMatrix, uniform_scale};
use crate::{Linear, ModelError};

/// How quantized weights are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    pub(super) backend: Backend,
    pub(super) dequantize: bool,
    pub(super) i2s_block: I2sBlock,
    check_finite: bool,
}

impl Packing {
    pub(super) fn new(options: &LoadOptions) -> Self {
        let &LoadOptions { backend, dequantize, check_finite, i2s_block, .. } = options;
        Packing { backend, dequantize, i2s_block, check_finite }
    }

    /// The weights `[m, k]` of `name`, once they are finite where that is asked for.
    pub(super) fn checked(&self, name: &str, weights: Vec<f32>, k: usize) -> Result<Vec<f32>, ModelError> {
        match weights.iter().position(|w| !w.is_finite()).filter(|_| self.check_finite) {
            Some(at) => Err(ModelError::NonFinite { layer: name.to_owned(), row: at / k, col: at % k }),
            None => Ok(weights),
        }
    }

    /// As [`checked`](Self::checked), for 16-bit weights.
    pub(super) fn checked_half(&self, name: &str, matrix: &HalfMatrix) -> Result<(), ModelError> {
        let (m, k) = matrix.shape();
        let mut weights = vec![0.0; k];
        for row in (0..m).filter(|_| self.check_finite) {
            matrix.row_into(row, &mut weights);
            if let Some(col) = weights.iter().position(|w| !w.is_finite()) {
                return Err(ModelError::NonFinite { layer: name.to_owned(), row, col });
            }
        }
        Ok(())
    }

    /// Rows that are kept as they are, once they are finite where that is asked for.
    pub(super) fn checked_rows<'a>(&self, rows: BlockMatrix<'a>) -> Result<BlockMatrix<'a>, BlockError> {
        if self.check_finite {
            rows.validate()?;
        }
        Ok(rows)
    }

    /// Packed for a kernel, or as `f32` where no kernel takes such groups, bits or order of columns.
    pub(super) fn quantized(&self, name: &str, matrix: &GroupQuantized) -> Result<Linear, ModelError> {
        use PackError::*;
        if self.dequantize {
            return Ok(dense(matrix));
        }
        match LowBitMatrix::from_quantized(matrix, self.backend) {
            Ok(matrix) => Ok(Linear::LowBit(matrix)),
            Err(UnsupportedBits { .. } | UnsupportedGroup { .. } | BadPermutation { .. } | NotTernary { .. }) => {
                Ok(dense(matrix))
            }
            Err(source) => Err(ModelError::Pack { layer: name.to_owned(), source }),
        }
    }

    /// Ternary weights for BitNet's product where one scale holds for all, else as any others.
    pub(super) fn ternary(&self, name: &str, matrix: GroupQuantized) -> Result<Linear, ModelError> {
        if uniform_scale(&matrix).is_none() {
            return self.quantized(name, &matrix);
        }
        let packed = BitNetMatrix::try_new(matrix, self.backend);
        packed.map(Linear::BitNet).map_err(|source| ModelError::Pack { layer: name.to_owned(), source })
    }
}

fn dense(matrix: &GroupQuantized) -> Linear {
    Linear::Dense(DenseMatrix::new(matrix.dequantize(), matrix.m, matrix.k))
}
