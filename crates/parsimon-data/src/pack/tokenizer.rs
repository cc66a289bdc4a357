//! Training the tokenizer: byte-level BPE by the tokenizers crate.
//!
//! The pre-tokenizer is the byte-level one with its regular expression (contractions, words with their leading blank, numbers, marks), so
//! every text can be encoded and decoded without loss. The trainer merges the most frequent pair first and the smaller pair of ids on a
//! tie; its counts are whole numbers, so the outcome depends on the sample alone and not on threads. Training sees a seeded sample of
//! the documents, because its time grows with the number of different words and its outcome hardly changes.

use std::path::PathBuf;

use parsimon_core::{Control, SplitMix64, Unit};
use serde::{Deserialize, Serialize};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::{DocumentText, HeldOut, id_hash};
use crate::error::CurateError;
use crate::io::JsonlReader;

/// The token that ends every document; its id is 0.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// How the tokenizer is trained.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TokenizerOptions {
    /// Entries of the vocabulary with the end token and the 256 bytes. At most 65,536, since tokens are stored in 16 bits.
    pub vocab_size: usize,
    /// About as many bytes of text are trained on.
    pub sample_bytes: u64,
    /// Seed of the sample.
    pub seed: u64,
}

/// Trains a byte-level BPE tokenizer on all documents of `files` (rows with `id` and `text`) and returns it as JSON.
///
/// # Errors
///
/// [`CurateError`]: files that cannot be read, no text, cancellation.
pub fn train_tokenizer(
    files: &[PathBuf],
    options: &TokenizerOptions,
    control: &Control<'_>,
) -> Result<String, CurateError> {
    train(files, options, HeldOut::NONE, control)
}

/// Trains on the documents of `files` that are not held out and returns the `tokenizer.json`.
pub(crate) fn train(
    files: &[PathBuf],
    options: &TokenizerOptions,
    held_out: HeldOut,
    control: &Control<'_>,
) -> Result<String, CurateError> {
    let sample = sample(files, options, held_out, control)?;
    if sample.is_empty() {
        return Err(CurateError::EmptyCorpus);
    }
    control.progress.start("train tokenizer", None, Unit::Items("merges"));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(options.vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, true)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, true)));
    let failed = |e: tokenizers::Error| CurateError::Tokenizer { reason: e.to_string() };
    tokenizer.train(&mut trainer, sample.iter().map(String::as_str)).map_err(failed)?;
    control.progress.finish();
    tokenizer.to_string(true).map_err(failed)
}

/// Documents whose seeded hash falls below the share that the sample may have.
fn sample(
    files: &[PathBuf],
    options: &TokenizerOptions,
    held_out: HeldOut,
    control: &Control<'_>,
) -> Result<Vec<String>, CurateError> {
    let mut candidates: Vec<(u64, DocumentText)> = Vec::new();
    let mut total = 0u64;
    for file in files {
        control.cancel.check().map_err(|_| CurateError::Cancelled)?;
        let mut rows = JsonlReader::open(file)?;
        while let Some(document) = rows.next_row::<DocumentText>()? {
            if !held_out.contains(&document.id) {
                total += document.text.len() as u64;
                let order = SplitMix64::new(options.seed ^ id_hash(&document.id)).next_u64();
                candidates.push((order, document));
                total -= trim_sample(&mut candidates, total, options.sample_bytes);
            }
        }
    }
    candidates.sort_unstable_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
    let mut room = options.sample_bytes;
    let fits = |(_, document): &(u64, DocumentText)| {
        let has_room = room > 0;
        room = room.saturating_sub(document.text.len() as u64);
        has_room
    };
    Ok(candidates.into_iter().take_while(fits).map(|(_, document)| document.text).collect())
}

/// Keeps memory near twice the sample: beyond it the documents that come last in the sample's order are dropped. Returns their bytes.
fn trim_sample(candidates: &mut Vec<(u64, DocumentText)>, total: u64, sample_bytes: u64) -> u64 {
    if total <= sample_bytes.saturating_mul(2) {
        return 0;
    }
    candidates.sort_unstable_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
    let mut kept = 0u64;
    let cut = candidates.iter().position(|(_, document)| {
        let is_behind = kept >= sample_bytes;
        kept += document.text.len() as u64;
        is_behind
    });
    let dropped = candidates.drain(cut.unwrap_or(candidates.len())..);
    dropped.map(|(_, document)| document.text.len() as u64).sum()
}
