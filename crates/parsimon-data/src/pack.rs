//! From documents to token shards: a byte-level BPE tokenizer and `.npy` files of 16-bit tokens.

mod shards;
mod tokenizer;

pub(crate) use shards::pack;
pub use shards::{DocumentEnd, TokenIndex, TokenShard};
pub(crate) use tokenizer::train;
pub use tokenizer::{END_OF_TEXT, TokenizerOptions};

/// Whether a document is held out: one id in a hundred, by the low bits of the id, which is a hash.
pub fn is_held_out(id: &str) -> bool {
    id_hash(id).is_multiple_of(100)
}

/// 64 bits of a document's id.
pub(crate) fn id_hash(id: &str) -> u64 {
    u128::from_str_radix(id, 16).map_or_else(|_| xxhash_rust::xxh3::xxh3_64(id.as_bytes()), |id| id as u64)
}

/// The part of a row that packing needs.
#[derive(serde::Deserialize)]
pub(crate) struct DocumentText {
    pub(crate) id: String,
    pub(crate) text: String,
}

#[cfg(test)]
mod tests;
