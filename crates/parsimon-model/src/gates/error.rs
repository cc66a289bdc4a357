//! What can be wrong with gates.

use std::path::{Path, PathBuf};

use parsimon_core::io::{FormatError, PthError};
use parsimon_core::{Diagnose, variant_name};

/// Gates cannot be read or used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GateError {
    #[error("{}: layer {layer}: `{tensor}` has shape {actual:?}, expected {expected:?}", file.display())]
    GateShape { file: PathBuf, layer: usize, tensor: String, expected: Vec<usize>, actual: Vec<usize> },
    #[error("{}: layer {layer}: `{tensor}` is missing", file.display())]
    GateMissing { file: PathBuf, layer: usize, tensor: String },
    #[error("{}: `{tensor}` is of no layer of the model, or of another form of gate", file.display())]
    GateExtra { file: PathBuf, tensor: String },
    #[error("{}: {key} = {value}: expected {expected}", file.display())]
    GateConfig { file: PathBuf, key: String, value: String, expected: &'static str },
    #[error("{}: neither attn_gate_weights.safetensors nor attn_gate_weights.pth is there", folder.display())]
    NoWeights { folder: PathBuf },
    #[error("the model has {expected} layers, there are gates for {actual}")]
    Layers { expected: usize, actual: usize },
    #[error("gates have seen {seen} positions and the cache holds {held}: a gated sequence cannot be cut")]
    Positions { seen: usize, held: usize },
    #[error(transparent)]
    Pth(#[from] PthError),
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Diagnose for GateError {
    fn variant(&self) -> String {
        match self {
            GateError::Pth(e) => e.variant(),
            GateError::Format(e) => e.variant(),
            other => variant_name(other),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            GateError::GateShape { file, .. }
            | GateError::GateMissing { file, .. }
            | GateError::GateExtra { file, .. }
            | GateError::GateConfig { file, .. }
            | GateError::NoWeights { folder: file } => Some(file),
            GateError::Format(e) => e.file(),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            GateError::GateShape { layer, tensor, .. } | GateError::GateMissing { layer, tensor, .. } => {
                Some(format!("layer {layer}: {tensor}"))
            }
            GateError::GateExtra { tensor, .. } => Some(tensor.clone()),
            GateError::GateConfig { key, .. } => Some(key.clone()),
            GateError::Format(e) => e.place(),
            _ => None,
        }
    }
}
