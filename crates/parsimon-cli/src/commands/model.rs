//! The model that a command runs.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use parsimon::model::{
    ChatTemplate, ConfigError, EngineOptions, KvDtype, LoadOptions, MemoryNeed, Model, ModelConfig, ModelError,
    Tokenizer, TokenizerError,
};
use parsimon::tensor::io::{FormatError, read_json};
use serde_json::Value;

use crate::serve::Folder;

#[derive(Args)]
pub(super) struct ModelArgs {
    /// The model folder, or a GGUF file.
    #[arg(long = "model", value_name = "DIR")]
    folder: PathBuf,
    /// Keep packed low-bit layers in this folder, and map those that are there already; it may serve several models.
    #[arg(long, value_name = "DIR")]
    pack_cache: Option<PathBuf>,
}

impl ModelArgs {
    pub(super) fn open(&self) -> Result<Model, ModelError> {
        self.open_for(&EngineOptions::default())
    }

    /// Opens the model where it, and an engine of it, fit into the memory that is available.
    pub(super) fn open_for(&self, options: &EngineOptions) -> Result<Model, ModelError> {
        if let Some(available) = available_memory() {
            MemoryNeed::of_path(&self.folder, options)?.check(available)?;
        }
        Model::open(&self.folder, &LoadOptions { pack_cache: self.pack_cache.clone(), ..LoadOptions::default() })
    }

    pub(super) fn config(&self) -> Result<ModelConfig, ConfigError> {
        ModelConfig::open(&self.folder)
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::open(&self.folder)
    }

    /// What a conversation needs besides the weights.
    pub(super) fn chat_folder(&self, name: Option<String>) -> anyhow::Result<Folder> {
        let tokenizer = self.tokenizer()?;
        let template = ChatTemplate::open(&self.folder)?;
        let mut stop_tokens = end_tokens(&self.folder)?;
        stop_tokens.extend(template.eos_token().and_then(|token| tokenizer.token_id(token)));
        let folder_name = || {
            let path = self.folder.canonicalize().ok()?;
            let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
            name.map(|name| name.to_string_lossy().into_owned())
        };
        let name = name.or_else(folder_name).unwrap_or_else(|| "model".to_owned());
        Ok(Folder { name, tokenizer, template, stop_tokens })
    }
}

/// Bytes that processes can still take, as Linux tells; `None` elsewhere.
fn available_memory() -> Option<usize> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// How keys and values are kept, as an argument.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum CacheDtype {
    F32,
    F16,
    Bf16,
    Int8,
}

impl From<CacheDtype> for KvDtype {
    fn from(dtype: CacheDtype) -> KvDtype {
        match dtype {
            CacheDtype::F32 => KvDtype::F32,
            CacheDtype::F16 => KvDtype::F16,
            CacheDtype::Bf16 => KvDtype::Bf16,
            CacheDtype::Int8 => KvDtype::Int8,
        }
    }
}

/// `eos_token_id` of `generation_config.json`, where there is one: chat models end their turns with tokens that `config.json` lacks.
fn end_tokens(folder: &Path) -> Result<Vec<u32>, FormatError> {
    let file = folder.join("generation_config.json");
    if !file.exists() {
        return Ok(Vec::new());
    }
    let config: Value = read_json(&file)?;
    let ids = match &config["eos_token_id"] {
        Value::Array(ids) => ids.as_slice(),
        id => std::slice::from_ref(id),
    };
    Ok(ids.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()).collect())
}
