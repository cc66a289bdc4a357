//! Words and lines, in the several meanings that published rules give them.

use super::classes::{Class, classes_of, is_space};

/// Splits at white space, as Python's `str.split` does.
pub(crate) fn split_space(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// The lines of a text without their ends, as Python's `str.splitlines` makes them: nothing behind the last line end.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().find(|&(_, c)| is_line_end(c));
        let Some((at, c)) = end else { return Some(std::mem::take(&mut rest)) };
        let (line, behind) = (&rest[..at], &rest[at + c.len_utf8()..]);
        rest = if c == '\r' { behind.strip_prefix('\n').unwrap_or(behind) } else { behind };
        Some(line)
    })
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The words of web text: runs of letters, digits and `_` that may be joined inside by `. ' ’ / :`, and runs of symbols.
///
/// In the words of a regular expression, the leftmost matches of `\w+(?:[.'’/:]+\w+)*|[^\w\s]+`.
///
/// ```
/// let words: Vec<_> = parsimon_data::text::web_words("It's 3.5 km -- e.g. here!").collect();
/// assert_eq!(words, ["It's", "3.5", "km", "--", "e.g", ".", "here", "!"]);
/// ```
pub fn web_words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(is_space);
        let first = rest.chars().next()?;
        let length = if is_word(first) { joined_word(rest) } else { run(rest, |c| !is_word(c) && !is_space(c)) };
        let (word, behind) = rest.split_at(length);
        rest = behind;
        Some(word)
    })
}

fn is_word(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { classes_of(c).has(Class::WORD) }
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn joined_word(text: &str) -> usize {
    let mut end = run(text, is_word);
    loop {
        let joint = run(&text[end..], |c| matches!(c, '.' | '\'' | '’' | '/' | ':'));
        let more = run(&text[end + joint..], is_word);
        if joint == 0 || more == 0 {
            return end;
        }
        end += joint + more;
    }
}

/// The tokens that RedStone's text classifiers see: lower case, runs of word characters without digits, 2 to 15 characters long, none
/// that starts with `_`.
///
/// ```
/// assert_eq!(parsimon_data::text::preprocess("A B2B deal: Fran\u{e7}ais _x"), ["deal", "fran\u{e7}ais"]);
/// ```
pub fn preprocess(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let tokens = lower.split(|c: char| !is_word(c) || classes_of(c).has(Class::DIGIT));
    let fits = |token: &&str| (2..=15).contains(&super::char_count(token)) && !token.starts_with('_');
    tokens.filter(fits).map(str::to_owned).collect()
}

/// Beside [`TERMINALS`], the characters that are symbols for the rules of FineWeb's family: ASCII and common punctuation, controls.
pub(super) const SYMBOLS: &[(char, char)] = &[
    ('\u{0}', '\u{8}'),
    ('\u{b}', '\u{1f}'),
    ('\u{22}', '\u{2d}'),
    ('\u{2f}', '\u{2f}'),
    ('\u{3a}', '\u{3e}'),
    ('\u{40}', '\u{40}'),
    ('\u{5b}', '\u{60}'),
    ('\u{7b}', '\u{9f}'),
    ('\u{ab}', '\u{ab}'),
    ('\u{b4}', '\u{b4}'),
    ('\u{bb}', '\u{bb}'),
    ('\u{2013}', '\u{2014}'),
    ('\u{2019}', '\u{2019}'),
    ('\u{201c}', '\u{201e}'),
    ('\u{2026}', '\u{2026}'),
    ('\u{2236}', '\u{2236}'),
    ('\u{2501}', '\u{2501}'),
    ('\u{25ba}', '\u{25ba}'),
    ('\u{3001}', '\u{3001}'),
    ('\u{3008}', '\u{300d}'),
    ('\u{3010}', '\u{3011}'),
    ('\u{ff05}', '\u{ff05}'),
    ('\u{ff08}', '\u{ff09}'),
    ('\u{ff0c}', '\u{ff0c}'),
    ('\u{ff11}', '\u{ff11}'),
    ('\u{ff1a}', '\u{ff1b}'),
    ('\u{ff5e}', '\u{ff5e}'),
];

/// Characters that end a sentence: the Unicode property `Sentence_Terminal`, as the published tools have it; newer versions of Unicode add some.
pub(super) const TERMINALS: &[(char, char)] = &[
    ('\u{21}', '\u{21}'),
    ('\u{2e}', '\u{2e}'),
    ('\u{3f}', '\u{3f}'),
    ('\u{589}', '\u{589}'),
    ('\u{61d}', '\u{61f}'),
    ('\u{6d4}', '\u{6d4}'),
    ('\u{700}', '\u{702}'),
    ('\u{7f9}', '\u{7f9}'),
    ('\u{837}', '\u{837}'),
    ('\u{839}', '\u{839}'),
    ('\u{83d}', '\u{83e}'),
    ('\u{964}', '\u{965}'),
    ('\u{104a}', '\u{104b}'),
    ('\u{1362}', '\u{1362}'),
    ('\u{1367}', '\u{1368}'),
    ('\u{166e}', '\u{166e}'),
    ('\u{1735}', '\u{1736}'),
    ('\u{17d4}', '\u{17d6}'),
    ('\u{17d9}', '\u{17da}'),
    ('\u{1803}', '\u{1803}'),
    ('\u{1809}', '\u{1809}'),
    ('\u{1944}', '\u{1945}'),
    ('\u{1aa8}', '\u{1aab}'),
    ('\u{1b5a}', '\u{1b5b}'),
    ('\u{1b5e}', '\u{1b5f}'),
    ('\u{1b7d}', '\u{1b7e}'),
    ('\u{1c3b}', '\u{1c3c}'),
    ('\u{1c7e}', '\u{1c7f}'),
    ('\u{203c}', '\u{203d}'),
    ('\u{2047}', '\u{2049}'),
    ('\u{2e2e}', '\u{2e2e}'),
    ('\u{2e3c}', '\u{2e3c}'),
    ('\u{2e53}', '\u{2e54}'),
    ('\u{3002}', '\u{3002}'),
    ('\u{a4ff}', '\u{a4ff}'),
    ('\u{a60e}', '\u{a60f}'),
    ('\u{a6f3}', '\u{a6f3}'),
    ('\u{a6f7}', '\u{a6f7}'),
    ('\u{a876}', '\u{a877}'),
    ('\u{a8ce}', '\u{a8cf}'),
    ('\u{a92f}', '\u{a92f}'),
    ('\u{a9c8}', '\u{a9c9}'),
    ('\u{aa5d}', '\u{aa5f}'),
    ('\u{aaf0}', '\u{aaf1}'),
    ('\u{abeb}', '\u{abeb}'),
    ('\u{fe52}', '\u{fe52}'),
    ('\u{fe56}', '\u{fe57}'),
    ('\u{ff01}', '\u{ff01}'),
    ('\u{ff0e}', '\u{ff0e}'),
    ('\u{ff1f}', '\u{ff1f}'),
    ('\u{ff61}', '\u{ff61}'),
    ('\u{10a56}', '\u{10a57}'),
    ('\u{10f55}', '\u{10f59}'),
    ('\u{10f86}', '\u{10f89}'),
    ('\u{11047}', '\u{11048}'),
    ('\u{110be}', '\u{110c1}'),
    ('\u{11141}', '\u{11143}'),
    ('\u{111c5}', '\u{111c6}'),
    ('\u{111cd}', '\u{111cd}'),
    ('\u{111de}', '\u{111df}'),
    ('\u{11238}', '\u{11239}'),
    ('\u{1123b}', '\u{1123c}'),
    ('\u{112a9}', '\u{112a9}'),
    ('\u{1144b}', '\u{1144c}'),
    ('\u{115c2}', '\u{115c3}'),
    ('\u{115c9}', '\u{115d7}'),
    ('\u{11641}', '\u{11642}'),
    ('\u{1173c}', '\u{1173e}'),
    ('\u{11944}', '\u{11944}'),
    ('\u{11946}', '\u{11946}'),
    ('\u{11a42}', '\u{11a43}'),
    ('\u{11a9b}', '\u{11a9c}'),
    ('\u{11c41}', '\u{11c42}'),
    ('\u{11ef7}', '\u{11ef8}'),
    ('\u{11f43}', '\u{11f44}'),
    ('\u{16a6e}', '\u{16a6f}'),
    ('\u{16af5}', '\u{16af5}'),
    ('\u{16b37}', '\u{16b38}'),
    ('\u{16b44}', '\u{16b44}'),
    ('\u{16e98}', '\u{16e98}'),
    ('\u{1bc9f}', '\u{1bc9f}'),
    ('\u{1da88}', '\u{1da88}'),
];
