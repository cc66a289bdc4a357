//! Exact deduplication: one document of every text stays.
//!
//! Two documents are the same when their texts are equal after [`normalize`] with white space collapsed. The
//! first stays, in the order of shards and of rows inside them, so that the outcome depends on neither threads nor the order in which shards finish.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3;

use crate::text::normalize;

/// The key of a text: xxh3-128 of what makes it the same as another. Two texts out of 10^15 share one by chance with probability 10^-9.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TextKey(pub u128);

impl TextKey {
    /// The key of `text`.
    ///
    /// ```
    /// use parsimon_data::dedup::TextKey;
    /// assert_eq!(TextKey::of("Same  text\n"), TextKey::of("same text"));
    /// ```
    pub fn of(text: &str) -> TextKey {
        let mut hash = Xxh3::new();
        for word in normalize(text).split_whitespace() {
            hash.update(word.as_bytes());
            hash.update(b" ");
        }
        TextKey(hash.digest128())
    }
}

/// Where a document stands: shard, and place among the shard's documents. Ordered by the first, then the second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// The shard.
    pub shard: u32,
    /// The document's place in it.
    pub row: u32,
}

/// Which document of every text stays.
#[derive(Clone, Default, Debug)]
pub struct ExactIndex {
    first: HashMap<TextKey, Position>,
}

impl ExactIndex {
    /// Adds a document; the order of calls does not matter.
    pub fn insert(&mut self, key: TextKey, position: Position) {
        self.first.entry(key).and_modify(|first| *first = position.min(*first)).or_insert(position);
    }

    /// The document that stays of those with this key.
    pub fn first(&self, key: TextKey) -> Option<Position> {
        self.first.get(&key).copied()
    }
}
