//! How activations are prepared, and what a matrix wants.

use std::sync::Arc;

use super::{K_STEP, is_supported_group};
use crate::kernel::wide;
use crate::table::AGS_DEFAULT;
use crate::{ActivationError, LowBitMatrix, Method, trit};

/// Inputs that share an 8-bit scale, unless the caller says otherwise.
const INT8_BLOCK_DEFAULT: usize = 32;

/// Inputs that share a ternary table scale, unless the caller says otherwise (PAPER(tmac §3.6)).
const ELUT_AGS_DEFAULT: usize = 160;

/// What activations become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActQuant {
    /// 8-bit tables of 16 sums for four inputs each, with a scale for `ags` inputs, a multiple of 32: for [`Method::Lut`].
    Table {
        /// Inputs that share a table scale.
        ags: usize,
    },
    /// 8-bit tables of 122 sums for five inputs each, with a scale for `ags` inputs, a multiple of 5: for [`Method::Elut`].
    TernaryTable {
        /// Inputs that share a table scale.
        ags: usize,
    },
    /// 8-bit integers with a scale for `block` inputs, a multiple of 32 or at least `k`: for [`Method::Dot`].
    Int8 {
        /// Inputs that share a scale.
        block: usize,
    },
    /// The nearest bfloat16, which needs no scale: for every method. Weights become bfloat16 as well, once for all tokens, so this is for many
    /// tokens; it is fast where the processor multiplies tiles (AMX).
    Bf16,
}

impl ActQuant {
    /// Inputs that share a scale; `None` where there are no scales.
    pub(super) fn ags(self) -> Option<usize> {
        match self {
            ActQuant::Table { ags } | ActQuant::TernaryTable { ags } | ActQuant::Int8 { block: ags } => Some(ags),
            ActQuant::Bf16 => None,
        }
    }
}

/// From so many tokens on tiles are faster than lookups and dot products of bytes.
const BF16_TOKENS_MIN: usize = 32;

/// How activations are prepared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActConfig {
    /// What they become.
    pub quant: ActQuant,
    /// Inputs that share a weight scale in the matrices that will read them: 16, a multiple of 32, or at least `k`.
    pub group: usize,
    /// Input `order[i]` stands at column `i` of the weights: GPTQ's act-order.
    pub order: Option<Arc<[u32]>>,
}

impl ActConfig {
    /// What `matrix` needs. Tables have a scale for 64 inputs (32 where groups are smaller), ternary tables for 160, 8-bit integers for 32.
    pub fn for_matrix(matrix: &LowBitMatrix) -> Self {
        let quant = match matrix.kernel().method() {
            Method::Lut => ActQuant::Table { ags: if matrix.group() < AGS_DEFAULT { K_STEP } else { AGS_DEFAULT } },
            Method::Elut => ActQuant::TernaryTable { ags: ELUT_AGS_DEFAULT },
            Method::Dot => ActQuant::Int8 { block: INT8_BLOCK_DEFAULT },
        };
        ActConfig { quant, group: matrix.group(), order: matrix.order().cloned() }
    }

    /// What is fastest for `n` tokens of `matrix` on this machine: [`ActQuant::Bf16`] from 32 tokens on where there are tiles, else as
    /// [`for_matrix`](Self::for_matrix). The two round differently.
    pub fn for_tokens(matrix: &LowBitMatrix, n: usize) -> Self {
        let config = Self::for_matrix(matrix);
        if n >= BF16_TOKENS_MIN && wide::is_fast(&matrix.layout) {
            ActConfig { quant: ActQuant::Bf16, ..config }
        } else {
            config
        }
    }

    pub(super) fn check(&self, k: usize) -> Result<(), ActivationError> {
        let ActConfig { quant, group, ref order } = *self;
        if let Some(ags) = quant.ags() {
            let granule = if matches!(quant, ActQuant::TernaryTable { .. }) { trit::FIVE } else { K_STEP };
            let whole_row = matches!(quant, ActQuant::Int8 { .. }) && ags >= k;
            if ags == 0 || !(ags.is_multiple_of(granule) || whole_row) {
                return Err(ActivationError::UnsupportedAgs { ags, granule });
            }
        }
        if !is_supported_group(group, k) {
            return Err(ActivationError::UnsupportedGroup { group, k });
        }
        match order {
            Some(order) if order.len() != k || order.iter().any(|&i| i as usize >= k) => {
                Err(ActivationError::BadOrder { k })
            }
            _ => Ok(()),
        }
    }
}
