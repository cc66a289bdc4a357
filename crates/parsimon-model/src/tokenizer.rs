//! `tokenizer.json`, through the tokenizers crate.

use std::path::{Path, PathBuf};

use parsimon_core::Diagnose;

/// Text to token ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
}

/// A tokenizer cannot be read or used.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {reason}", file.display())]
pub struct TokenizerError {
    /// The `tokenizer.json`.
    pub file: PathBuf,
    /// What failed.
    pub action: &'static str,
    /// Why.
    pub reason: String,
}

impl Diagnose for TokenizerError {
    fn file(&self) -> Option<&Path> {
        Some(&self.file)
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] with the file and the reason.
    pub fn open(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        match tokenizers::Tokenizer::from_file(&path) {
            Ok(inner) => Ok(Tokenizer { path, inner }),
            Err(e) => Err(TokenizerError { file: path, action: "read the tokenizer", reason: e.to_string() }),
        }
    }

    /// Token ids of a text; with `special`, the tokens that the file adds at its ends are included. Special tokens written out in the text
    /// are recognized either way.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the file's rules fail on the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, special);
        encoding.map(|e| e.get_ids().to_vec()).map_err(|e| self.error("encode", e.as_ref()))
    }

    /// The text of token ids; with `skip_special`, special tokens are left out.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the file's rules fail on the ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        self.inner.decode(ids, skip_special).map_err(|e| self.error("decode", e.as_ref()))
    }

    fn error(&self, action: &'static str, e: &dyn std::error::Error) -> TokenizerError {
        TokenizerError { file: self.path.clone(), action, reason: e.to_string() }
    }
}
