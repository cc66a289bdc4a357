//! The metrics of a text.

use std::collections::HashMap;

use crate::extract::Span;
use crate::text::normalize;

/// The metrics of one text. Lengths are in code points of the normalized text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Metrics {
    values: [f64; NAMES.len()],
}

/// The metrics' names, in the order of the values.
const NAMES: [&str; 6] = [
    "doc_word_count",
    "doc_mean_word_len",
    "doc_gopher_symbol_to_word",
    "doc_alpha_word_rate",
    "rr_para_frac",
    "rr_para_char_frac",
];

impl Metrics {
    /// Measures `text` outside the spans of `mask`, which are in order.
    ///
    /// ```text
    /// doc_word_count             words, split at white space
    /// doc_mean_word_len          characters of words / words
    /// doc_gopher_symbol_to_word  (number of "#" + number of "...") / words
    /// doc_alpha_word_rate        words with a letter / words
    /// rr_para_frac               lines that occur more than once, all copies / lines
    /// rr_para_char_frac          their characters / characters of all lines
    /// ```
    ///
    /// Empty lines are no lines; quotients without a denominator are 0.
    pub fn compute(text: &str, mask: &[Span]) -> Metrics {
        let mut prose = String::with_capacity(text.len());
        let mut at = 0;
        for span in mask {
            prose.push_str(text.get(at..span.start).unwrap_or_default());
            at = span.end.max(at);
        }
        prose.push_str(text.get(at..).unwrap_or_default());
        let normalized = normalize(&prose);

        let (mut words, mut word_chars, mut alpha_words) = (0u64, 0u64, 0u64);
        for word in normalized.split_whitespace() {
            words += 1;
            word_chars += char_count(word);
            alpha_words += u64::from(word.chars().any(char::is_alphabetic));
        }
        let symbols = normalized.matches('#').count() + normalized.matches("...").count();
        let (para_frac, para_char_frac) = repeated_lines(&normalized);
        Metrics {
            values: [
                words as f64,
                ratio(word_chars as f64, words as f64),
                ratio(symbols as f64, words as f64),
                ratio(alpha_words as f64, words as f64),
                para_frac,
                para_char_frac,
            ],
        }
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

/// The lines that occur more than once, all copies: their share of the lines and of the lines' characters.
fn repeated_lines(text: &str) -> (f64, f64) {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let (mut lines, mut chars) = (0u64, 0u64);
    for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        *counts.entry(line).or_default() += 1;
        lines += 1;
        chars += char_count(line);
    }
    // Sums of whole numbers: the map's order does not matter.
    let repeated = counts.iter().filter(|&(_, &count)| count > 1);
    let (copies, copied_chars) =
        repeated.fold((0, 0), |(copies, sum), (line, count)| (copies + count, sum + count * char_count(line)));
    (ratio(copies as f64, lines as f64), ratio(copied_chars as f64, chars as f64))
}

fn char_count(text: &str) -> u64 {
    if text.is_ascii() { text.len() as u64 } else { text.chars().count() as u64 }
}

fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}
