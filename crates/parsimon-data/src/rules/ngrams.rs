//! Repeated word n-grams.
//!
//! Words are compared by 64-bit hashes: two different n-grams of a text share one with a probability below 10^-8 for a text of 100,000
//! words. An n-gram can repeat only where the (n - 1)-gram at its start does, so each length looks at the places that the one before
//! left, and on text without repetition nearly everything ends after the first pass.

use xxhash_rust::xxh3::xxh3_64;

/// The words of a text as hashes and lengths in code points.
pub(super) struct WordTable {
    hashes: Vec<u64>,
    lengths: Vec<u32>,
    total: u64,
}

/// What is repeated, by n.
#[derive(Clone, Copy, Default)]
pub(super) struct Repeats {
    /// Characters of the most frequent n-gram times its count over all characters of words; 0 when none repeats.
    pub(super) top: f64,
    /// Characters of words in n-grams that occur more than once, over all characters of words.
    pub(super) dup: f64,
}

impl WordTable {
    pub(super) fn new<'a>(words: impl Iterator<Item = &'a str>) -> WordTable {
        let (mut hashes, mut lengths, mut total) = (Vec::new(), Vec::new(), 0);
        for word in words {
            let length = crate::text::char_count(word) as u32;
            hashes.push(xxh3_64(word.as_bytes()));
            lengths.push(length);
            total += u64::from(length);
        }
        WordTable { hashes, lengths, total }
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Characters of all words.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The repeats for n = 2 to 10, at index n.
    pub(super) fn repeats(&self) -> [Repeats; 11] {
        let mut repeats = [Repeats::default(); 11];
        if self.total == 0 {
            return repeats;
        }
        let mut places: Vec<(u32, u64)> = (0u32..).zip(self.hashes.iter().map(|&hash| mix(0, hash))).collect();
        for (n, slot) in repeats.iter_mut().enumerate().skip(2) {
            places.retain_mut(|(at, hash)| {
                let Some(&next) = self.hashes.get(*at as usize + n - 1) else { return false };
                *hash = mix(*hash, next);
                true
            });
            let counts = Counts::of(&places);
            places = counts.repeated(&places);
            if places.is_empty() {
                break;
            }
            let top = counts.top(&places);
            *slot = Repeats { top: self.chars(top.0, n) * f64::from(top.1), dup: self.covered(&places, n) };
            slot.top /= self.total as f64;
            slot.dup /= self.total as f64;
        }
        repeats
    }

    fn chars(&self, at: u32, n: usize) -> f64 {
        f64::from(self.lengths[at as usize..][..n].iter().sum::<u32>())
    }

    /// Characters of words that some n-gram of `places`, which are in order, covers.
    fn covered(&self, places: &[(u32, u64)], n: usize) -> f64 {
        let (mut covered, mut end) = (0u64, 0);
        for &(at, _) in places {
            let from = end.max(at as usize);
            end = at as usize + n;
            covered += self.lengths[from..end].iter().map(|&length| u64::from(length)).sum::<u64>();
        }
        covered as f64
    }
}

fn mix(hash: u64, next: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ next).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Counts of hashes, in an open table.
struct Counts {
    slots: Vec<(u64, u32)>,
}

impl Counts {
    fn of(places: &[(u32, u64)]) -> Counts {
        let mut counts = Counts { slots: vec![(0, 0); (places.len() * 2).next_power_of_two().max(2)] };
        for &(_, hash) in places {
            let at = counts.find(hash);
            counts.slots[at].0 = hash;
            counts.slots[at].1 += 1;
        }
        counts
    }

    fn find(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].1 > 0 && self.slots[at].0 != hash {
            at = (at + 1) & mask;
        }
        at
    }

    fn repeated(&self, places: &[(u32, u64)]) -> Vec<(u32, u64)> {
        places.iter().copied().filter(|&(_, hash)| self.slots[self.find(hash)].1 > 1).collect()
    }

    /// The place and count of the most frequent hash; of equals the one that stands first.
    fn top(&self, places: &[(u32, u64)]) -> (u32, u32) {
        let mut top = (0, 0);
        for &(at, hash) in places {
            let count = self.slots[self.find(hash)].1;
            if count > top.1 {
                top = (at, count);
            }
        }
        top
    }
}

/// A set of 64-bit hashes that grows no further than what it was made for.
pub(super) struct HashSet64 {
    slots: Vec<u64>,
    has_zero: bool,
}

impl HashSet64 {
    /// A set for at most `n` hashes.
    pub(super) fn new(n: usize) -> HashSet64 {
        HashSet64 { slots: vec![0; (n * 2).next_power_of_two().max(2)], has_zero: false }
    }

    /// Whether the hash is new.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        if hash == 0 {
            return !std::mem::replace(&mut self.has_zero, true);
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            if self.slots[at] == hash {
                return false;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = hash;
        true
    }
}
