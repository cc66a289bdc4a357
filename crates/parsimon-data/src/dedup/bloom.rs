//! A Bloom filter over word runs: in one pass and a fixed memory it drops the lines that are mostly made of what was seen.
//!
//! Decided first, inserted afterwards: the lines of one document never count against each other, which a filter that inserts while it
//! decides gets wrong. The filter is a table of 64-byte blocks and a key's bits lie in one of them, so that a look-up costs one miss.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::text;

/// Words of a shingle.
const SHINGLE: usize = 13;

/// A line goes when more than this share of its shingles was seen, and a document when all of its shingles together pass it.
const SEEN_MAX: f64 = 0.8;

/// 64-bit words of a block.
const BLOCK: usize = 8;

/// The filter.
#[derive(Clone, Debug)]
pub struct Bloom {
    words: Vec<u64>,
    n_hashes: u32,
    seed: u64,
}

/// What the filter says of a document.
#[derive(Clone, PartialEq, Debug)]
pub struct BloomVerdict {
    /// The lines that stay, one a line.
    pub text: String,
    /// Lines that go.
    pub lines_dropped: usize,
    /// Whether the document as a whole was seen.
    pub is_duplicate: bool,
}

impl Bloom {
    /// A filter for `n` shingles with a rate `p` of false positives: `m = -n ln p / ln^2 2` bits.
    ///
    /// # Panics
    ///
    /// When `p` is not between 0 and 1.
    pub fn new(n: u64, p: f64, seed: u64) -> Bloom {
        assert!(p > 0.0 && p < 1.0, "a rate of false positives of {p}");
        let bits = -(n.max(1) as f64) * p.ln() / std::f64::consts::LN_2.powi(2);
        let blocks = (bits / (BLOCK * 64) as f64).ceil().max(1.0) as usize;
        let n_hashes = (bits / n.max(1) as f64 * std::f64::consts::LN_2).round().clamp(1.0, 16.0) as u32;
        Bloom { words: vec![0; blocks * BLOCK], n_hashes, seed }
    }

    /// Bytes of the table.
    pub fn len_bytes(&self) -> usize {
        self.words.len() * 8
    }

    fn places(&self, key: &[u8]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let hash = xxh3_128_with_seed(key, self.seed);
        let (block, mut bits) = ((hash >> 64) as u64, hash as u64);
        let block = (block % (self.words.len() / BLOCK) as u64) as usize * BLOCK;
        (0..self.n_hashes).map(move |_| {
            let place = (bits >> 55) as usize;
            bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
            (block + place / 64, 1 << (place % 64))
        })
    }

    /// Whether the key may have been inserted; never false for one that was.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.places(key).all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// Inserts a key.
    pub fn insert(&mut self, key: &[u8]) {
        for (word, bit) in self.places(key) {
            self.words[word] |= bit;
        }
    }

    /// Decides over a document, then inserts it. `PAPER(redstone §3.5)`
    pub fn filter(&mut self, document: &str) -> BloomVerdict {
        let lines: Vec<&str> = document.split('\n').collect();
        let shingles: Vec<Vec<String>> = lines.iter().map(|line| shingles(line)).collect();
        let (mut kept, mut lines_dropped, mut seen_all, mut n_all) = (Vec::new(), 0, 0, 0);
        for (line, shingles) in lines.iter().zip(&shingles) {
            let seen = shingles.iter().filter(|shingle| self.contains(shingle.as_bytes())).count();
            seen_all += seen;
            n_all += shingles.len();
            if seen as f64 > SEEN_MAX * shingles.len() as f64 {
                lines_dropped += 1;
            } else {
                kept.push(*line);
            }
        }
        shingles.iter().flatten().for_each(|shingle| self.insert(shingle.as_bytes()));
        let is_duplicate = seen_all as f64 > SEEN_MAX * f64::from(n_all as u32);
        BloomVerdict { text: kept.join("\n"), lines_dropped, is_duplicate }
    }
}

/// The runs of 13 words of a line; a shorter line is one run.
fn shingles(line: &str) -> Vec<String> {
    let words: Vec<&str> = text::split_space(line).collect();
    if words.is_empty() {
        return Vec::new();
    }
    words.windows(SHINGLE.min(words.len())).map(|run| run.join(" ").to_lowercase()).collect()
}
