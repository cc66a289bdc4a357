//! SimHash: 64 bits of which few differ between texts that differ in few words.

use xxhash_rust::xxh3::xxh3_64;

use crate::text;

/// The SimHash of a text over its word 3-grams; `None` when it has none. Two texts are near when at most 3 bits differ.
///
/// ```
/// use parsimon_data::dedup::simhash;
/// assert_eq!(simhash("One, two three four"), simhash("one two three FOUR"));
/// ```
pub fn simhash(text: &str) -> Option<u64> {
    let simple = text::simplify(text);
    let words: Vec<&str> = simple.split(' ').collect();
    let mut sums = [0i32; 64];
    for gram in words.windows(3) {
        let hash = xxh3_64(gram.join(" ").as_bytes());
        sums.iter_mut().enumerate().for_each(|(bit, sum)| *sum += if hash >> bit & 1 == 1 { 1 } else { -1 });
    }
    let bits = sums.iter().enumerate().fold(0, |bits, (bit, &sum)| bits | u64::from(sum > 0) << bit);
    (words.len() >= 3).then_some(bits)
}
