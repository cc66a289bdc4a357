//! The vocabulary of a GGUF file as a `tokenizer.json`.
//!
//! Two kinds are read. `gpt2` is byte-level BPE: merges are listed, and `tokenizer.ggml.pre` names how text is split before. `llama` is
//! SentencePiece's BPE: pieces have scores and the pair whose piece scores highest is merged first, which is a list of merges in the order of the
//! scores of their results.

use std::collections::HashMap;

use parsimon_core::io::FormatError;
use parsimon_core::io::gguf::{Gguf, Value as Entry};
use serde_json::{Value, json};

use crate::splits::SPLITS;

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

/// Kinds of tokens (`tokenizer.ggml.token_type`).
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The `tokenizer.json` of a GGUF file's vocabulary.
///
/// # Errors
///
/// [`FormatError::Malformed`] and [`FormatError::MissingKey`] naming the key: no vocabulary, an unknown kind or split, lists of different
/// lengths, merges or tokens that are not UTF-8.
pub(super) fn tokenizer_json(file: &Gguf) -> Result<Value, FormatError> {
    let vocabulary = Vocabulary::read(file)?;
    match file.str("tokenizer.ggml.model")? {
        "gpt2" => vocabulary.byte_level(),
        "llama" => vocabulary.sentence_piece(),
        other => {
            Err(malformed(file, "tokenizer.ggml.model", format!("is {other}; vocabularies of gpt2 and llama are read")))
        }
    }
}

struct Vocabulary<'a> {
    file: &'a Gguf,
    tokens: Vec<String>,
    kinds: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a Gguf) -> Result<Self, FormatError> {
        let tokens = strings(file, "tokenizer.ggml.tokens")?;
        let kinds = match file.get("tokenizer.ggml.token_type") {
            None => vec![1; tokens.len()],
            Some(_) => numbers(file, "tokenizer.ggml.token_type", tokens.len(), |entry| entry.as_i64())?,
        };
        Ok(Vocabulary { file, tokens, kinds })
    }

    fn byte_level(&self) -> Result<Value, FormatError> {
        const PRE: &str = "tokenizer.ggml.pre";
        let pre = if self.file.get(PRE).is_some() { self.file.str(PRE)? } else { "default" };
        let Some(split) = SPLITS.iter().find(|split| split.names.contains(&pre)) else {
            let known = SPLITS.map(|split| split.names[0]).join(", ");
            return Err(malformed(self.file, PRE, format!("is {pre}; the splits {known} are known")));
        };
        let (pattern, ignore_merges) = (split.pattern, split.ignore_merges);
        let bytes = |use_regex| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let pre_tokenizer = match pattern {
            None => bytes(true),
            Some(pattern) => {
                let split =
                    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
                json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
            }
        };
        let merges = strings(self.file, "tokenizer.ggml.merges")?;
        let merges: Result<Vec<Value>, FormatError> = merges.iter().map(|merge| self.pair(merge)).collect();
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": self.ids(), "merges": merges?,
        });
        Ok(self.document(None, pre_tokenizer, bytes(true), model, self.flag("tokenizer.ggml.add_bos_token", false)))
    }

    /// `a b`; either may begin with a space in no vocabulary of bytes, so the first space after the first character parts them.
    fn pair(&self, merge: &str) -> Result<Value, FormatError> {
        let split = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
        match split {
            Some((at, _)) => Ok(json!([merge[..at], merge[at + 1..]])),
            None => {
                Err(malformed(self.file, "tokenizer.ggml.merges", format!("`{merge}` is not two tokens and a space")))
            }
        }
    }

    fn sentence_piece(&self) -> Result<Value, FormatError> {
        let scores = numbers(self.file, "tokenizer.ggml.scores", self.tokens.len(), |entry| entry.as_f64())?;
        let unknown = match self.file.get("tokenizer.ggml.unknown_token_id").and_then(|id| id.as_u64()) {
            Some(id) => usize::try_from(id).ok().filter(|&id| id < self.tokens.len()),
            None => self.kinds.iter().position(|&kind| kind == UNKNOWN),
        };
        let mut normalizers = Vec::new();
        if self.flag("tokenizer.ggml.add_space_prefix", true) {
            normalizers.push(json!({"type": "Prepend", "prepend": SPACE}));
        }
        normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE}));
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if normalizers.len() == 2 {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown.map(|id| &self.tokens[id]), "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": self.ids(), "merges": self.merges(&scores),
        });
        let normalizer = json!({"type": "Sequence", "normalizers": normalizers});
        let decoder = json!({"type": "Sequence", "decoders": decoders});
        let add_bos = self.flag("tokenizer.ggml.add_bos_token", true);
        Ok(self.document(Some(normalizer), Value::Null, decoder, model, add_bos))
    }

    /// Every pair of pieces that makes a piece, those that make the highest-scoring ones first.
    fn merges(&self, scores: &[f64]) -> Vec<(&str, &str)> {
        let plain = |id: usize| ![UNKNOWN, CONTROL, USER_DEFINED].contains(&self.kinds[id]);
        let ids: HashMap<&str, usize> =
            self.tokens.iter().map(String::as_str).zip(0..).filter(|&(_, id)| plain(id)).collect();
        let mut merges = Vec::new();
        for (&piece, &id) in &ids {
            for (at, _) in piece.char_indices().skip(1) {
                let (left, right) = piece.split_at(at);
                if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                    merges.push((scores[id], id, l, r));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
        merges.into_iter().map(|(_, _, l, r)| (&*self.tokens[l], &*self.tokens[r])).collect()
    }

    fn ids(&self) -> Value {
        self.tokens.iter().cloned().zip((0u32..).map(Value::from)).collect()
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.file.get(key).and_then(|value| value.as_bool()).unwrap_or(default)
    }

    fn document(
        &self,
        normalizer: Option<Value>,
        pre_tokenizer: Value,
        decoder: Value,
        model: Value,
        add_bos: bool,
    ) -> Value {
        let named = |kind| [UNKNOWN, CONTROL, USER_DEFINED].contains(&kind);
        let added = (0..self.tokens.len()).filter(|&id| named(self.kinds[id])).map(|id| {
            json!({"id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": self.kinds[id] != USER_DEFINED})
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": self.post_processor(add_bos),
            "decoder": decoder, "model": model,
        })
    }

    /// Adds the tokens that begin and end a text, where the file says so.
    fn post_processor(&self, add_bos: bool) -> Value {
        let token = |key: &str| {
            let id = self.file.get(key)?.as_u64()?;
            Some((self.tokens.get(usize::try_from(id).ok()?)?.as_str(), id))
        };
        let bos = token("tokenizer.ggml.bos_token_id").filter(|_| add_bos);
        let eos = token("tokenizer.ggml.eos_token_id").filter(|_| self.flag("tokenizer.ggml.add_eos_token", false));
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let special = |token: &(&str, u64)| json!({"SpecialToken": {"id": token.0, "type_id": 0}});
        let around = |sequences: &[&str]| -> Vec<Value> {
            let text = sequences.iter().map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
            bos.iter().map(special).chain(text).chain(eos.iter().map(special)).collect()
        };
        let specials: serde_json::Map<String, Value> = [bos, eos]
            .into_iter()
            .flatten()
            .map(|(token, id)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]})))
            .collect();
        json!({"type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]), "special_tokens": specials})
    }
}

fn strings(file: &Gguf, key: &str) -> Result<Vec<String>, FormatError> {
    let array = file.array(key)?;
    let text = |entry: Entry<'_>| entry.as_str().map(str::to_owned);
    array
        .iter()
        .map(|entry| text(entry).ok_or_else(|| malformed(file, key, "has an entry that is no UTF-8 string")))
        .collect()
}

fn numbers<T>(
    file: &Gguf,
    key: &str,
    expected: usize,
    read: impl Fn(&Entry<'_>) -> Option<T>,
) -> Result<Vec<T>, FormatError> {
    let array = file.array(key)?;
    if array.len() != expected {
        return Err(malformed(file, key, format!("has {} entries for {expected} tokens", array.len())));
    }
    array
        .iter()
        .map(|entry| read(&entry).ok_or_else(|| malformed(file, key, "has an entry that is no number")))
        .collect()
}

fn malformed(file: &Gguf, key: &str, reason: impl std::fmt::Display) -> FormatError {
    FormatError::Malformed { file: file.path().to_owned(), format: "GGUF", reason: format!("`{key}` {reason}") }
}

#[cfg(test)]
mod tests;
