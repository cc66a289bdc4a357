//! RedStone's rules on sentences: which of them go, and when too many did.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::metrics::ratio;
use crate::record::Decision;
use crate::text::{self, Class, classes_of};

/// More words than this share in dropped sentences drop the document.
pub(super) const DROPPED_WORDS_MAX: f64 = 0.05;

/// The rule that drops the document.
pub(super) const DISCARDED: &str = "line_document_discarded";

/// A sentence with more capitals than this share of its letters goes.
const UPPER_MAX: f64 = 0.6;

/// The rules' names.
pub const LINE_RULES: [&str; 5] =
    ["line_upper_ratio", "line_all_numeric", "line_refinedweb_counter", "line_one_word", "line_exclude_patterns"];

static COUNTER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{Nd}]+[\s\x1c-\x1f]+[a-zA-Z]+\n?$").expect("a constant"));
static EXCLUDED: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(["^sign in", "^sign-in", "^sign up", "^sign-up", r"read more[^\n][^\n][^\n]\n?$", "items in cart"])
        .expect("constants")
});

/// What the rules on sentences say of a document.
#[derive(Clone, PartialEq, Debug)]
pub struct LineVerdict {
    /// By rule of [`LINE_RULES`], the sentences that break it.
    pub violations: [Vec<usize>; LINE_RULES.len()],
    /// The decision on the document.
    pub decision: Decision,
    /// The sentences that are left, one a line.
    pub text: String,
}

/// Checks the sentences of a document. `PAPER(redstone §3.2)`
pub fn check_lines(sentences: &[String]) -> LineVerdict {
    let mut violations: [Vec<usize>; LINE_RULES.len()] = Default::default();
    let mut kept: Vec<&str> = Vec::with_capacity(sentences.len());
    let (mut dropped_words, mut all_words) = (0usize, 0usize);
    for (at, sentence) in sentences.iter().enumerate() {
        let words = text::split_space(sentence).count();
        let broken = broken_rules(sentence, words);
        let is_broken = broken.contains(&true);
        violations.iter_mut().zip(broken).filter(|(_, broken)| *broken).for_each(|(list, _)| list.push(at));
        all_words += words;
        if is_broken {
            dropped_words += words;
        } else {
            kept.push(sentence);
        }
    }
    let value = ratio(dropped_words as f64, all_words as f64);
    let decision = Decision {
        stage: super::STAGE.to_owned(),
        rule: DISCARDED.to_owned(),
        value,
        threshold: DROPPED_WORDS_MAX,
        keep: value <= DROPPED_WORDS_MAX,
    };
    LineVerdict { violations, decision, text: kept.join("\n") }
}

fn broken_rules(sentence: &str, words: usize) -> [bool; LINE_RULES.len()] {
    let normalized = text::normalize_spaces(sentence);
    let stripped = sentence.trim_matches(text::is_space);
    [
        upper_ratio(sentence) > UPPER_MAX,
        !normalized.is_empty() && normalized.chars().all(is_numeric),
        stripped.starts_with(|c: char| classes_of(c).has(Class::DIGIT)) && COUNTER.is_match(stripped),
        words == 1,
        EXCLUDED.is_match(&normalized),
    ]
}

/// Lu over L; 0 without letters.
pub(super) fn upper_ratio(text: &str) -> f64 {
    let (mut upper, mut letters) = (0u32, 0u32);
    for c in text.chars() {
        let class = classes_of(c);
        upper += u32::from(class.has(Class::UPPER));
        letters += u32::from(class.has(Class::LETTER));
    }
    ratio(f64::from(upper), f64::from(letters))
}

fn is_numeric(c: char) -> bool {
    classes_of(c).has(Class::NUMBER.or(Class::SEPARATOR).or(Class::OTHER))
}
