//! The permutations of MinHash as others draw them, so that signatures can be compared across tools.
//!
//! `h -> (a h + b mod 2^64) mod (2^61 - 1)`, `a` and `b` drawn from a Mersenne Twister.

use parsimon_simd::{Level, Vectorize, vectorize};

/// The prime 2^61 - 1.
pub(super) const PRIME: u64 = (1 << 61) - 1;

/// Lanes that one step of the loop holds in registers.
const STEP: usize = 16;

/// The multipliers and offsets of `n` permutations, padded to whole steps.
pub(super) struct Permutations {
    a: Vec<u64>,
    b: Vec<u64>,
    n: usize,
    level: Level,
}

impl Permutations {
    pub(super) fn new(n: usize, seed: u32) -> Permutations {
        let mut twister = Twister::new(seed);
        let mut a: Vec<u64> = (0..n).map(|_| twister.between(1, PRIME)).collect();
        let mut b: Vec<u64> = (0..n).map(|_| twister.between(0, PRIME)).collect();
        a.resize(n.next_multiple_of(STEP), 1);
        b.resize(n.next_multiple_of(STEP), 0);
        Permutations { a, b, n, level: Level::best() }
    }

    /// Per permutation the least image of `hashes`, which are not empty; `mask` is applied to every image.
    pub(super) fn minima(&self, hashes: &[u64], mask: u64) -> Vec<u64> {
        let mut minima = vec![u64::MAX; self.a.len()];
        vectorize(self.level, Minima { permutations: self, hashes, mask, minima: &mut minima });
        minima.truncate(self.n);
        minima
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> ([u64; 2], [u64; 2]) {
        ([self.a[0], self.a[1]], [self.b[0], self.b[1]])
    }

    #[cfg(test)]
    pub(super) fn with_level(mut self, level: Level) -> Permutations {
        self.level = level;
        self
    }
}

struct Minima<'a> {
    permutations: &'a Permutations,
    hashes: &'a [u64],
    mask: u64,
    minima: &'a mut [u64],
}

impl Vectorize for Minima<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (a, _) = self.permutations.a.as_chunks::<STEP>();
        let (b, _) = self.permutations.b.as_chunks::<STEP>();
        let (minima, _) = self.minima.as_chunks_mut::<STEP>();
        for ((a, b), minima) in a.iter().zip(b).zip(minima) {
            let mut least = *minima;
            for &hash in self.hashes {
                for lane in 0..STEP {
                    let image = hash.wrapping_mul(a[lane]).wrapping_add(b[lane]);
                    let folded = (image & PRIME) + (image >> 61);
                    // One subtraction of the prime is enough, and where it is too much it wraps to a large number.
                    let reduced = folded.min(folded.wrapping_sub(PRIME)) & self.mask;
                    least[lane] = least[lane].min(reduced);
                }
            }
            *minima = least;
        }
    }
}

/// MT19937, seeded by one word.
struct Twister {
    state: [u32; 624],
    at: usize,
}

impl Twister {
    fn new(seed: u32) -> Twister {
        let mut state = [seed; 624];
        for i in 1..624 {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Twister { state, at: 624 }
    }

    fn next(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let word = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let odd = if word & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (word >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// Uniform in `low..high`, where `high` is at most 2^61: 61 bits at a time, those above the range thrown away.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        let range = high - 1 - low;
        loop {
            let word = ((u64::from(self.next()) << 32) | u64::from(self.next())) & PRIME;
            if word <= range {
                return low + word;
            }
        }
    }
}
