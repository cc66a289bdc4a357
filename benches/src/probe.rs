//! What the machine can do: how fast memory of a given size is read.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use parsimon_simd::{Level, Vectorize, vectorize};

use crate::measure::time;

/// The processor's name, as Linux tells it.
pub(crate) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Bytes a second of one thread that reads `bytes` of memory over and over: cache or DRAM, by size.
///
/// The best reading of a size in this run: a disturbed probe would make every kernel look better than it is. A plain read loop, so a kernel
/// that prefetches can be a little faster.
pub(crate) fn read_bandwidth(bytes: usize) -> f64 {
    static BEST: Mutex<BTreeMap<usize, f64>> = Mutex::new(BTreeMap::new());
    let words = vec![1u64; (bytes / 8).max(64)];
    let times = time(Duration::from_millis(200), |_| {
        black_box(vectorize(Level::best(), Sum(black_box(&words))));
    });
    let reading = (words.len() * 8) as f64 / times.min;
    let mut best = BEST.lock().unwrap_or_else(PoisonError::into_inner);
    let best = best.entry(bytes).or_insert(reading);
    *best = best.max(reading);
    *best
}

struct Sum<'a>(&'a [u64]);

impl Vectorize for Sum<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> u64 {
        const LANES: usize = 32;
        let mut lanes = [0u64; LANES];
        for block in self.0.as_chunks::<LANES>().0 {
            for (lane, word) in lanes.iter_mut().zip(block) {
                *lane ^= word;
            }
        }
        lanes.iter().fold(0, |all, lane| all ^ lane)
    }
}
