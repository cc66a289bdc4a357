//! What a formula must be to stay: balanced, shallow, of bounded length.

/// The longest formula, in code points.
const CHARS_MAX: usize = 20_000;

/// The deepest nesting of groups and environments.
const DEPTH_MAX: usize = 64;

/// A formula that is dropped, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants are")]
pub enum InvalidFormula {
    #[error("it is empty")]
    Empty,
    #[error("it has more than 20,000 characters")]
    TooLong,
    #[error("it is nested more than 64 deep")]
    TooDeep,
    #[error("its braces do not match")]
    Braces,
    #[error("its environments do not match")]
    Environments,
    #[error("\\left and \\right do not match")]
    Fences,
    #[error("it has & outside an environment")]
    BareAlignment,
}

/// Checks a formula.
///
/// ```
/// use parsimon_data::math::{InvalidFormula, validate};
/// assert_eq!(validate(r"\frac{a}{b}"), Ok(()));
/// assert_eq!(validate(r"\frac{a"), Err(InvalidFormula::Braces));
/// ```
///
/// # Errors
///
/// What is wrong with it.
pub fn validate(latex: &str) -> Result<(), InvalidFormula> {
    if latex.trim().is_empty() {
        return Err(InvalidFormula::Empty);
    }
    if latex.len() > CHARS_MAX && latex.chars().count() > CHARS_MAX {
        return Err(InvalidFormula::TooLong);
    }
    // Open groups: None for a brace, the name for an environment, and fences as a name that no environment has.
    let mut open: Vec<Option<&str>> = Vec::new();
    let mut rest = latex;
    while let Some(at) = rest.find(['\\', '{', '}', '&']) {
        let (symbol, behind) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = behind;
        match symbol {
            b'{' => open.push(None),
            b'}' if open.pop() != Some(None) => return Err(InvalidFormula::Braces),
            b'}' => {}
            b'&' if !open.iter().flatten().any(|name| *name != FENCE) => return Err(InvalidFormula::BareAlignment),
            b'&' => {}
            _ => {
                let length = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
                let (name, argument) = behind.split_at(length);
                rest = if name.is_empty() { skip_char(behind) } else { argument };
                match name {
                    "begin" => open.push(Some(environment(&mut rest)?)),
                    "end" if open.pop() != Some(Some(environment(&mut rest)?)) => {
                        return Err(InvalidFormula::Environments);
                    }
                    "left" => open.push(Some(FENCE)),
                    "right" if open.pop() != Some(Some(FENCE)) => return Err(InvalidFormula::Fences),
                    _ => {}
                }
                if matches!(name, "left" | "right") {
                    // The delimiter may be an escaped brace; it opens nothing.
                    let after = rest.trim_start();
                    rest =
                        if after.starts_with(['\\', '{', '}']) { skip_char(skip_char_if(after, '\\')) } else { rest };
                }
            }
        }
        if open.len() > DEPTH_MAX {
            return Err(InvalidFormula::TooDeep);
        }
    }
    match open.last() {
        None => Ok(()),
        Some(None) => Err(InvalidFormula::Braces),
        Some(Some(FENCE)) => Err(InvalidFormula::Fences),
        Some(Some(_)) => Err(InvalidFormula::Environments),
    }
}

const FENCE: &str = "\\";

fn skip_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

fn skip_char_if(text: &str, c: char) -> &str {
    text.strip_prefix(c).unwrap_or(text)
}

/// The name in `{name}` behind `\begin` or `\end`, which is passed over.
fn environment<'a>(rest: &mut &'a str) -> Result<&'a str, InvalidFormula> {
    let inside = rest.trim_start().strip_prefix('{').ok_or(InvalidFormula::Environments)?;
    let (name, behind) = inside.split_once('}').ok_or(InvalidFormula::Environments)?;
    *rest = behind;
    Ok(name)
}
