//! From documents to token shards: a byte-level BPE tokenizer and `.npy` files of 16-bit tokens.

mod export;
mod shards;
mod tokenizer;

pub use export::{ExportFormat, export};
pub use shards::{DocumentEnd, TokenIndex, TokenShard};
pub(crate) use shards::{PackOptions, pack};
pub(crate) use tokenizer::train;
pub use tokenizer::{END_OF_TEXT, TokenizerOptions, train_tokenizer};

/// Parts that ids are spread over by their hash.
pub(crate) const PARTS: usize = 100;

/// Less held-out text than this measures nothing: then more parts are held out, ...
const HELD_OUT_BYTES_MIN: u64 = 16 << 10;

/// ... up to this many.
const HELD_OUT_PARTS_MAX: u64 = 10;

/// Which documents are held out: those whose id falls into the first of 100 parts, so about one in a hundred; in a corpus so small that
/// this is less than 16 KiB of text, into the first ten parts at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldOut {
    parts: u64,
}

impl HeldOut {
    /// Nothing is held out.
    pub(crate) const NONE: HeldOut = HeldOut { parts: 0 };

    /// The choice for a corpus with this many bytes of text in each part.
    pub(crate) fn for_corpus(part_bytes: &[u64; PARTS]) -> HeldOut {
        let mut parts = 1;
        while parts < HELD_OUT_PARTS_MAX && part_bytes[..parts as usize].iter().sum::<u64>() < HELD_OUT_BYTES_MIN {
            parts += 1;
        }
        HeldOut { parts }
    }

    /// Whether the document with this id is held out.
    pub fn contains(self, id: &str) -> bool {
        (part_of(id) as u64) < self.parts
    }
}

/// The part that an id falls into.
pub(crate) fn part_of(id: &str) -> usize {
    (id_hash(id) % PARTS as u64) as usize
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
