//! Deduplication: equal texts, equal addresses, equal paragraphs, and texts that are nearly the same.
//!
//! | what repeats | how it is found |
//! |---|---|
//! | a text | [`TextKey`], [`ExactIndex`] |
//! | an address | [`url_key`] |
//! | a paragraph on many pages | [`paragraph_key`], [`ParagraphIndex`] |
//! | most of a text | [`Signer`]: MinHash; [`Lsh`]: candidates by bands; [`Components`]: clusters |
//! | a text but for a few words | [`simhash`] |
//! | lines made of word runs seen before | [`Bloom`], in one pass and bounded memory |
//! | any run of bytes | [`repeated_ranges`], by a suffix array |
//!
//! What stays is always the first in the order of shards and rows, so nothing depends on threads. How far duplicates are looked for is the
//! [`Scope`]; PAPER(redstone §3.5) found that a narrow one gives the better corpus.

mod bloom;
mod components;
mod exact;
mod lsh;
mod minhash;
mod paragraph;
mod permutation;
mod simhash;
mod substring;
mod url;

use serde::{Deserialize, Serialize};

pub use bloom::{Bloom, BloomVerdict};
pub use components::Components;
pub use exact::{ExactIndex, Position, TextKey};
pub use lsh::{Lsh, choose_bands, probability};
pub use minhash::{MinHashParams, ShingleHash, Shingles, Signer, jaccard};
pub use paragraph::{ParagraphIndex, paragraph_key};
pub use simhash::simhash;
pub use substring::repeated_ranges;
pub use url::url_key;

/// How far duplicates of a document are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In its archive file, which is its shard.
    Shard,
    /// Among the files of its crawl: those in the same folder.
    Snapshot,
    /// Everywhere.
    #[default]
    Global,
}

#[cfg(test)]
mod tests;
