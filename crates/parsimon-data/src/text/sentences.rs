//! Sentences, by punctuation and a list of abbreviations.
//!
//! The rules are those of the sentence splitter that statistical translation made common, for English. First, blanks become a line end
//! where a mark stands before them and the start of a sentence behind:
//!
//! ```text
//! (a)  [?!]                        blanks  opening*  capital
//! (b)  two or more points          blanks  opening*  capital
//! (c)  [?!.] blanks* closing+      blanks  opening* blanks* capital
//! (d)  [?!.]                       blanks  opening+ blanks* capital
//! ```
//!
//! Then every word that ends in a point ends a sentence when the next word can start one, unless the word is an abbreviation, an
//! acronym, or one of the words that stand before a number and a number follows. "Capital" is Lu or Lo: a script without case counts.

use super::classes::{Class, classes_of};

/// Before these points nothing ends, whatever follows.
const ABBREVIATIONS: &[&str] = &[
    "Adj", "Adm", "Adv", "Asst", "Bart", "Bldg", "Brig", "Bros", "Capt", "Cmdr", "Co", "Col", "Comdr", "Con", "Corp",
    "Cpl", "DR", "Dr", "Drs", "Ens", "Gen", "Gov", "Hon", "Hr", "Hosp", "Insp", "Lt", "MM", "MR", "MRS", "MS", "Maj",
    "Messrs", "Mlle", "Mme", "Mr", "Mrs", "Ms", "Msgr", "Op", "Ord", "Pfc", "Ph", "Prof", "Pvt", "Rep", "Reps", "Res",
    "Rev", "Rt", "Sen", "Sens", "Sfc", "Sgt", "Sr", "St", "Supt", "Surg", "Jan", "Feb", "Mar", "Apr", "Jun", "Jul",
    "Aug", "Sep", "Sept", "Oct", "Nov", "Dec", "Jr", "Ltd", "Inc", "v", "vs", "i.e", "e.g", "rev", "etc", "no", "Nr",
];

/// Before these points nothing ends when a digit follows.
const NUMERIC: &[&str] = &["No", "Nos", "Art", "pp"];

/// The sentences of `text`; a blank line between two paragraphs is an empty sentence.
///
/// ```
/// let text = "Dr. No lives here. He is 5 ft. \"Really?\" Yes.";
/// assert_eq!(parsimon_data::text::sentences(text), ["Dr. No lives here.", "He is 5 ft.", "\"Really?\"", "Yes."]);
/// ```
pub fn sentences(text: &str) -> Vec<String> {
    split_at_points(&split_at_marks(text))
}

fn is_capital(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_uppercase() } else { classes_of(c).has(Class::UPPER.or(Class::LETTER_OTHER)) }
}

/// `'"([¿¡` and Pi.
fn is_opening(c: char) -> bool {
    matches!(c, '\'' | '"' | '(' | '[' | '¿' | '¡') || (!c.is_ascii() && classes_of(c).has(Class::INITIAL))
}

/// `'")]` and Pf.
fn is_closing(c: char) -> bool {
    matches!(c, '\'' | '"' | ')' | ']') || (!c.is_ascii() && classes_of(c).has(Class::FINAL))
}

/// Rules (a) to (d). A run of blanks is decided by what stands around it, which is what the substitutions come to one after the other.
fn split_at_marks(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b' ', &bytes[at..]) {
        let start = at + found;
        let end = start + bytes[start..].iter().take_while(|&&b| b == b' ').count();
        if ends_at_mark(&text[..start], &text[end..]) {
            out.push_str(&text[copied..start]);
            out.push('\n');
            copied = end;
        }
        at = end;
    }
    out.push_str(&text[copied..]);
    out
}

fn ends_at_mark(before: &str, behind: &str) -> bool {
    let Some(last) = before.chars().next_back() else { return false };
    if !matches!(last, '?' | '!' | '.') && !is_closing(last) {
        return false;
    }
    let openings = &behind[..behind.find(|c| !is_opening(c)).unwrap_or(behind.len())];
    let rest = &behind[openings.len()..];
    let blanks = rest.len() - rest.trim_start_matches(' ').len();
    if !rest[blanks..].chars().next().is_some_and(is_capital) {
        return false;
    }
    if matches!(last, '?' | '!' | '.') {
        let is_strong = last != '.' || before.ends_with("..");
        if is_strong && blanks == 0 {
            return true;
        }
        // Rule (d), unless rule (c) has ended the sentence behind the quotes already; it knows no round bracket.
        let has_round = openings.contains('(');
        let ends_behind = blanks > 0 && openings.chars().all(is_closing);
        return !openings.is_empty() && !has_round && !ends_behind;
    }
    let inner = before.trim_end_matches(is_closing).trim_end_matches(' ');
    inner.ends_with(['?', '!', '.'])
}

/// The points at the ends of words.
fn split_at_points(text: &str) -> Vec<String> {
    let mut out = String::with_capacity(text.len());
    let mut words = text.split(' ').filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        out.push_str(word);
        let Some(next) = words.peek() else { break };
        out.push(if ends_at_point(word, next) { '\n' } else { ' ' });
    }
    let lines = out.trim_matches(super::is_space).split('\n');
    lines.map(|line| line.trim_matches(' ').to_owned()).collect()
}

fn ends_at_point(word: &str, next: &str) -> bool {
    let word = word.strip_suffix('\n').unwrap_or(word);
    if !word.ends_with('.') {
        return false;
    }
    let (prefix, closing) = prefix_of(word);
    if closing.is_empty() && is_abbreviation(prefix) {
        return false;
    }
    if is_acronym(word) {
        return false;
    }
    let first = next.trim_start_matches(is_opening).chars().next();
    if !first.is_some_and(|c| is_capital(c) || c.is_ascii_digit()) {
        return false;
    }
    let is_number = next.chars().next().is_some_and(|c| c.is_ascii_digit());
    !(closing.is_empty() && NUMERIC.contains(&prefix) && is_number)
}

/// `([\w.\-]*)([closing%]*)\.+$`, leftmost: the prefix and what closes behind it.
fn prefix_of(word: &str) -> (&str, &str) {
    let is_prefix = |c: char| c == '.' || c == '-' || classes_of(c).has(Class::WORD);
    // Greedy from the left: points belong to the prefix but for the last one, or for those behind closing characters.
    let body = &word[..word.len() - 1];
    let start = body.trim_end_matches(is_prefix);
    if start.len() < body.len() {
        let points = &body[start.len()..];
        let is_points = points.chars().all(|c| c == '.');
        let inner = start.trim_end_matches(|c| is_closing(c) || c == '%');
        if !is_points || inner.len() == start.len() {
            return (points, "");
        }
        return (word_tail(inner, is_prefix), &start[inner.len()..]);
    }
    let inner = body.trim_end_matches(|c| is_closing(c) || c == '%');
    (word_tail(inner, is_prefix), &body[inner.len()..])
}

fn word_tail(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    &text[text.trim_end_matches(belongs).len()..]
}

fn is_abbreviation(prefix: &str) -> bool {
    let mut chars = prefix.chars();
    matches!((chars.next(), chars.next()), (Some('A'..='Z'), None)) || ABBREVIATIONS.contains(&prefix)
}

/// `\.[\p{Lu}\p{Lo}\-]+\.+$`.
fn is_acronym(word: &str) -> bool {
    let body = word.trim_end_matches('.');
    let start = body.trim_end_matches(|c| c == '-' || is_capital(c));
    start.len() < body.len() && start.ends_with('.')
}
