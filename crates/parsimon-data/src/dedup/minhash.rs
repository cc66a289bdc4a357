//! MinHash: a signature in which two texts agree as often as their shingles do.
//!
//! The share of equal values of two signatures estimates `|A ∩ B| / |A ∪ B|` of the shingle sets with a standard deviation of
//! `sqrt(s (1 - s) / n)`. The kinds that other tools write are here too, bit for bit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh64::xxh64;

use super::permutation::{PRIME, Permutations};
use crate::text;

/// What a text is cut into.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Shingles {
    /// Runs of words of the simplified text.
    Words(usize),
    /// Runs of characters of the slim text; a text with fewer than 200 characters has none.
    Chars(usize),
}

/// How a shingle becomes a number.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum ShingleHash {
    /// xxh3-64.
    Xxh3,
    /// xxh64.
    Xxh64,
    /// The first eight bytes of SHA-1, little-endian.
    Sha1,
    /// The first four; signature values are cut to 32 bits.
    Sha1Narrow,
    /// [`ShingleHash::Sha1`], cut to 61 bits.
    Sha1Masked,
}

/// A kind of signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MinHashParams {
    /// What is hashed.
    pub shingles: Shingles,
    /// How.
    pub hash: ShingleHash,
    /// Bands of the signature.
    pub bands: usize,
    /// Values in a band.
    pub rows: usize,
}

impl Default for MinHashParams {
    fn default() -> MinHashParams {
        MinHashParams { shingles: Shingles::Words(5), hash: ShingleHash::Xxh3, bands: 14, rows: 8 }
    }
}

impl MinHashParams {
    /// The kind called `name`: `native`, `fineweb-xxh64`, `fineweb-sha1`, `fineweb-sha1-32` or `redstone`.
    pub fn from_name(name: &str) -> Option<MinHashParams> {
        let fineweb = |hash| Some(MinHashParams { hash, ..MinHashParams::default() });
        match name {
            "native" => Some(MinHashParams::default()),
            "fineweb-xxh64" => fineweb(ShingleHash::Xxh64),
            "fineweb-sha1" => fineweb(ShingleHash::Sha1),
            "fineweb-sha1-32" => fineweb(ShingleHash::Sha1Narrow),
            // 256 values for a threshold of 0.8: 17 bands of 15, and one value that no band uses.
            "redstone" => Some(MinHashParams {
                shingles: Shingles::Chars(13),
                hash: ShingleHash::Sha1Masked,
                bands: 256,
                rows: 1,
            }),
            _ => None,
        }
    }

    /// Values of a signature.
    pub fn n(&self) -> usize {
        self.bands * self.rows
    }
}

/// Signs texts. `PAPER(redstone §3.5)`
///
/// ```
/// use parsimon_data::dedup::{MinHashParams, Signer};
///
/// let signer = Signer::new(MinHashParams::default());
/// let a = signer.sign("the cat sat on the mat and looked at the moon").unwrap();
/// assert_eq!(Some(&a), signer.sign("The cat sat on the mat, and looked at the moon!").as_ref());
/// assert_eq!(signer.sign("too short"), None);
/// ```
pub struct Signer {
    params: MinHashParams,
    permutations: Permutations,
}

impl Signer {
    /// A signer; its permutations depend on nothing but the number of values.
    pub fn new(params: MinHashParams) -> Signer {
        Signer { params, permutations: Permutations::new(params.n(), 1) }
    }

    /// What it makes.
    pub fn params(&self) -> &MinHashParams {
        &self.params
    }

    /// The signature of a text; `None` when it is too short for a shingle.
    pub fn sign(&self, text: &str) -> Option<Vec<u64>> {
        let mut hashes = self.shingles(text);
        hashes.sort_unstable();
        hashes.dedup();
        let mask = if self.params.hash == ShingleHash::Sha1Narrow { u64::from(u32::MAX) } else { u64::MAX };
        (!hashes.is_empty()).then(|| self.permutations.minima(&hashes, mask))
    }

    /// The hashes of a text's shingles, in order of the text.
    pub fn shingles(&self, text: &str) -> Vec<u64> {
        match self.params.shingles {
            Shingles::Words(n) => self.word_shingles(&text::simplify(text), n),
            Shingles::Chars(n) => self.char_shingles(&text::slim(text), n),
        }
    }

    fn word_shingles(&self, simple: &str, n: usize) -> Vec<u64> {
        // The simplified text has one blank between words, so a shingle is a piece of it.
        let mut starts: Vec<usize> = Vec::with_capacity(simple.len() / 5);
        starts.push(0);
        starts.extend(memchr::memchr_iter(b' ', simple.as_bytes()).map(|at| at + 1));
        starts.push(simple.len() + 1);
        if simple.is_empty() {
            return Vec::new();
        }
        starts.windows(n + 1).map(|window| self.hash(&simple.as_bytes()[window[0]..window[n] - 1])).collect()
    }

    fn char_shingles(&self, slim: &str, n: usize) -> Vec<u64> {
        const CHARS_MIN: usize = 200;
        let mut starts: Vec<usize> = slim.char_indices().map(|(at, _)| at).collect();
        if starts.len() < CHARS_MIN {
            return Vec::new();
        }
        starts.push(slim.len());
        starts.windows(n + 1).map(|window| self.hash(&slim.as_bytes()[window[0]..window[n]])).collect()
    }

    fn hash(&self, shingle: &[u8]) -> u64 {
        let sha1 = |n: usize| {
            let mut bytes = [0; 8];
            bytes[..n].copy_from_slice(&Sha1::digest(shingle)[..n]);
            u64::from_le_bytes(bytes)
        };
        match self.params.hash {
            ShingleHash::Xxh3 => xxh3_64(shingle),
            ShingleHash::Xxh64 => xxh64(shingle, 0),
            ShingleHash::Sha1 => sha1(8),
            ShingleHash::Sha1Narrow => sha1(4),
            ShingleHash::Sha1Masked => sha1(8) & PRIME,
        }
    }
}

/// `|A ∩ B| / |A ∪ B|` of two lists of shingles; 0 when both are empty.
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
    let common = a.intersection(&b).count();
    let all = a.len() + b.len() - common;
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}
