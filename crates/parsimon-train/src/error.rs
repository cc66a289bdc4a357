//! What can go wrong in training.

use std::path::{Path, PathBuf};

use parsimon_core::io::FormatError;
use parsimon_core::{Cancelled, Diagnose};
use parsimon_model::ConfigError;

/// Training cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TrainError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("{}: shard {shard} holds {actual} tokens, the index says {expected}", file.display())]
    ShardLength { file: PathBuf, shard: String, expected: u64, actual: u64 },
    #[error("{}: the shard's name `{shard}` is not a plain file name", file.display())]
    ShardName { file: PathBuf, shard: String },
    #[error("{}: token {position} is {token}, the vocabulary has {vocab_size}", file.display())]
    TokenRange { file: PathBuf, position: usize, token: u32, vocab_size: usize },
    #[error(
        "{}: {tokens} tokens are {windows} windows of {context} + 1 tokens, one batch needs {batch}; take a smaller batch or context, or more text",
        file.display()
    )]
    CorpusTooShort { file: PathBuf, tokens: u64, windows: u64, context: usize, batch: usize },
    #[error("{}: the vocabulary has {corpus} tokens, the model {model}", file.display())]
    VocabSize { file: PathBuf, corpus: usize, model: usize },
    #[error("`{field}` is {value}, expected {expected}")]
    Setting { field: &'static str, value: String, expected: &'static str },
    #[error("unknown preset `{name}`; there is {known}")]
    UnknownPreset { name: String, known: &'static str },
    #[error(
        "{}: a run with other settings was interrupted here ({difference}); repeat it with its settings, or remove the folder",
        file.display()
    )]
    OtherRun { file: PathBuf, difference: String },
    #[error("the loss became {loss} at step {step}; lower the learning rate")]
    Diverged { step: u64, loss: f32 },
}

impl Diagnose for TrainError {
    fn variant(&self) -> String {
        match self {
            TrainError::Format(e) => e.variant(),
            TrainError::Config(e) => e.variant(),
            _ => {
                let debug = format!("{self:?}");
                debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
            }
        }
    }

    fn file(&self) -> Option<&Path> {
        use TrainError::*;
        match self {
            Format(e) => e.file(),
            Config(e) => e.file(),
            ShardLength { file, .. }
            | ShardName { file, .. }
            | TokenRange { file, .. }
            | CorpusTooShort { file, .. }
            | VocabSize { file, .. }
            | OtherRun { file, .. } => Some(file),
            Cancelled(_) | Setting { .. } | UnknownPreset { .. } | Diverged { .. } => None,
        }
    }

    fn place(&self) -> Option<String> {
        use TrainError::*;
        match self {
            Format(e) => e.place(),
            Config(e) => e.place(),
            ShardLength { shard, .. } | ShardName { shard, .. } => Some(shard.clone()),
            TokenRange { position, .. } => Some(format!("token {position}")),
            Setting { field, .. } => Some((*field).to_owned()),
            Diverged { step, .. } => Some(format!("step {step}")),
            Cancelled(_) | CorpusTooShort { .. } | VocabSize { .. } | UnknownPreset { .. } | OtherRun { .. } => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            TrainError::Format(e) => e.is_bad_input(),
            TrainError::Config(e) => e.is_bad_input(),
            TrainError::Cancelled(_) | TrainError::Diverged { .. } => false,
            _ => true,
        }
    }
}
