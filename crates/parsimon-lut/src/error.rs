//! What can be wrong with weights and activations.

use parsimon_core::quant::QuantError;
use parsimon_core::{Diagnose, variant_name};
use parsimon_simd::Level;

/// Weights cannot be packed for a kernel.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum PackError {
    #[error(transparent)]
    Quant(#[from] QuantError),
    #[error("{bits}-bit codes have no lookup kernel, 1 to 4 bits do")]
    UnsupportedBits { bits: u8 },
    #[error("groups of {group} columns of {k} have no lookup kernel: use 16, a multiple of 32, or one group a row")]
    UnsupportedGroup { group: usize, k: usize },
    #[error("columns in act-order (a g_idx that is not c / group) have no lookup kernel")]
    ActOrder,
    #[error("the scale {scale} of row {row}, group {group} overflows 16 bits")]
    ScaleOverflow { row: usize, group: usize, scale: f32 },
    #[error("level {wanted} is not available here, the best is {best}")]
    BackendUnavailable { wanted: Level, best: Level },
}

impl Diagnose for PackError {
    fn variant(&self) -> String {
        match self {
            PackError::Quant(e) => e.variant(),
            other => variant_name(other),
        }
    }
}

/// Activations cannot be prepared.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ActivationError {
    #[error("the activation of token {token} at input {index} is not finite")]
    NonFinite { token: usize, index: usize },
    #[error("the activation {value} of token {token} at input {index} is beyond +-31")]
    IntegerTooLarge { token: usize, index: usize, value: i8 },
    #[error("ags = {ags}: expected a positive multiple of 32")]
    UnsupportedAgs { ags: usize },
    #[error("group = {group} of {k} inputs: expected 16, a multiple of 32, or at least {k}")]
    UnsupportedGroup { group: usize, k: usize },
}

impl Diagnose for ActivationError {}
