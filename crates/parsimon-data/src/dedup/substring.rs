//! Exact substrings: every run of bytes that occurred before, found by a suffix array.
//!
//! Suffixes are sorted by doubling: after step k they are in order by their first 2^k bytes, and two ranks of half the length make the
//! next key. It stops once all ranks differ. The longest common prefixes of neighbours (Kasai) then tell where at least `length` bytes
//! repeat; of equal runs the first in the text stays unmarked.

use std::ops::Range;

/// The ranges of `texts` whose bytes occur earlier (in an earlier text, or further left), by text, merged and in order. Runs shorter
/// than `length` are left alone, and no run crosses from one text into the next. `PAPER(redstone §3.5)`
///
/// Memory is about 20 bytes a byte of text, so long corpora go in chunks.
///
/// # Panics
///
/// When `length` is 0 or the texts have 2^32 bytes or more.
pub fn repeated_ranges(texts: &[&[u8]], length: usize) -> Vec<Vec<Range<usize>>> {
    assert!(length > 0, "runs of no bytes");
    let total: usize = texts.iter().map(|text| text.len() + 1).sum();
    assert!(u32::try_from(total).is_ok(), "{total} bytes");
    // A separator of its own behind every text, larger than any byte, so that runs end there.
    let mut symbols: Vec<u32> = Vec::with_capacity(total);
    for (at, text) in texts.iter().enumerate() {
        symbols.extend(text.iter().map(|&b| u32::from(b)));
        symbols.push(256 + at as u32);
    }
    let suffixes = suffix_array(&symbols);
    let prefixes = common_prefixes(&symbols, &suffixes);
    let marks = mark(&suffixes, &prefixes, length);
    let mut ranges = Vec::with_capacity(texts.len());
    let mut start = 0;
    for text in texts {
        ranges.push(merge(&marks[start..start + text.len()]));
        start += text.len() + 1;
    }
    ranges
}

/// Per place, the longest run from there that stands further left too; 0 below `length`.
fn mark(suffixes: &[u32], prefixes: &[u32], length: usize) -> Vec<u32> {
    let mut marks = vec![0; suffixes.len()];
    let mut from = 0;
    while from < suffixes.len() {
        let mut to = from + 1;
        while to < suffixes.len() && prefixes[to] as usize >= length {
            to += 1;
        }
        // Suffixes that share at least `length` bytes: the leftmost is the original. A longer run that two later ones share is covered
        // by the shorter ones that start inside it.
        let first = suffixes[from..to].iter().min().copied();
        for &suffix in &suffixes[from..to] {
            if Some(suffix) != first {
                marks[suffix as usize] = length as u32;
            }
        }
        from = to;
    }
    marks
}

fn merge(marks: &[u32]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, &length) in marks.iter().enumerate().filter(|(_, length)| **length > 0) {
        let end = at + length as usize;
        match ranges.last_mut() {
            Some(last) if last.end >= at => last.end = last.end.max(end),
            _ => ranges.push(at..end),
        }
    }
    ranges
}

fn suffix_array(symbols: &[u32]) -> Vec<u32> {
    let n = symbols.len();
    let mut suffixes: Vec<u32> = (0..n as u32).collect();
    let mut ranks: Vec<u32> = symbols.to_vec();
    let mut width = 0;
    loop {
        let key = |suffix: u32| {
            let second = if width == 0 { 0 } else { ranks.get(suffix as usize + width).map_or(0, |rank| rank + 1) };
            (u64::from(ranks[suffix as usize]) << 32) | u64::from(second)
        };
        suffixes.sort_unstable_by_key(|&suffix| key(suffix));
        let mut next = vec![0; n];
        let mut rank = 0;
        for pair in 0..n {
            if pair > 0 && key(suffixes[pair]) != key(suffixes[pair - 1]) {
                rank += 1;
            }
            next[suffixes[pair] as usize] = rank;
        }
        ranks = next;
        width = if width == 0 { 1 } else { width * 2 };
        if rank as usize + 1 >= n {
            return suffixes;
        }
    }
}

fn common_prefixes(symbols: &[u32], suffixes: &[u32]) -> Vec<u32> {
    let n = symbols.len();
    let mut ranks = vec![0u32; n];
    (0u32..).zip(suffixes).for_each(|(rank, &suffix)| ranks[suffix as usize] = rank);
    let (mut prefixes, mut common) = (vec![0; n], 0usize);
    for at in 0..n {
        let rank = ranks[at] as usize;
        if rank == 0 {
            common = 0;
            continue;
        }
        let before = suffixes[rank - 1] as usize;
        while at + common < n && before + common < n && symbols[at + common] == symbols[before + common] {
            common += 1;
        }
        prefixes[rank] = common as u32;
        common = common.saturating_sub(1);
    }
    prefixes
}
