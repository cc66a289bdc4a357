//! What can be wrong with a vector or a name.

use parsimon_core::Diagnose;

/// A vector or a name cannot be used.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum AnnError {
    #[error("a vector has {actual} elements, expected {expected}")]
    DimMismatch { expected: usize, actual: usize },
    #[error("element {index} of a vector is {value}")]
    NonFinite { index: usize, value: f32 },
    #[error("a vector of length 0 has no direction, which cosine distance needs")]
    ZeroVector,
    #[error("unknown metric `{given}`, expected l2, cosine or ip")]
    UnknownMetric { given: String },
}

impl Diagnose for AnnError {}
