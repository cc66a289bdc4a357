//! `tokenizer.json` and the vocabularies of GGUF files, through the tokenizers crate.

mod gguf;

use std::path::{Path, PathBuf};

use parsimon_core::Diagnose;
use parsimon_core::io::gguf::{Gguf, OpenOptions};
use serde_json::Value;

use crate::TokenBytes;

mod spelling;

use spelling::Spelling;

/// The most tokens of a vocabulary, as in `config.json`.
const TOKENS_MAX: u32 = 1 << 24;

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
    /// Reads `tokenizer.json` of a model folder, or the vocabulary of a `.gguf` file.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] with the file and the reason.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let unread = |file: &Path, reason: String| TokenizerError {
            file: file.to_owned(),
            action: "read the tokenizer",
            reason,
        };
        if crate::bind::is_gguf(path) {
            let file = Gguf::open(path, &OpenOptions::default()).map_err(|e| unread(path, e.to_string()))?;
            return Self::from_gguf(&file);
        }
        let path = path.join("tokenizer.json");
        match tokenizers::Tokenizer::from_file(&path) {
            Ok(inner) => Ok(Tokenizer { path, inner }),
            Err(e) => Err(unread(&path, e.to_string())),
        }
    }

    /// The vocabulary of a GGUF file: byte-level BPE (`gpt2`, split as `tokenizer.ggml.pre` says) or SentencePiece BPE (`llama`).
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] with the key: no vocabulary, one of another kind, or lists that do not fit together.
    pub fn from_gguf(file: &Gguf) -> Result<Self, TokenizerError> {
        let unread = |reason| TokenizerError { file: file.path().to_owned(), action: "read the vocabulary", reason };
        let json = gguf::tokenizer_json(file).map_err(|e| unread(e.to_string()))?;
        match tokenizers::Tokenizer::from_bytes(json.to_string()) {
            Ok(inner) => Ok(Tokenizer { path: file.path().to_owned(), inner }),
            Err(e) => Err(unread(e.to_string())),
        }
    }

    /// The tokenizer as a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the crate cannot write it.
    pub fn to_json(&self) -> Result<Value, TokenizerError> {
        let text = self.inner.to_string(false).map_err(|e| self.error("write", e.as_ref()))?;
        serde_json::from_str(&text).map_err(|e| self.error("write", &e))
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

    /// The bytes of every token, for [`crate::TextStream`] and for constraints on what is generated.
    ///
    /// Byte-level vocabularies write bytes as characters, others a space as `▁` and single bytes as `<0x41>`; a vocabulary of another kind
    /// gives what [`Tokenizer::decode`] makes of the token alone. Special tokens have no bytes.
    pub fn token_bytes(&self) -> TokenBytes {
        let added = self.inner.get_added_tokens_decoder();
        let spelling = Spelling::of(&self.inner);
        let last = self.inner.get_vocab(true).into_values().max();
        TokenBytes::new((0..last.map_or(0, |last| last.saturating_add(1).min(TOKENS_MAX))).map(
            |id| match added.get(&id) {
                Some(token) if token.special => Vec::new(),
                Some(token) => token.content.clone().into_bytes(),
                None => match (self.inner.id_to_token(id), &spelling) {
                    (None, _) => Vec::new(),
                    (Some(_), Spelling::Other) => self.decode(&[id], true).unwrap_or_default().into_bytes(),
                    (Some(token), spelling) => spelling.bytes(&token),
                },
            },
        ))
    }

    /// The id of a token written out, special ones included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    fn error(&self, action: &'static str, e: &dyn std::error::Error) -> TokenizerError {
        TokenizerError { file: self.path.clone(), action, reason: e.to_string() }
    }
}

#[cfg(test)]
mod tests;
