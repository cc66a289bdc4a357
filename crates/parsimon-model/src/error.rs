//! What can go wrong while a model is read, run or quantized.

use std::path::{Path, PathBuf};

use parsimon_attn::AttnError;
use parsimon_core::io::FormatError;
use parsimon_core::io::gguf::GgufWriteError;
use parsimon_core::quant::encode::EncodeError;
use parsimon_core::quant::gptq::GptqError;
use parsimon_core::quant::{BlockError, PackedError, QuantError};
use parsimon_core::{Cancelled, Diagnose, variant_name};
use parsimon_lut::{ActivationError, PackError};
use parsimon_vq::{CheckpointError, QuantizeError};

use crate::engine::mib;
use crate::{ConfigError, GateError, MemoryNeed, SamplerError};

/// A model cannot be read, run or quantized.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ModelError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("layer `{layer}`: {source}")]
    Gptq { layer: String, source: GptqError },
    #[error("layer `{layer}`: {source}")]
    Pack { layer: String, source: PackError },
    #[error("layer `{layer}`: {source}")]
    Quant { layer: String, source: QuantError },
    #[error("layer `{layer}`: {source}")]
    Packed { layer: String, source: PackedError },
    #[error("layer `{layer}`: {source}")]
    Block { layer: String, source: BlockError },
    #[error(transparent)]
    Vptq(#[from] CheckpointError),
    #[error("layer `{layer}`: {source}")]
    Quantize { layer: String, source: QuantizeError },
    #[error("calibration: {reason}")]
    Calibration { reason: String },
    #[error("layer `{layer}`: the weight at row {row}, column {col} is not finite")]
    NonFinite { layer: String, row: usize, col: usize },
    #[error(transparent)]
    Attn(#[from] AttnError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error("activations: {0}")]
    Activation(#[from] ActivationError),
    #[error("token {token} at position {position} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange { token: u32, position: usize, vocab_size: usize },
    #[error("the context is full: {needed} positions, the model has {limit}")]
    ContextFull { needed: usize, limit: usize },
    #[error("nothing to run: the prompt has no tokens")]
    EmptyPrompt,
    #[error("the text has {tokens} tokens, one window needs {ctx}")]
    TextTooShort { tokens: usize, ctx: usize },
    #[error("{what} = {given}: expected {expected}")]
    Option { what: &'static str, given: String, expected: String },
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    #[error(
        "the prompt needs {needed} positions of the cache, it has {limit}: shorten the prompt or make the cache larger"
    )]
    CacheTooSmall { needed: usize, limit: usize },
    #[error(
        "{} are needed (weights {}, cache {}, work {}), {} are available: take a smaller model, cache or step",
        mib(need.total()), mib(need.weights), mib(need.cache), mib(need.work), mib(*available)
    )]
    OutOfMemory { need: MemoryNeed, available: usize },
    #[error("no token can be chosen: every logit is NaN or negative infinity")]
    NoToken,
    #[error("layer `{layer}`: {source}")]
    Encode { layer: String, source: EncodeError },
    #[error(transparent)]
    GgufWrite(#[from] GgufWriteError),
    #[error("{}: {what} cannot be written as {form}: {reason}", file.display())]
    Export { file: PathBuf, what: String, form: &'static str, reason: String },
    #[error("the model is already quantized")]
    AlreadyQuantized,
    #[error("the output layer is the embedding table, which stays as it is")]
    TiedOutputLayer,
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Diagnose for ModelError {
    fn variant(&self) -> String {
        match self {
            ModelError::Config(e) => e.variant(),
            ModelError::Format(e) => e.variant(),
            ModelError::Gptq { source, .. } => source.variant(),
            ModelError::Pack { source, .. } => source.variant(),
            ModelError::Quant { source, .. } => source.variant(),
            ModelError::Packed { source, .. } => source.variant(),
            ModelError::Block { source, .. } => source.variant(),
            ModelError::Vptq(e) => e.variant(),
            ModelError::Quantize { source, .. } => source.variant(),
            ModelError::Encode { source, .. } => source.variant(),
            ModelError::GgufWrite(e) => e.variant(),
            ModelError::Attn(e) => e.variant(),
            ModelError::Gate(e) => e.variant(),
            ModelError::Activation(e) => e.variant(),
            ModelError::Sampler(e) => e.variant(),
            other => variant_name(other),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            ModelError::Config(e) => e.file(),
            ModelError::Gate(e) => e.file(),
            ModelError::Format(e) => e.file(),
            ModelError::Vptq(e) => e.file(),
            ModelError::Gptq { source, .. } => source.file(),
            ModelError::Packed { source, .. } => source.file(),
            ModelError::Export { file, .. } => Some(file),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            ModelError::Config(e) => e.place(),
            ModelError::Gate(e) => e.place(),
            ModelError::Format(e) => e.place(),
            ModelError::Vptq(e) => e.place(),
            ModelError::Gptq { layer, source } => source.place().or_else(|| Some(layer.clone())),
            ModelError::Packed { layer, source } => source.place().or_else(|| Some(layer.clone())),
            ModelError::Pack { layer, .. }
            | ModelError::Quant { layer, .. }
            | ModelError::Block { layer, .. }
            | ModelError::Quantize { layer, .. }
            | ModelError::Encode { layer, .. }
            | ModelError::NonFinite { layer, .. } => Some(layer.clone()),
            ModelError::Export { what, .. } => Some(what.clone()),
            ModelError::TokenOutOfRange { position, .. } => Some(format!("position {position}")),
            _ => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            ModelError::Config(ConfigError::Format(e)) | ModelError::Format(e) => e.is_bad_input(),
            ModelError::Vptq(e) => e.is_bad_input(),
            ModelError::Quantize { source, .. } => source.is_bad_input(),
            ModelError::Cancelled(_) => false,
            _ => true,
        }
    }
}
