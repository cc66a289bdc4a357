//! What the machine can do: how fast memory of a given size is read, and how many lookups and products a core makes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use parsimon_lut::Method;
use parsimon_lut::roofline::{read_words, run_peak};
use parsimon_simd::Level;

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
        black_box(read_words(black_box(&words)));
    });
    let reading = (words.len() * 8) as f64 / times.min;
    let mut best = BEST.lock().unwrap_or_else(PoisonError::into_inner);
    let best = best.entry(bytes).or_insert(reading);
    *best = best.max(reading);
    *best
}

/// Bytes a second that one thread looks up, or multiplies and adds, by the method's instruction at `level`; the best reading of this run.
pub(crate) fn peak(method: Method, level: Level) -> Option<f64> {
    static BEST: Mutex<BTreeMap<String, f64>> = Mutex::new(BTreeMap::new());
    const OPERATIONS: usize = 1 << 18;
    let mut operations = None;
    let times = time(Duration::from_millis(10), |_| operations = run_peak(method, level, OPERATIONS));
    let reading = operations? as f64 / times.min;
    let mut best = BEST.lock().unwrap_or_else(PoisonError::into_inner);
    let best = best.entry(format!("{method:?} {level}")).or_insert(reading);
    *best = best.max(reading);
    Some(*best)
}

/// Cycles a second, by a chain of multiplications, which take 3 cycles each on every x86 core of the last ten years.
fn cycles_per_second() -> f64 {
    const LATENCY: f64 = 3.0;
    const STEPS: u64 = 1 << 20;
    let times = time(Duration::from_millis(20), |i| {
        let mut x = i as u64 | 1;
        for _ in 0..STEPS {
            x = black_box(x).wrapping_mul(x);
        }
        black_box(x);
    });
    STEPS as f64 * LATENCY / times.min
}

/// Says how many 512-bit operations a cycle this core makes, which decides what a low-bit kernel can reach here.
pub(crate) fn print_class() {
    let register = |method| Some(peak(method, Level::best())? / 64.0 / cycles_per_second());
    if let (Some(permutes), Some(dots)) = (register(Method::Lut), register(Method::Dot)) {
        let class = if permutes >= 1.5 { "A" } else { "B" };
        eprintln!("class {class}: {permutes:.2} byte permutes and {dots:.2} dot products of 512 bits a cycle");
    }
}
