//! Token shards: `.npy` files of little-endian 16-bit tokens, and the index of what stands in them.
//!
//! Documents are encoded in parallel and shuffled by the seed inside windows of 100,000, each ends with the end token, and none crosses a
//! shard unless it is longer than one.

use std::io::Write;
use std::path::{Path, PathBuf};

use parsimon_core::io::{FormatError, Map, write_json, write_npy};
use parsimon_core::{Control, SplitMix64, Unit};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_64;

use super::{DocumentText, END_OF_TEXT, HeldOut};
use crate::error::CurateError;
use crate::io::{JsonlReader, OutputFile, OutputInfo, hash_file};

/// Documents that are shuffled together.
const WINDOW: usize = 100_000;
/// Documents that are encoded together; bounds the memory, changes no byte.
const BATCH: usize = 256;

/// Where a document ends in its shard.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct DocumentEnd {
    /// The document's id.
    pub id: String,
    /// Offset in tokens behind its end token.
    pub end: u64,
}

/// One shard of the index.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TokenShard {
    /// The file beside the index.
    pub file: String,
    /// Its tokens.
    pub tokens: u64,
    /// Its documents, in order.
    pub documents: Vec<DocumentEnd>,
}

/// `tokens/index.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TokenIndex {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// The token behind every document.
    pub eos_id: u32,
    /// xxh3-64 of `tokenizer.json`, in hexadecimal.
    pub tokenizer_xxh3: String,
    /// Tokens of all shards.
    pub tokens: u64,
    /// The shards.
    pub shards: Vec<TokenShard>,
}

/// How documents become shards.
pub(crate) struct PackOptions {
    pub(crate) held_out: HeldOut,
    pub(crate) tokens_max: usize,
    pub(crate) seed: u64,
}

/// What [`pack`] wrote.
pub(crate) struct Packed {
    pub(crate) index: TokenIndex,
    pub(crate) heldout_documents: u64,
    pub(crate) heldout_bytes: u64,
    pub(crate) outputs: Vec<OutputInfo>,
}

/// Encodes the documents of `files` with `root/tokenizer.json` into `root/tokens`, and the held-out ones into `root/heldout.txt`.
pub(crate) fn pack(
    root: &Path,
    files: &[PathBuf],
    n_documents: u64,
    options: &PackOptions,
    control: &Control<'_>,
) -> Result<Packed, CurateError> {
    let json = Map::open(&root.join("tokenizer.json"))?;
    let mut tokenizer =
        Tokenizer::from_bytes(&json[..]).map_err(|e| CurateError::Tokenizer { reason: e.to_string() })?;
    // A document that spells the end token out must not end there.
    tokenizer.set_encode_special_tokens(true);
    let eos_id = tokenizer
        .token_to_id(END_OF_TEXT)
        .ok_or_else(|| CurateError::Tokenizer { reason: format!("the vocabulary has no {END_OF_TEXT}") })?;
    let mut writer = ShardWriter {
        root,
        tokens_max: options.tokens_max,
        shard: Vec::new(),
        documents: Vec::new(),
        outputs: Vec::new(),
        index: TokenIndex {
            vocab_size: tokenizer.get_vocab_size(true),
            eos_id,
            tokenizer_xxh3: format!("{:016x}", xxh3_64(&json)),
            tokens: 0,
            shards: Vec::new(),
        },
    };
    let mut heldout = OutputFile::create(root, "heldout.txt")?;
    let (mut heldout_documents, mut heldout_bytes) = (0, 0);
    let mut rng = SplitMix64::new(options.seed);
    let mut window: Vec<(String, Vec<u16>)> = Vec::new();
    let mut batch: Vec<DocumentText> = Vec::new();
    control.progress.start("pack tokens", Some(n_documents), Unit::Items("documents"));
    for file in files {
        let mut rows = JsonlReader::open(file)?;
        while let Some(document) = rows.next_row::<DocumentText>()? {
            if options.held_out.contains(&document.id) {
                let written = heldout
                    .write_all(document.text.as_bytes())
                    .and_then(|()| heldout.write_all(END_OF_TEXT.as_bytes()));
                written.map_err(|e| FormatError::io(heldout.path(), "write", e))?;
                heldout_documents += 1;
                heldout_bytes += document.text.len() as u64;
                continue;
            }
            batch.push(document);
            if batch.len() == BATCH || window.len() + batch.len() == WINDOW {
                window.extend(encode(&tokenizer, std::mem::take(&mut batch), eos_id, control)?);
            }
            if window.len() >= WINDOW {
                writer.push_window(&mut rng, &mut window)?;
            }
        }
    }
    window.extend(encode(&tokenizer, batch, eos_id, control)?);
    writer.push_window(&mut rng, &mut window)?;
    control.progress.finish();
    let (index, mut outputs) = writer.finish()?;
    outputs.push(heldout.commit()?);
    Ok(Packed { index, heldout_documents, heldout_bytes, outputs })
}

fn encode(
    tokenizer: &Tokenizer,
    documents: Vec<DocumentText>,
    eos_id: u32,
    control: &Control<'_>,
) -> Result<Vec<(String, Vec<u16>)>, CurateError> {
    control.cancel.check().map_err(|_| CurateError::Cancelled)?;
    let failed = |reason: String| CurateError::Tokenizer { reason };
    let encoded = documents.into_par_iter().map(|document| {
        let encoding = tokenizer.encode_fast(document.text.as_str(), false).map_err(|e| failed(e.to_string()))?;
        let ids = encoding.get_ids().iter().copied().chain([eos_id]);
        let narrow = |id: u32| u16::try_from(id).map_err(|_| failed(format!("token {id} does not fit 16 bits")));
        let tokens = ids.map(narrow).collect::<Result<Vec<u16>, _>>()?;
        Ok((document.id, tokens))
    });
    let encoded = encoded.collect::<Result<Vec<_>, CurateError>>()?;
    control.progress.advance(encoded.len() as u64);
    Ok(encoded)
}

struct ShardWriter<'a> {
    root: &'a Path,
    tokens_max: usize,
    shard: Vec<u16>,
    documents: Vec<DocumentEnd>,
    outputs: Vec<OutputInfo>,
    index: TokenIndex,
}

impl ShardWriter<'_> {
    fn push_window(&mut self, rng: &mut SplitMix64, window: &mut Vec<(String, Vec<u16>)>) -> Result<(), CurateError> {
        rng.shuffle(window);
        for (id, tokens) in window.drain(..) {
            if self.shard.len() + tokens.len() > self.tokens_max {
                self.close_shard()?;
            }
            // Only a document that is longer than a shard comes in more than one part.
            for part in tokens.chunks(self.tokens_max) {
                if self.shard.len() + part.len() > self.tokens_max {
                    self.close_shard()?;
                }
                self.shard.extend_from_slice(part);
                self.documents.push(DocumentEnd { id: id.clone(), end: self.shard.len() as u64 });
            }
        }
        Ok(())
    }

    fn close_shard(&mut self) -> Result<(), CurateError> {
        if self.shard.is_empty() {
            return Ok(());
        }
        let file = format!("{:05}.npy", self.index.shards.len());
        let name = format!("tokens/{file}");
        write_npy(&self.root.join(&name), &[self.shard.len()], &self.shard)?;
        self.outputs.push(hash_file(self.root, &name)?);
        let tokens = self.shard.len() as u64;
        self.index.tokens += tokens;
        self.index.shards.push(TokenShard { file, tokens, documents: std::mem::take(&mut self.documents) });
        self.shard.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(TokenIndex, Vec<OutputInfo>), CurateError> {
        self.close_shard()?;
        write_json(&self.root.join("tokens/index.json"), &self.index)?;
        self.outputs.push(hash_file(self.root, "tokens/index.json")?);
        Ok((self.index, self.outputs))
    }
}
