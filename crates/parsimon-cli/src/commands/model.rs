//! The model that a command runs.

use std::path::PathBuf;

use clap::Args;
use parsimon::model::{LoadOptions, Model, ModelError, Tokenizer, TokenizerError};

#[derive(Args)]
pub(super) struct ModelArgs {
    /// The model folder.
    #[arg(long = "model", value_name = "DIR")]
    folder: PathBuf,
    /// Keep packed low-bit layers in this folder, and map those that are there already; it may serve several models.
    #[arg(long, value_name = "DIR")]
    pack_cache: Option<PathBuf>,
}

impl ModelArgs {
    pub(super) fn open(&self) -> Result<Model, ModelError> {
        Model::open(&self.folder, &LoadOptions { pack_cache: self.pack_cache.clone(), ..LoadOptions::default() })
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::open(&self.folder)
    }
}
