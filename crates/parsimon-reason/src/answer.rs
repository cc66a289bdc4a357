//! Grading: does a predicted answer equal the gold answer?
//!
//! The pipeline is [`extract`] (find the answer in a reply), normalization (one spelling), a parser of a subset of LaTeX and plain
//! formulas, and a comparison by structure. Scalars are compared by evaluating both sides at random points: rational expressions exactly
//! modulo two primes of 61 bits, everything else in complex double-double arithmetic of 31 digits. There is no computer algebra and no
//! time limit by a clock: a step budget bounds every comparison, and what exceeds it is [`Method::Undecided`], which counts as not equal.

mod compare;
mod complex;
mod double;
mod eval;
pub mod evaluators;
mod expr;
mod extract;
mod lex;
mod modular;
mod normalize;
mod parse;

use compare::{Rules, canonical, equal};
use eval::{Budget, Stop};
use expr::Answer;
pub use extract::extract;
use normalize::{normalize, text_key};

/// Longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Steps of one comparison; a step is about ten nanoseconds.
const BUDGET: u64 = 1_000_000;

/// How a verdict was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// One side has no answer.
    Missing,
    /// The normalized texts are the same.
    Text,
    /// The parsed answers were compared.
    Structure,
    /// The step budget or a size limit ended the comparison.
    Undecided,
}

/// Whether two answers are equal, and how that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The prediction is right.
    pub equal: bool,
    /// What decided.
    pub method: Method,
}

/// Compares answers.
///
/// Strict (the default): a percent sign, a unit and a currency may be dropped, a factor of 100 may not; a decimal equals a fraction only
/// where it is exact; an approximation of an irrational number is not equal to it; the brackets of an interval count; clock times compare
/// as texts. [`Grader::lenient`] adds a relative tolerance of 1e-4 and ignores bracket kinds.
///
/// ```
/// use parsimon_reason::Grader;
/// let grader = Grader::strict();
/// assert!(grader.verify("$\\frac{\\sqrt{3}}{3}$", "So it is $\\boxed{1/\\sqrt3}$.").equal);
/// assert!(!grader.verify("\\frac{1}{2^{69}}", "\\frac{1}{2^{68}}").equal);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Grader {
    lenient: bool,
}

/// An answer that was read once and can be compared often.
#[derive(Clone, Debug)]
pub struct Parsed {
    raw: String,
    normalized: String,
    key: String,
    answer: Option<Answer>,
    too_long: bool,
}

impl Parsed {
    /// Reads the answer of a reply.
    pub fn read(text: &str) -> Parsed {
        let too_long = text.len() > ANSWER_BYTES_MAX;
        // A long reply is read from its end, where the answer is.
        let mut from = text.len().saturating_sub(ANSWER_BYTES_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let Some(raw) = extract(&text[from..]) else {
            return Parsed {
                raw: String::new(),
                normalized: String::new(),
                key: String::new(),
                answer: None,
                too_long,
            };
        };
        let normalized = normalize(&raw);
        let key = text_key(&normalized);
        let answer = parse::parse(&normalized).ok().map(canonical);
        Parsed { raw, normalized, key, answer, too_long: too_long && from > 0 && text.trim().len() == raw_len(text) }
    }

    /// The answer as it stands in the reply; empty where there is none.
    pub fn text(&self) -> &str {
        &self.raw
    }
}

fn raw_len(text: &str) -> usize {
    text.trim().len()
}

impl Grader {
    /// Equality of mathematics.
    pub const fn strict() -> Self {
        Grader { lenient: false }
    }

    /// Equality of careless notation: see the type.
    pub const fn lenient() -> Self {
        Grader { lenient: true }
    }

    /// Compares the answer of a reply with the gold answer; never panics, never loops.
    pub fn verify(&self, gold: &str, pred: &str) -> Verdict {
        self.compare(&Parsed::read(gold), &Parsed::read(pred))
    }

    /// As [`Grader::verify`], on answers that were read before.
    pub fn compare(&self, gold: &Parsed, pred: &Parsed) -> Verdict {
        if gold.raw.is_empty() || pred.raw.is_empty() {
            return Verdict { equal: false, method: Method::Missing };
        }
        if gold.raw == pred.raw || !gold.normalized.is_empty() && gold.normalized == pred.normalized {
            return Verdict { equal: true, method: Method::Text };
        }
        if let (Some(a), Some(b)) = (&gold.answer, &pred.answer) {
            let mut budget = Budget(BUDGET);
            match equal(a, b, Rules { lenient: self.lenient }, &mut budget) {
                Ok(true) => return Verdict { equal: true, method: Method::Structure },
                Ok(false) => {}
                Err(Stop::Budget | Stop::Domain) => return Verdict { equal: false, method: Method::Undecided },
            }
        }
        if gold.too_long || pred.too_long {
            return Verdict { equal: false, method: Method::Undecided };
        }
        // Words: at least two characters, so that `x` is not `X`.
        let words = gold.key.chars().filter(|c| c.is_alphabetic()).count() > 0 && gold.key == pred.key;
        Verdict { equal: words, method: if words { Method::Text } else { Method::Structure } }
    }
}

impl Default for Grader {
    fn default() -> Self {
        Grader::strict()
    }
}

#[cfg(test)]
mod tests;
