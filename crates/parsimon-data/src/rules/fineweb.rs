//! FineWeb's own rules on lines.

use super::Hit;
use super::gopher::second_copies;
use crate::text::{self, Class, char_count, classes_of};

/// A line of at most this many characters is short.
const SHORT_LINE_CHARS: usize = 30;

/// A text of lines that are sentences, or the first rule that it breaks. `PAPER(redstone §3.3)`
///
/// # Errors
///
/// The rule with its value and threshold.
pub fn quality(text: &str) -> Result<(), Hit> {
    let lines: Vec<&str> = text.split('\n').filter(|line| !line.trim_matches(text::is_space).is_empty()).collect();
    if lines.is_empty() {
        return Err(Hit { rule: "empty", value: 0.0, threshold: 0.0 });
    }
    let n = lines.len() as f64;
    let ended =
        lines.iter().filter(|line| line.chars().next_back().is_some_and(|c| classes_of(c).has(Class::TERMINAL)));
    Hit::below("line_punct_ratio", ended.count() as f64 / n, 0.12)?;
    let short = lines.iter().filter(|line| char_count(line) <= SHORT_LINE_CHARS).count();
    Hit::above("short_line_ratio", short as f64 / n, 0.67)?;
    let newlines = text.bytes().filter(|&b| b == b'\n').count();
    let (_, copied_chars, _) = second_copies(lines.iter().copied());
    Hit::above("char_dup_ratio", copied_chars as f64 / (char_count(text) - newlines) as f64, 0.01)?;
    let words = text::web_words(text).count();
    Hit::above("list_ratio", newlines as f64 / words as f64, 0.3)
}
