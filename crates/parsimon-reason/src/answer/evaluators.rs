//! How each data set states and compares its answers.

use serde::{Deserialize, Serialize};

use super::extract::{after_marker, boxed, last_number};
use super::{Grader, Parsed, extract};

/// A family of data sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluator {
    /// A number: GSM8K, GSM-Hard, SVAMP, MultiArith.
    Number,
    /// Mathematics in LaTeX: MATH.
    Math,
    /// Yes or no: StrategyQA.
    YesNo,
    /// One letter from A to E.
    Choice,
}

const YES: &[&str] = &["proved", "true", "yes", "correct", "positive", "affirmative", "right", "1", "t", "y"];
const NO: &[&str] = &["disproved", "false", "no", "incorrect", "negative", "wrong", "0", "f", "n"];

impl Evaluator {
    /// The answer of a completion, `None` where it has none.
    ///
    /// ```
    /// use parsimon_reason::answer::evaluators::Evaluator;
    /// assert_eq!(Evaluator::Number.answer("So 9 * 2 = 18. The answer is 1,800 dollars."), Some("1800".into()));
    /// assert_eq!(Evaluator::YesNo.answer("The answer is No."), Some("false".into()));
    /// assert_eq!(Evaluator::Choice.answer("The answer is (C)."), Some("C".into()));
    /// ```
    pub fn answer(self, completion: &str) -> Option<String> {
        match self {
            Evaluator::Number => number(completion),
            Evaluator::Math => extract(completion),
            Evaluator::YesNo => yes_no(after_marker(completion).unwrap_or(completion)).map(|yes| yes.to_string()),
            Evaluator::Choice => {
                choice(after_marker(completion).unwrap_or(completion)).map(|letter| letter.to_string())
            }
        }
    }

    /// The gold answer of what a file states: a worked solution, or the answer itself.
    pub fn gold(self, solution: &str) -> Option<String> {
        match self {
            Evaluator::Number => {
                let said = solution.rsplit_once("####").map_or(solution, |(_, said)| said);
                let bare = said.trim().replace([',', '$', '%'], "");
                last_number(&bare).map(str::to_owned)
            }
            Evaluator::Math => boxed(solution).or_else(|| extract(solution)),
            Evaluator::YesNo => yes_no(solution).map(|yes| yes.to_string()),
            Evaluator::Choice => choice(solution).map(|letter| letter.to_string()),
        }
    }

    /// Whether two answers, as [`Evaluator::answer`] and [`Evaluator::gold`] give them, are the same.
    pub fn equal(self, gold: &str, answer: &str) -> bool {
        match self {
            Evaluator::Number | Evaluator::Math => {
                gold == answer && !gold.is_empty()
                    || Grader::strict().compare(&Parsed::read(gold), &Parsed::read(answer)).equal
            }
            Evaluator::YesNo | Evaluator::Choice => !gold.is_empty() && gold.eq_ignore_ascii_case(answer),
        }
    }
}

/// The first number after the last "answer is", or the last number of the text; commas, currency and percent signs are dropped, and the
/// numerals `½`, `¼`, `¾` are read.
fn number(completion: &str) -> Option<String> {
    let spelled: String = completion
        .chars()
        .map(|c| match c {
            '½' => "1/2".to_owned(),
            '¼' => "1/4".to_owned(),
            '¾' => "3/4".to_owned(),
            '$' | '%' => " ".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let found = match after_marker(&spelled) {
        Some(said) => first_number(said)?,
        None => last_number(&spelled)?.to_owned(),
    };
    Some(found.replace(',', ""))
}

fn first_number(text: &str) -> Option<String> {
    // Cut after the first number: what `last_number` finds in the shortest prefix that has one, extended as far as it grows.
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let end = text[start..]
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, ',' | '.' | '/'))
        .map_or(text.len(), |len| start + len);
    last_number(text[..end].trim_end_matches(['.', ',', '/'])).map(str::to_owned)
}

fn yes_no(text: &str) -> Option<bool> {
    let words = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    words.into_iter().find_map(|word| {
        if YES.contains(&word.as_str()) { Some(true) } else { NO.contains(&word.as_str()).then_some(false) }
    })
}

/// The first letter from A to E that stands alone.
fn choice(text: &str) -> Option<char> {
    text.split(|c: char| !c.is_alphanumeric()).find_map(|word| match word.as_bytes() {
        [letter @ b'A'..=b'E'] => Some(char::from(*letter)),
        _ => None,
    })
}
