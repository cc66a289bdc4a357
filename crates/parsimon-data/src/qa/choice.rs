//! Multiple-choice questions in the lines of a text.
//!
//! A stem (a line that ends in `?`, `:` or `___`, or is numbered), three to six options whose labels count up in one family right behind
//! it, and perhaps a line with the answer and one with its explanation.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// An option.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ChoiceOption {
    /// Its label: `A` and so on, whatever the page counts with.
    pub label: String,
    /// Its text, as on the page.
    pub text: String,
}

/// A question with options.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Choice {
    /// The question, without its number.
    pub stem: String,
    /// The options, in order.
    pub options: Vec<ChoiceOption>,
    /// The label of the right one.
    pub answer: Option<String>,
    /// Why.
    pub explanation: Option<String>,
}

static OPTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:- )?(?:\(([A-Ha-h]|[1-8])\)|([A-Ha-h]|[1-8]|iii|ii|iv|i|v)[.)])\s*(\S.*)$").expect("a constant")
});
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\s*(?:Q\s*)?\d{1,3}[.):]\s*").expect("a constant"));
static ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^\s*(?:correct\s+)?(?:answer|ans)\b[^A-Za-z0-9]*(?:is\W+)?([A-H]|[1-8])\b").expect("a constant")
});
static EXPLANATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)^\s*explanation\s*:\s*(\S.*)$").expect("a constant"));

/// The families of labels: which one, and the place in it.
fn place(label: &str) -> Option<(u8, usize)> {
    const ROMAN: [&str; 5] = ["i", "ii", "iii", "iv", "v"];
    if let Some(at) = ROMAN.iter().position(|known| *known == label) {
        return Some((3, at));
    }
    let (&[byte], _) = label.as_bytes().split_first_chunk::<1>()?;
    match byte {
        b'A'..=b'H' => Some((0, usize::from(byte - b'A'))),
        b'a'..=b'h' => Some((1, usize::from(byte - b'a'))),
        b'1'..=b'8' => Some((2, usize::from(byte - b'1'))),
        _ => None,
    }
}

fn option_of(line: &str) -> Option<((u8, usize), &str)> {
    let found = OPTION.captures(line)?;
    let label = found.get(1).or(found.get(2))?.as_str();
    Some((place(label)?, found.get(3)?.as_str().trim()))
}

/// The multiple-choice questions of a text. `PAPER(redstone §3.8)`
pub fn multiple_choice(text: &str) -> Vec<Choice> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut found = Vec::new();
    let mut at = 1;
    while at < lines.len() {
        let options = run_of_options(&lines[at..]);
        let stem = lines[at - 1];
        if options.len() < 3 || !is_stem(stem) {
            at += 1;
            continue;
        }
        at += options.len();
        let mut choice = Choice { stem: stem_text(stem), options, answer: None, explanation: None };
        if let Some(answer) = lines.get(at).and_then(|line| ANSWER.captures(line)) {
            let (_, place) = place(&answer[1].to_ascii_uppercase()).unwrap_or((0, 0));
            choice.answer = choice.options.get(place).map(|option| option.label.clone());
            at += 1;
        }
        if let Some(explanation) = lines.get(at).and_then(|line| EXPLANATION.captures(line)) {
            choice.explanation = Some(explanation[1].trim().to_owned());
            at += 1;
        }
        found.push(choice);
        at += 1;
    }
    found
}

/// Options at the start of `lines` that count up from the first of their family: three to six, or none.
fn run_of_options(lines: &[&str]) -> Vec<ChoiceOption> {
    let mut options = Vec::new();
    let mut family = None;
    for line in lines {
        let Some(((kind, place), text)) = option_of(line) else { break };
        // `i` may be the ninth letter, never here: families end at the eighth.
        if place != options.len() || *family.get_or_insert(kind) != kind {
            break;
        }
        options.push(ChoiceOption { label: char::from(b'A' + place as u8).to_string(), text: text.to_owned() });
    }
    if (3..=6).contains(&options.len()) { options } else { Vec::new() }
}

fn is_stem(line: &str) -> bool {
    let line = line.trim();
    line.ends_with(['?', ':']) || line.ends_with("___") || NUMBERED.is_match(line)
}

fn stem_text(line: &str) -> String {
    NUMBERED.replace(line.trim(), "").trim().to_owned()
}
