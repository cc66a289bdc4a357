//! The metrics of a text, in the meaning of RedStone's general rules.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::ngrams::WordTable;
use crate::extract::Span;
use crate::text::{self, Class, char_count, classes_of};

/// The metrics of one text. Lengths are in code points.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Metrics {
    values: [f64; NAMES.len()],
}

/// The metrics' names, in the order of the values.
const NAMES: [&str; 20] = [
    "doc_word_count",
    "doc_mean_word_len",
    "doc_gopher_symbol_to_word",
    "doc_alpha_word_rate",
    "doc_el_end_line_rate",
    "doc_bullet_line_rate",
    "doc_gopher_stopword_count",
    "rr_ngram_top_2",
    "rr_ngram_top_3",
    "rr_ngram_top_4",
    "rr_ngram_dup_5",
    "rr_ngram_dup_6",
    "rr_ngram_dup_7",
    "rr_ngram_dup_8",
    "rr_ngram_dup_9",
    "rr_ngram_dup_10",
    "rr_para_frac",
    "rr_para_char_frac",
    "rr_sent_frac",
    "rr_sent_char_frac",
];

/// The words of English that no English text does without.
pub(super) const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// What a line of a list starts with.
const BULLETS: [char; 10] = ['•', '‣', '▶', '◀', '◦', '■', '□', '▪', '▫', '–'];

impl Metrics {
    /// Measures `text` outside the spans of `mask`, which are in order.
    ///
    /// Words are those of the normalized text, split at white space; paragraphs are the lines of the text; sentences are
    /// [`text::sentences`].
    ///
    /// ```text
    /// doc_word_count             words
    /// doc_mean_word_len          characters of words / words
    /// doc_gopher_symbol_to_word  (number of "#" + number of "...") / words
    /// doc_alpha_word_rate        words with a letter / words
    /// doc_el_end_line_rate       sentences that end in "..." / sentences
    /// doc_bullet_line_rate       sentences that start with a bullet / sentences
    /// doc_gopher_stopword_count  occurrences of the be to of and that have with
    /// rr_ngram_top_N             characters of the most frequent N-gram times its count / characters of words
    /// rr_ngram_dup_N             characters of words in N-grams that occur more than once / characters of words
    /// rr_para_frac               paragraphs that occur more than once, all copies / paragraphs
    /// rr_para_char_frac          their characters / characters of all paragraphs
    /// rr_sent_frac, _char_frac   the same of sentences
    /// ```
    ///
    /// Quotients without a denominator are 0. `PAPER(redstone §3.2)`
    pub fn compute(text: &str, mask: &[Span]) -> Metrics {
        if mask.is_empty() {
            return Self::of_prose(text, &text::sentences(text));
        }
        let prose = unmasked(text, mask);
        Self::of_prose(&prose, &text::sentences(&prose))
    }

    /// The metrics of a text whose sentences are known.
    pub(super) fn of_prose(text: &str, sentences: &[String]) -> Metrics {
        let normalized = text::normalize_spaces(text);
        let words = WordTable::new(text::split_space(&normalized));
        let (mut alpha_words, mut stop_words) = (0u64, 0u64);
        for word in text::split_space(&normalized) {
            alpha_words += u64::from(has_letter(word));
            stop_words += u64::from(STOP_WORDS.contains(&word));
        }
        let symbols = normalized.matches('#').count() + normalized.matches("...").count();
        let ellipses = sentences.iter().filter(|sentence| ends_in_ellipsis(sentence)).count();
        let bullets = sentences.iter().filter(|sentence| sentence.trim_start().starts_with(BULLETS)).count();
        let repeats = words.repeats();
        let (para_frac, para_char_frac) = repeated_lines(text.split('\n'));
        let (sent_frac, sent_char_frac) = repeated_lines(sentences.iter().map(String::as_str));
        let n_words = words.len() as f64;
        let n_sentences = sentences.len() as f64;
        let mut values = [0.0; NAMES.len()];
        values[..7].copy_from_slice(&[
            n_words,
            ratio(words.total() as f64, n_words),
            ratio(symbols as f64, n_words),
            ratio(alpha_words as f64, n_words),
            ratio(ellipses as f64, n_sentences),
            ratio(bullets as f64, n_sentences),
            stop_words as f64,
        ]);
        (2..=4).for_each(|n| values[5 + n] = repeats[n].top);
        (5..=10).for_each(|n| values[5 + n] = repeats[n].dup);
        values[16..].copy_from_slice(&[para_frac, para_char_frac, sent_frac, sent_char_frac]);
        Metrics { values }
    }

    /// A metric by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        NAMES.iter().position(|&known| known == name).map(|at| self.values[at])
    }

    /// Every metric with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        NAMES.into_iter().zip(self.values)
    }
}

/// The text outside the spans; the line end behind a span goes with it, so that no empty line is left.
pub(super) fn unmasked(text: &str, mask: &[Span]) -> String {
    let mut prose = String::with_capacity(text.len());
    let mut at = 0;
    for span in mask {
        prose.push_str(text.get(at..span.start).unwrap_or_default());
        at = span.end.max(at);
        if (prose.is_empty() || prose.ends_with('\n')) && text[at..].starts_with('\n') {
            at += 1;
        }
    }
    prose.push_str(text.get(at..).unwrap_or_default());
    prose
}

pub(super) fn has_letter(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_alphabetic())
        || (!word.is_ascii() && word.chars().any(|c| classes_of(c).has(Class::LETTER)))
}

fn ends_in_ellipsis(sentence: &str) -> bool {
    let stripped = sentence.trim_end_matches(text::is_space);
    // NFKC makes three points of the one character, and of points that were made for Chinese.
    stripped.ends_with("...") || (!stripped.is_ascii() && text::normalize(stripped).trim_end().ends_with("..."))
}

/// The lines that occur more than once, all copies: their share of the lines and of the lines' characters.
fn repeated_lines<'a>(lines: impl Iterator<Item = &'a str>) -> (f64, f64) {
    let mut counts: HashMap<u64, (u64, u64)> = HashMap::new();
    let (mut total, mut chars) = (0u64, 0u64);
    for line in lines {
        let length = char_count(line) as u64;
        let entry = counts.entry(xxh3_64(line.as_bytes())).or_insert((0, length));
        entry.0 += 1;
        total += 1;
        chars += length;
    }
    // Sums of whole numbers: the map's order does not matter.
    let repeated = counts.values().filter(|&&(count, _)| count > 1);
    let (copies, copied_chars) =
        repeated.fold((0, 0), |(copies, sum), &(count, length)| (copies + count, sum + count * length));
    (ratio(copies as f64, total as f64), ratio(copied_chars as f64, chars as f64))
}

pub(super) fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}
