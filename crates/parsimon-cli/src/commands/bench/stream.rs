//! How fast this process reads memory: all threads, each its own part of a buffer that no cache holds.

use std::hint::black_box;
use std::time::Instant;

use parsimon::lut::roofline::read_words;
use rayon::prelude::*;

/// Bytes of the buffer.
const BYTES: usize = 1 << 29;

/// The best of so many readings counts: what disturbs a probe only slows it down.
const READINGS: usize = 4;

pub(super) fn bytes_per_s() -> f64 {
    // Written, not only reserved, or all pages would be one page of zeros.
    let words: Vec<u64> = (0..BYTES as u64 / 8).into_par_iter().collect();
    let part = words.len().div_ceil(rayon::current_num_threads());
    let best = (0..READINGS).map(|_| {
        let start = Instant::now();
        words.par_chunks(part).for_each(|words| {
            black_box(read_words(words));
        });
        start.elapsed().as_secs_f64()
    });
    BYTES as f64 / best.fold(f64::INFINITY, f64::min)
}
