//! C4's rules on lines, with the meaning that the FineWeb pipeline gave them.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::Hit;
use crate::text::{self, char_count};

/// A line with a longer word goes.
const WORD_CHARS_MAX: usize = 1000;

/// A line with fewer words goes.
const LINE_WORDS_MIN: usize = 3;

/// A document with fewer sentences in its kept lines goes.
const SENTENCES_MIN: usize = 5;

static CITATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\p{Nd}*]|\[edit]|\[citation needed]").expect("a constant"));

const POLICIES: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

/// The lines that stay, or the rule that drops the document. With `is_strict` a line must end in a mark. `PAPER(redstone §3.3)`
///
/// # Errors
///
/// The rule with its value and threshold.
pub fn edit(text: &str, is_strict: bool) -> Result<String, Hit> {
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut sentences = 0;
    for line in text::lines(text) {
        let line = line.trim_matches(text::is_space);
        let mut n_words = 0;
        let mut has_long = false;
        for word in text::split_space(line) {
            n_words += 1;
            has_long |= word.len() > WORD_CHARS_MAX && char_count(word) > WORD_CHARS_MAX;
        }
        if has_long {
            continue;
        }
        let line = if line.contains('[') { CITATION.replace_all(line, "") } else { line.into() };
        if is_strict && (!line.ends_with(['.', '?', '!', '"', '\'']) || line.ends_with("...")) {
            continue;
        }
        if n_words < LINE_WORDS_MIN {
            continue;
        }
        let lower = line.to_lowercase();
        if lower.contains("lorem ipsum") {
            return Err(Hit { rule: "lorem_ipsum", value: 1.0, threshold: 0.0 });
        }
        if lower.contains("javascript") {
            continue;
        }
        if line.contains('{') {
            return Err(Hit { rule: "curly_bracket", value: 1.0, threshold: 0.0 });
        }
        if POLICIES.iter().any(|policy| lower.contains(policy)) {
            continue;
        }
        sentences += text::sentences(&line).len();
        kept.push(line);
    }
    Hit::below("too_few_sentences", sentences as f64, SENTENCES_MIN as f64)?;
    Ok(kept.join("\n").trim_matches(text::is_space).to_owned())
}
