//! Candidates by bands: two signatures that agree in all values of one band are compared.
//!
//! A pair of similarity `s` becomes a candidate with probability `1 - (1 - s^r)^b` for `b` bands of `r` values.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3;

/// Which documents share a band, found as they come.
#[derive(Clone, Debug)]
pub struct Lsh {
    rows: usize,
    /// Per band, the document that had each key first.
    bands: Vec<HashMap<u64, u32>>,
}

impl Lsh {
    /// An index of signatures with `bands` bands of `rows` values.
    pub fn new(bands: usize, rows: usize) -> Lsh {
        assert!(bands > 0 && rows > 0, "{bands} bands of {rows} values");
        Lsh { rows, bands: vec![HashMap::new(); bands] }
    }

    /// Adds a document and calls `candidate` with the first document of every band key that it shares. Documents come in order: the
    /// first of a key is the one that stays its representative.
    pub fn insert(&mut self, document: u32, signature: &[u64], mut candidate: impl FnMut(u32)) {
        for (index, values) in self.bands.iter_mut().zip(signature.chunks_exact(self.rows)) {
            let mut hash = Xxh3::new();
            values.iter().for_each(|value| hash.update(&value.to_le_bytes()));
            let first = *index.entry(hash.digest()).or_insert(document);
            if first != document {
                candidate(first);
            }
        }
    }
}

/// The probability that a pair of similarity `s` becomes a candidate.
pub fn probability(s: f64, bands: usize, rows: usize) -> f64 {
    1.0 - (1.0 - s.powi(rows as i32)).powi(bands as i32)
}

/// The bands and rows of at most `n` values that lose least around `threshold`: half of what is found below it and half of what is
/// missed above it. `PAPER(redstone §3.5)`
///
/// ```
/// assert_eq!(parsimon_data::dedup::choose_bands(0.8, 256), (17, 15));
/// ```
pub fn choose_bands(threshold: f64, n: usize) -> (usize, usize) {
    let mut best = (f64::INFINITY, (1, 1));
    for bands in 1..=n {
        for rows in 1..=n / bands {
            let found = integral(0.0, threshold, |s| probability(s, bands, rows));
            let missed = integral(threshold, 1.0, |s| 1.0 - probability(s, bands, rows));
            let loss = 0.5 * found + 0.5 * missed;
            if loss < best.0 {
                best = (loss, (bands, rows));
            }
        }
    }
    best.1
}

/// The midpoint rule.
fn integral(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    const STEP: f64 = 0.001;
    let n = ((to - from) / STEP).round().max(1.0) as usize;
    let step = (to - from) / n as f64;
    (0..n).map(|i| f(from + (i as f64 + 0.5) * step)).sum::<f64>() * step
}
