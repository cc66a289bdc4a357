//! Sums that do not depend on the number of threads, and draws in proportion to weights.
//!
//! A range is cut into chunks of [`CHUNK`] elements; a chunk is summed from its first element, starting with 0, and the sums of the chunks are
//! added in their order. Chunks run in parallel.

use std::ops::Range;

use parsimon_core::SplitMix64;
use rayon::prelude::*;

/// Elements of a chunk.
pub(crate) const CHUNK: usize = 4096;

/// The ranges of the chunks of `0..n`.
pub(crate) fn chunks(n: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    (0..n.div_ceil(CHUNK)).into_par_iter().map(move |chunk| chunk * CHUNK..((chunk + 1) * CHUNK).min(n))
}

/// The sums of the chunks of `term(0) .. term(n - 1)`.
pub(crate) fn chunk_sums(n: usize, term: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
    chunks(n).map(|range| sum(range.map(&term))).collect()
}

/// Sequential from 0.
pub(crate) fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    terms.fold(0.0, |sum, term| sum + term)
}

/// Draws an index in proportion to `weight(i) >= 0`, given the sums of the chunks. Without a positive weight it draws nothing and consumes no number.
pub(crate) fn draw(sums: &[f64], n: usize, weight: impl Fn(usize) -> f64, rng: &mut SplitMix64) -> Option<usize> {
    let total = sum(sums.iter().copied());
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    let target = rng.next_f64() * total;
    let last = sums.iter().rposition(|&sum| sum > 0.0)?;
    let mut reached = 0.0;
    for (chunk, sum) in sums.iter().enumerate() {
        if reached + sum <= target && chunk < last {
            reached += sum;
            continue;
        }
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(n);
        let mut positive = None;
        for i in range {
            let weight = weight(i);
            reached += weight;
            if weight > 0.0 {
                positive = Some(i);
            }
            if reached > target {
                return Some(i);
            }
        }
        return positive;
    }
    None
}

#[cfg(test)]
mod tests;
