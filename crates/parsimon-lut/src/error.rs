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
    #[error("{kernel} has no form for {bits}-bit codes in groups of {group}")]
    UnsupportedBits { kernel: String, bits: u8, group: usize },
    #[error("groups of {group} columns of {k} have no kernel: use 16, a multiple of 32, or one group a row")]
    UnsupportedGroup { group: usize, k: usize },
    #[error("{kernel} takes ternary weights: 2-bit codes 0, 1, 2 with zero point 1 everywhere")]
    NotTernary { kernel: String },
    #[error("g_idx puts {columns} columns into group {index}, expected {expected}: act-order needs full groups")]
    BadPermutation { index: usize, columns: usize, expected: usize },
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
    #[error("the scale {value} of token {token} is not finite")]
    NonFiniteScale { token: usize, value: f32 },
    #[error("the activation {value} of token {token} at input {index} is beyond +-{max}")]
    IntegerTooLarge { token: usize, index: usize, value: i8, max: u8 },
    #[error("{ags} inputs a scale: expected a positive multiple of {granule}")]
    UnsupportedAgs { ags: usize, granule: usize },
    #[error("group = {group} of {k} inputs: expected 16, a multiple of 32, or at least {k}")]
    UnsupportedGroup { group: usize, k: usize },
    #[error("the order of the columns is no permutation of {k} inputs")]
    BadOrder { k: usize },
}

impl Diagnose for ActivationError {}

/// Bytes are not the packed cache of a matrix that this process can run. Whatever the reason, packing the weights again helps.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum CacheError {
    #[error("not a packed matrix: it starts with {found:02x?}, expected `PSLT`")]
    NotACache { found: Vec<u8> },
    #[error("version {given} of the packed form is not read, only {known}")]
    UnsupportedVersion { given: u32, known: u32 },
    #[error("the packed matrix has {expected} bytes, {actual} are there")]
    Truncated { expected: u64, actual: u64 },
    #[error("the packed matrix is damaged: its checksum is {actual:016x}, expected {expected:016x}")]
    ChecksumMismatch { expected: u64, actual: u64 },
    #[error("packed for level {wanted}, the best here is {best}")]
    WrongLayout { wanted: Level, best: Level },
    #[error("not a valid packed matrix: {0}")]
    Malformed(&'static str),
}

impl Diagnose for CacheError {}
