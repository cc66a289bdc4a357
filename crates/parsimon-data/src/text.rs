//! Views of a text that rules and deduplication share.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// NFKC and lower case: two texts that differ in neither meaning nor looks become equal.
///
/// ```
/// assert_eq!(parsimon_data::text::normalize("\u{fb01}ne ABC"), "fine abc");
/// ```
pub fn normalize(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => text.to_ascii_lowercase().into(),
            false => text.into(),
        };
    }
    if is_nfkc(text) { text.to_lowercase().into() } else { text.nfkc().collect::<String>().to_lowercase().into() }
}
