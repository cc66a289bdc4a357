//! What can be wrong with a quantized folder.

use std::path::{Path, PathBuf};

use parsimon_core::io::FormatError;
use parsimon_core::{DType, Diagnose, variant_name};

/// A quantized layer cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", file.display())]
pub struct CheckpointError {
    /// The file or folder.
    pub file: PathBuf,
    /// What is wrong there.
    pub kind: CheckpointErrorKind,
}

/// What is wrong with a quantized layer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum CheckpointErrorKind {
    #[error("quant_method is `{found}`, known here: {known}")]
    UnknownMethod { found: String, known: &'static str },
    #[error("layer `{layer}`: the model has no such layer")]
    UnknownLayer { layer: String },
    #[error("layer `{layer}`: {key} = {value}: expected {expected}")]
    InvalidConfig { layer: String, key: String, value: String, expected: &'static str },
    #[error("layer `{layer}`: {key} = {value} is not supported")]
    Unsupported { layer: String, key: String, value: String },
    #[error("layer `{layer}`: {key} = {value} is not a power of two, as packed indices need")]
    NotPowerOfTwo { layer: String, key: &'static str, value: usize },
    #[error("layer `{layer}`: an index has {bits} bits, at most 32")]
    TooManyBits { layer: String, bits: usize },
    #[error(
        "layer `{layer}`: {groups} groups of {group_size} columns and {outliers} outliers are not in_features = {in_features}"
    )]
    SizeMismatch { layer: String, groups: usize, group_size: usize, outliers: usize, in_features: usize },
    #[error("layer `{layer}`: in_features = {in_features}, but a permutation of 16 bits holds 65536")]
    TooManyInputs { layer: String, in_features: usize },
    #[error("layer `{layer}` has both a dense weight and quantized tensors")]
    Conflict { layer: String },
    #[error("missing tensors: {}", tensors.join(", "))]
    MissingTensor { tensors: Vec<String> },
    #[error("tensor `{tensor}`: expected {expected}, got {actual}")]
    DtypeMismatch { tensor: String, expected: String, actual: DType },
    #[error("tensor `{tensor}`: expected the shape {expected:?}, got {actual:?}")]
    ShapeMismatch { tensor: String, expected: Vec<usize>, actual: Vec<usize> },
    #[error("tensor `{tensor}`: {value} at position {position} does not make a permutation")]
    NotAPermutation { tensor: String, position: usize, value: i64 },
    #[error("tensor `{tensor}`: index {value} at group {group}, row {row}, column {column} is not below {limit}")]
    IndexOutOfRange { tensor: String, group: usize, row: usize, column: usize, value: usize, limit: usize },
    #[error("tensor `{tensor}`: element {index} is not finite")]
    NonFinite { tensor: String, index: usize },
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl CheckpointErrorKind {
    pub(crate) fn at(self, file: &Path) -> CheckpointError {
        CheckpointError { file: file.to_owned(), kind: self }
    }
}

impl Diagnose for CheckpointError {
    fn variant(&self) -> String {
        match &self.kind {
            CheckpointErrorKind::Format(source) => source.variant(),
            kind => variant_name(kind),
        }
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.file)
    }

    fn place(&self) -> Option<String> {
        use CheckpointErrorKind as K;
        match &self.kind {
            K::UnknownMethod { .. } => Some("quantization_config.quant_method".into()),
            K::UnknownLayer { layer }
            | K::InvalidConfig { layer, .. }
            | K::Unsupported { layer, .. }
            | K::NotPowerOfTwo { layer, .. }
            | K::TooManyBits { layer, .. }
            | K::SizeMismatch { layer, .. }
            | K::TooManyInputs { layer, .. }
            | K::Conflict { layer } => Some(layer.clone()),
            K::MissingTensor { tensors } => tensors.first().cloned(),
            K::DtypeMismatch { tensor, .. }
            | K::ShapeMismatch { tensor, .. }
            | K::NotAPermutation { tensor, .. }
            | K::IndexOutOfRange { tensor, .. }
            | K::NonFinite { tensor, .. } => Some(tensor.clone()),
            K::Format(source) => source.place(),
        }
    }

    fn is_bad_input(&self) -> bool {
        match &self.kind {
            CheckpointErrorKind::Format(source) => source.is_bad_input(),
            _ => true,
        }
    }
}
