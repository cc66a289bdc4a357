//! The heuristics of DCLM: RefinedWeb's rules on documents, then on lines.

use std::sync::LazyLock;

use regex::Regex;

use super::metrics::{Metrics, has_letter, ratio};
use super::redstone::upper_ratio;
use super::{Hit, Rules};
use crate::text::{self, char_count};

/// Lines of at most this many words go for a phrase in them.
const PHRASE_WORDS_MAX: usize = 10;

/// More words than this share in dropped lines drop the document.
const DROPPED_WORDS_MAX: f64 = 0.05;

static COUNTER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\W*\d(?:,|\.|\d)*(?:K|k|M|m|B|b)?\s+[a-zA-Z]+\s*$").expect("a constant"));
static PHRASES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:sign-in|sign in|read more\.\.\.|items in cart)|(?:items in cart|read more\.\.\.)$")
        .expect("a constant")
});

/// The lines that stay, or the first rule that drops the document. `PAPER(redstone §3.4)`
///
/// # Errors
///
/// The rule with its value and threshold.
pub fn edit(text: &str) -> Result<String, Hit> {
    if text.trim_matches(text::is_space).is_empty() {
        return Err(Hit { rule: "empty", value: 0.0, threshold: 0.0 });
    }
    let words: Vec<&str> = text::web_words(text).filter(|word| word.chars().any(char::is_alphanumeric)).collect();
    let n = words.len() as f64;
    Hit::below("page_length_min", n, 50.0)?;
    Hit::above("page_length_max", n, 100_000.0)?;
    let mean = words.iter().map(|word| char_count(word)).sum::<usize>() as f64 / n;
    Hit::below("word_length_min", mean, 3.0)?;
    Hit::above("word_length_max", mean, 10.0)?;
    let symbols = text.matches('#').count() + text.matches("...").count() + text.matches('…').count();
    Hit::above("symbol_ratio", symbols as f64 / n, 0.1)?;
    let lines: Vec<&str> = text.split('\n').collect();
    let share = |count: usize| count as f64 / lines.len() as f64;
    let starts = lines.iter().filter(|line| line.trim_start().starts_with(['•', '●', '*', '-']));
    Hit::above("bullet_count", share(starts.count()), 0.9)?;
    let ends = lines.iter().filter(|line| line.trim_end().ends_with("...") || line.trim_end().ends_with('…'));
    Hit::above("ellipsis_count", share(ends.count()), 0.3)?;
    Hit::below("alphabetic_word_ratio", words.iter().filter(|word| has_letter(word)).count() as f64 / n, 0.8)?;
    let stops = words.iter().filter(|word| super::metrics::STOP_WORDS.contains(word)).count();
    Hit::below("stop_word", stops as f64, 2.0)?;
    let repeats = Rules::repetition().check(&Metrics::compute(text, &[]));
    if let Some(decision) = repeats.decisions.iter().find(|decision| !decision.keep) {
        return Err(Hit { rule: "repetition", value: decision.value, threshold: decision.threshold });
    }
    edit_lines(&lines)
}

fn edit_lines(lines: &[&str]) -> Result<String, Hit> {
    let (mut kept, mut all, mut dropped) = (Vec::with_capacity(lines.len()), 0, 0);
    for &line in lines {
        let words = text::split_space(line).count();
        all += words;
        let digits = line.chars().filter(char::is_ascii_digit).count();
        let is_dropped = upper_ratio(line) > 0.5
            || ratio(digits as f64, line.chars().filter(|c| !c.is_whitespace()).count() as f64) >= 0.999_999
            || COUNTER.is_match(line)
            || words < 2
            || (words <= PHRASE_WORDS_MAX && PHRASES.is_match(line.trim()));
        if is_dropped {
            dropped += words;
        } else {
            kept.push(line);
        }
    }
    Hit::above("words_removed_ratio", ratio(f64::from(dropped as u32), f64::from(all as u32)), DROPPED_WORDS_MAX)?;
    Ok(kept.join("\n"))
}
