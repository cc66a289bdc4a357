//! Views of a text that rules, deduplication and models share: normalized, in words, in sentences.

mod classes;
mod sentences;
mod words;

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

pub(crate) use classes::{Class, classes_of, is_space};
pub use sentences::sentences;
pub(crate) use words::{lines, split_space};
pub use words::{preprocess, web_words};

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

/// [`normalize`], stripped, line and paragraph separators as "\n" and every run of other separators as one blank: the text that
/// PAPER(redstone §3.2)'s rules count on.
///
/// ```
/// assert_eq!(parsimon_data::text::normalize_spaces(" A\u{a0}\u{2003}b\u{2028}c "), "a b\nc");
/// ```
pub fn normalize_spaces(text: &str) -> String {
    let normalized = normalize(text);
    let stripped = normalized.trim_matches(is_space);
    let mut out = String::with_capacity(stripped.len());
    // The two substitutions come one after the other, so a separator of lines that follows a blank leaves the blank.
    let mut last = None;
    for c in stripped.chars() {
        let c = match c {
            '\u{2028}' | '\u{2029}' => '\n',
            c if c == ' ' || (!c.is_ascii() && classes_of(c).has(Class::SPACE_SEPARATOR)) => ' ',
            c => {
                out.push(c);
                last = None;
                continue;
            }
        };
        if last != Some(c) {
            out.push(c);
        }
        last = Some(c);
    }
    out
}

/// The form in which near-duplicates are compared: lower case, numbers as 0, punctuation as blanks, white space collapsed, accents
/// removed.
///
/// ```
/// assert_eq!(parsimon_data::text::simplify("Caf\u{e9} \u{2014} 3.14 of 2,000!"), "cafe 0 of 0");
/// ```
pub fn simplify(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut out = String::with_capacity(lower.len());
    let mut chars = lower.chars().peekable();
    let mut pending_space = false;
    let mut push = |c: char| {
        let class = classes_of(c);
        if is_space(c) || class.has(Class::SIMPLIFY_PUNCTUATION) {
            pending_space = true;
        } else if !class.has(Class::MARK_NONSPACING) {
            if std::mem::take(&mut pending_space) && !out.is_empty() {
                out.push(' ');
            }
            out.push(c);
        }
    };
    while let Some(c) = chars.next() {
        if classes_of(c).has(Class::DIGIT) {
            skip_digits(&mut chars);
            if chars.peek().is_some_and(|c| NUMBER_POINTS.contains(c)) {
                let mut ahead = chars.clone();
                ahead.next();
                if ahead.peek().is_some_and(|&c| classes_of(c).has(Class::DIGIT)) {
                    skip_digits(&mut ahead);
                    chars = ahead;
                }
            }
            push('0');
        } else if c.is_ascii() {
            push(c);
        } else if classes_of(c).has(Class::SIMPLIFY_PUNCTUATION) {
            push(' ');
        } else {
            std::iter::once(c).nfd().for_each(&mut push);
        }
    }
    out
}

/// What may stand between the two halves of a number.
const NUMBER_POINTS: [char; 7] = ['.', ',', '\u{60c}', '\u{66b}', '\u{2396}', '\u{2397}', '\u{2398}'];

fn skip_digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.peek().is_some_and(|&c| classes_of(c).has(Class::DIGIT)) {
        chars.next();
    }
}

/// NFC, lower case, no ASCII punctuation, white space collapsed: the text whose 13-character shingles RedStone's near-duplicates share.
pub fn slim(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let lower = text.nfc().collect::<String>().to_lowercase();
    let mut pending_space = false;
    for c in lower.chars().filter(|c| !c.is_ascii_punctuation()) {
        if is_space(c) {
            pending_space = true;
        } else {
            if std::mem::take(&mut pending_space) && !out.is_empty() {
                out.push(' ');
            }
            out.push(c);
        }
    }
    out
}

/// The number of code points.
pub(crate) fn char_count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

#[cfg(test)]
mod tests;
