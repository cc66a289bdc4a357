//! Code on pages: what looks like code, its language, and the numbers of lines that stand between it.

mod gutter;
mod language;

use std::sync::LazyLock;

use regex::RegexSet;

pub use gutter::remove_gutters;
pub use language::{detect_language, language_of_class};

static CODE: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new([
        r"\b(?:if|else|for|while|def|class|include|switch|case|default|const|static|try|catch|exception|continue|open|close|import|var|None|null|true|True|false|False|print|return|sudo|apt-get|wget|\+|-|\*|/|=)\b",
        r"[{};]",
        r"\w+[\s\x1c-\x1f]*\(.*\)",
        r"\w+[\s\x1c-\x1f]*=[\s\x1c-\x1f]*\w+",
    ])
    .expect("constants")
});

/// Whether a piece of text passes for code by RedStone's patterns. It is a generous test: it is meant for the text of elements that a
/// page already marks as code. `PAPER(redstone §3.6)`
///
/// ```
/// assert!(parsimon_data::code::is_code("let x = f(1);"));
/// assert!(!parsimon_data::code::is_code("plain words only"));
/// ```
pub fn is_code(text: &str) -> bool {
    CODE.is_match(text)
}
