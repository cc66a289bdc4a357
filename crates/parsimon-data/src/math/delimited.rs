//! Formulas between delimiters in the text of a page.

use std::ops::Range;

use super::sources::Delimiters;
use super::validate::validate;

/// Delimiters that count on every page, and whether they set a formula on lines of its own.
const PAIRS: [(&str, &str, bool); 6] = [
    ("$$", "$$", true),
    ("\\[", "\\]", true),
    ("\\(", "\\)", false),
    ("[itex]", "[/itex]", false),
    ("[math]", "[/math]", false),
    ("[latex]", "[/latex]", false),
];

/// Environments that are formulas without any delimiter.
const ENVIRONMENTS: [&str; 10] =
    ["equation", "equation*", "align", "align*", "gather", "gather*", "multline", "multline*", "eqnarray", "eqnarray*"];

/// The longest formula that is looked for, in bytes.
const LENGTH_MAX: usize = 20_000;

/// A formula in a text.
pub(crate) struct Found {
    /// With its delimiters.
    pub(crate) range: Range<usize>,
    pub(crate) display: bool,
}

/// The formulas of `text`, in order. A pair of delimiters around what is no valid formula is passed over.
pub(crate) fn find(text: &str, delimiters: Delimiters) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = memchr::memchr3(b'$', b'\\', b'[', &text.as_bytes()[at..]) {
        at += next;
        match formula_at(text, at, delimiters) {
            Some((end, display)) => {
                found.push(Found { range: at..end, display });
                at = end;
            }
            None => at += if text[at..].starts_with("$$") { 2 } else { 1 },
        }
    }
    found
}

/// The end of the formula that starts at `at`.
fn formula_at(text: &str, at: usize, delimiters: Delimiters) -> Option<(usize, bool)> {
    let rest = &text[at..];
    let rest = &rest[..rest.floor_char_boundary(LENGTH_MAX)];
    for (open, close, display) in PAIRS {
        if let Some(inside) = rest.strip_prefix(open) {
            let length = inside.find(close)?;
            return is_formula(&inside[..length]).then_some((at + open.len() + length + close.len(), display));
        }
    }
    if let Some(inside) = rest.strip_prefix("\\begin{") {
        let name = inside.split_once('}').map(|(name, _)| name).filter(|name| ENVIRONMENTS.contains(name))?;
        let close = format!("\\end{{{name}}}");
        let end = rest.find(&close)? + close.len();
        return validate(&rest[..end]).is_ok().then_some((at + end, true));
    }
    let inside = rest.strip_prefix('$')?;
    let length = inside.find(['$', '\n']).filter(|&length| inside.as_bytes()[length] == b'$')?;
    let inside = &inside[..length];
    // A lone dollar is money unless the page renders formulas or a command stands inside; formulas do not start or end with blanks.
    let is_tight = !inside.starts_with(' ') && !inside.ends_with(' ');
    let is_meant = delimiters.has_renderer || has_command(inside);
    (is_tight && is_meant && is_formula(inside)).then_some((at + length + 2, false))
}

fn is_formula(inside: &str) -> bool {
    !inside.contains('$') && validate(inside).is_ok()
}

fn has_command(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair[0] == b'\\' && pair[1].is_ascii_alphabetic())
}

/// The formula without its delimiters.
pub(crate) fn strip(formula: &str) -> &str {
    let stripped = PAIRS.iter().find_map(|(open, close, _)| formula.strip_prefix(open)?.strip_suffix(close));
    stripped.or_else(|| formula.strip_prefix('$')?.strip_suffix('$')).unwrap_or(formula).trim()
}
