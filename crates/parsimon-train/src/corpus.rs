//! A tokenized corpus: `tokens/*.npy` (u16) and `tokens/index.json` as the packer leaves them.

mod sampler;

use std::path::{Path, PathBuf};

use parsimon_core::io::{FormatError, NpyArray, read_json};
use serde::Deserialize;

pub use sampler::{Batch, BatchSampler};

use crate::TrainError;

/// The tokens of a corpus folder, in file order.
///
/// Opening holds two bytes a token, and checks every token against the vocabulary.
#[derive(Clone, Debug)]
pub struct Corpus {
    index: PathBuf,
    folder: PathBuf,
    tokens: Vec<u16>,
    vocab_size: usize,
    eos_id: u32,
}

#[derive(Deserialize)]
struct Index {
    vocab_size: usize,
    eos_id: u32,
    tokens: u64,
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Shard {
    file: String,
    tokens: u64,
}

impl Corpus {
    /// Opens the corpus in `folder`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Format`] for files that are missing or not what they should be, [`TrainError::ShardLength`] and
    /// [`TrainError::ShardName`] where the index does not fit the shards, [`TrainError::TokenRange`] for a token outside the
    /// vocabulary.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let tokens_folder = folder.join("tokens");
        let path = tokens_folder.join("index.json");
        let index: Index = read_json(&path)?;
        let mut tokens = Vec::new();
        for shard in &index.shards {
            if Path::new(&shard.file).file_name().is_none_or(|name| name != shard.file.as_str()) {
                return Err(TrainError::ShardName { file: path, shard: shard.file.clone() });
            }
            let file = tokens_folder.join(&shard.file);
            let values = NpyArray::open(&file)?.to_vec::<u16>()?;
            if values.len() as u64 != shard.tokens {
                let (expected, actual) = (shard.tokens, values.len() as u64);
                return Err(TrainError::ShardLength { file: path, shard: shard.file.clone(), expected, actual });
            }
            let outside = values.iter().position(|&token| usize::from(token) >= index.vocab_size);
            if let Some(position) = outside {
                let (token, vocab_size) = (u32::from(values[position]), index.vocab_size);
                return Err(TrainError::TokenRange { file, position, token, vocab_size });
            }
            tokens.extend(values);
        }
        if tokens.len() as u64 != index.tokens {
            let (expected, actual) = (index.tokens, tokens.len() as u64);
            return Err(TrainError::ShardLength { file: path, shard: "(all)".into(), expected, actual });
        }
        if index.eos_id as usize >= index.vocab_size {
            let reason = format!("`eos_id` is {}, `vocab_size` {}", index.eos_id, index.vocab_size);
            return Err(FormatError::Malformed { file: path, format: "token index", reason }.into());
        }
        let (vocab_size, eos_id) = (index.vocab_size, index.eos_id);
        Ok(Corpus { index: path, folder: folder.to_owned(), tokens, vocab_size, eos_id })
    }

    /// The tokens.
    pub fn tokens(&self) -> &[u16] {
        &self.tokens
    }

    /// The size of the vocabulary: every token is below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token between documents.
    pub fn eos_id(&self) -> u32 {
        self.eos_id
    }

    /// The index file, for messages.
    pub fn index_path(&self) -> &Path {
        &self.index
    }

    /// The tokenizer that made the tokens.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.folder.join("tokenizer.json")
    }
}

#[cfg(test)]
mod tests;
