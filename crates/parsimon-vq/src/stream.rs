//! Which random numbers a k-means draws: a stream of its own for every layer, stage and codebook.
//!
//! Nothing else draws, so the result of a layer does not depend on which layers ran before it, and a run that was interrupted continues to
//! the same bytes.

use parsimon_core::{SplitMix64, fnv1a64};

/// What a codebook is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The main codebook.
    Main = 0,
    /// The codebook of what the main one leaves.
    Residual = 1,
    /// The codebook of the outlier columns.
    Outlier = 2,
}

/// The seed of a layer: `seed ^ fnv1a64(name)`.
pub fn layer_seed(seed: u64, name: &str) -> u64 {
    seed ^ fnv1a64(name.as_bytes())
}

/// The generator of stage number `stage` and codebook `book`: `SplitMix64(layer_seed ^ ((stage + 1) << 56) ^ (book << 32))`.
pub fn stream(layer_seed: u64, stage: usize, book: usize) -> SplitMix64 {
    SplitMix64::new(layer_seed ^ ((stage as u64 + 1) << 56) ^ ((book as u64) << 32))
}
