//! Gopher's rules on repetition and quality, with the meaning that the FineWeb pipeline gave them.

use super::Hit;
use super::metrics::{STOP_WORDS, has_letter};
use super::ngrams::HashSet64;
use crate::text::{self, Class, char_count, classes_of};
use xxhash_rust::xxh3::xxh3_64;

/// Largest share of the text in the most frequent n-gram, by n.
const TOP_MAX: [(usize, &str, f64); 3] = [(2, "top_2_gram", 0.20), (3, "top_3_gram", 0.18), (4, "top_4_gram", 0.16)];

/// Largest share of the text in n-grams seen before, by n.
const DUP_MAX: [(usize, &str, f64); 6] = [
    (5, "duplicated_5_n_grams", 0.15),
    (6, "duplicated_6_n_grams", 0.14),
    (7, "duplicated_7_n_grams", 0.13),
    (8, "duplicated_8_n_grams", 0.12),
    (9, "duplicated_9_n_grams", 0.11),
    (10, "duplicated_10_n_grams", 0.10),
];

/// A text without repetition, or the first rule that it breaks. `PAPER(redstone §3.3)`
///
/// # Errors
///
/// The rule with its value and threshold.
pub fn repetition(text: &str) -> Result<(), Hit> {
    if text.is_empty() {
        return Err(Hit { rule: "empty", value: 0.0, threshold: 0.0 });
    }
    let chars = char_count(text) as f64;
    let stripped = text.trim_matches(text::is_space);
    let (copies, copied_chars, n) = second_copies(split_runs(stripped, 2));
    Hit::above("dup_para_frac", copies as f64 / n as f64, 0.30)?;
    Hit::above("dup_para_char_frac", copied_chars as f64 / chars, 0.20)?;
    let (copies, copied_chars, n) = second_copies(split_runs(text, 1));
    Hit::above("dup_line_frac", copies as f64 / n as f64, 0.30)?;
    Hit::above("dup_line_char_frac", copied_chars as f64 / chars, 0.20)?;
    let words: Vec<&str> = text::web_words(text).collect();
    let lengths: Vec<usize> = words.iter().map(|word| char_count(word)).collect();
    for (n, rule, limit) in TOP_MAX {
        Hit::above(rule, top_gram(&words, &lengths, n) as f64 / chars, limit)?;
    }
    let grams = Concatenated::new(&words);
    for (n, rule, limit) in DUP_MAX {
        Hit::above(rule, grams.seen_before(&lengths, n) as f64 / chars, limit)?;
    }
    Ok(())
}

/// Splits at runs of at least `min` line ends, as a regular expression does: what stands between two runs, empty or not.
fn split_runs(text: &str, min: usize) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let (mut start, mut is_over) = (0, false);
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let mut at = start;
        while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
            let from = at + found;
            let to = from + bytes[from..].iter().take_while(|&&b| b == b'\n').count();
            if to - from >= min {
                let part = &text[start..from];
                start = to;
                return Some(part);
            }
            at = to;
        }
        is_over = true;
        Some(&text[start..])
    })
}

/// Of the parts that were there before: their number and characters; and the number of all.
pub(super) fn second_copies<'a>(parts: impl Iterator<Item = &'a str>) -> (usize, usize, usize) {
    let mut seen = std::collections::HashSet::new();
    let (mut copies, mut chars, mut n) = (0, 0, 0);
    for part in parts {
        n += 1;
        if !seen.insert(part) {
            copies += 1;
            chars += char_count(part);
        }
    }
    (copies, chars, n)
}

/// Characters of the most frequent n-gram, its words joined by one blank, times its count, which may be 1.
fn top_gram(words: &[&str], lengths: &[usize], n: usize) -> usize {
    let mut counts: std::collections::HashMap<&[&str], (usize, usize)> = std::collections::HashMap::new();
    for (at, gram) in words.windows(n).enumerate() {
        counts.entry(gram).or_insert((0, at)).0 += 1;
    }
    let top = counts.into_values().max_by_key(|&(count, at)| (count, std::cmp::Reverse(at)));
    top.map_or(0, |(count, at)| count * (lengths[at..at + n].iter().sum::<usize>() + n - 1))
}

/// The words one after the other without blanks: hashes of any run of them.
struct Concatenated {
    text: String,
    ends: Vec<usize>,
}

impl Concatenated {
    fn new(words: &[&str]) -> Concatenated {
        let mut ends = Vec::with_capacity(words.len() + 1);
        ends.push(0);
        let mut text = String::new();
        for word in words {
            text.push_str(word);
            ends.push(text.len());
        }
        Concatenated { text, ends }
    }

    /// Characters of n-grams that were seen before, scanning from the left; one that was is skipped whole.
    fn seen_before(&self, lengths: &[usize], n: usize) -> usize {
        let mut seen = HashSet64::new(lengths.len());
        let (mut at, mut chars) = (0, 0);
        while at + n < self.ends.len() {
            let gram = &self.text[self.ends[at]..self.ends[at + n]];
            if seen.insert(xxh3_64(gram.as_bytes())) {
                at += 1;
            } else {
                chars += lengths[at..at + n].iter().sum::<usize>();
                at += n;
            }
        }
        chars
    }
}

/// A text of words in sentences, or the first rule that it breaks. `PAPER(redstone §3.3)`
///
/// # Errors
///
/// The rule with its value and threshold.
pub fn quality(text: &str) -> Result<(), Hit> {
    let (mut words, mut plain, mut plain_chars, mut alpha) = (0usize, 0usize, 0usize, 0usize);
    let mut stop_words = [false; STOP_WORDS.len()];
    for word in text::web_words(text) {
        words += 1;
        if word.chars().any(|c| !classes_of(c).has(Class::SIMPLIFY_PUNCTUATION)) {
            plain += 1;
            plain_chars += char_count(word);
        }
        alpha += usize::from(has_letter(word));
        if let Some(at) = STOP_WORDS.iter().position(|&known| known == word) {
            stop_words[at] = true;
        }
    }
    Hit::below("gopher_short_doc", plain as f64, 50.0)?;
    Hit::above("gopher_long_doc", plain as f64, 100_000.0)?;
    let mean = plain_chars as f64 / plain as f64;
    Hit::below("gopher_below_avg_threshold", mean, 3.0)?;
    Hit::above("gopher_above_avg_threshold", mean, 10.0)?;
    let per_word = |count: usize| count as f64 / words as f64;
    Hit::above("gopher_too_many_hashes", per_word(text.matches('#').count()), 0.1)?;
    Hit::above("gopher_too_many_ellipsis", per_word(text.matches("...").count() + text.matches('…').count()), 0.1)?;
    let (mut lines, mut bullets, mut ends) = (0usize, 0usize, 0usize);
    for line in text::lines(text) {
        lines += 1;
        bullets += usize::from(line.trim_start_matches(text::is_space).starts_with(['•', '-']));
        let line = line.trim_end_matches(text::is_space);
        ends += usize::from(line.ends_with("...") || line.ends_with('…'));
    }
    Hit::above("gopher_too_many_bullets", bullets as f64 / lines as f64, 0.9)?;
    Hit::above("gopher_too_many_end_ellipsis", ends as f64 / lines as f64, 0.3)?;
    Hit::below("gopher_below_alpha_threshold", per_word(alpha), 0.8)?;
    Hit::below("gopher_enough_stop_words", stop_words.iter().filter(|&&seen| seen).count() as f64, 2.0)
}
