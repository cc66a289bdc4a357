//! What the released programs do where it differs from ours, for reading their tables: nothing of it is reachable from a search.

use crate::rstar::{Confidence, Consistency};

/// The number of a completion as released with rStar: between the first and the second "answer is" (that spelling only) the first number,
/// without it the last of the text; printed as Python prints a float.
pub fn gsm8k_answer(completion: &str) -> Option<String> {
    let text = completion.replace(',', "");
    let mut parts = text.split("answer is");
    let head = parts.next().unwrap_or("");
    let number = match parts.next() {
        Some(said) => numbers(said).next(),
        None => numbers(head).last(),
    };
    number.and_then(|number| python_float(&number)).map(print_float)
}

/// Whether two answers are equal as released: both read by Python's `float()` and compared as printed.
pub fn gsm8k_equal(a: &str, b: &str) -> bool {
    match (python_float(a), python_float(b)) {
        (Some(a), Some(b)) => print_float(a) == print_float(b),
        _ => false,
    }
}

/// Matches of `-?\d+\.?\d*`.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let signed = chars[at] == '-' && chars.get(at + 1).is_some_and(char::is_ascii_digit);
        if !chars[at].is_ascii_digit() && !signed {
            at += 1;
            continue;
        }
        let start = at;
        at += 1;
        while at < chars.len() && chars[at].is_ascii_digit() {
            at += 1;
        }
        if chars.get(at) == Some(&'.') {
            at += 1;
            while at < chars.len() && chars[at].is_ascii_digit() {
                at += 1;
            }
        }
        found.push(chars[start..at].iter().collect());
    }
    found.into_iter()
}

/// Python's `float()`: blanks around, underscores between digits, `inf` and `nan`; no hexadecimal, no commas.
fn python_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let underscores =
        bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || digit(at.checked_sub(1)) && digit(Some(at + 1)));
    if text.is_empty() || !underscores || text.starts_with('.') && text.len() == 1 {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn print_float(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { format!("{value:?}") }
}

/// The confidence of a list of completions as released: completions without an answer form a group like any other, and can win.
pub fn gsm8k_confidence(completions: &[&str]) -> Option<Confidence> {
    let answers: Vec<Option<String>> = completions.iter().map(|completion| gsm8k_answer(completion)).collect();
    let same = |a: &Option<String>, b: &Option<String>| match (a, b) {
        (Some(a), Some(b)) => gsm8k_equal(a, b),
        (None, None) => true,
        _ => false,
    };
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        match groups.iter_mut().find(|(first, _)| same(&answers[*first], answer)) {
            Some((_, count)) => *count += 1,
            None => groups.push((index, 1)),
        }
    }
    let (first, count) = groups.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    Some(Confidence { answer: answers[first].clone(), index: first, share: count as f64 / completions.len() as f64 })
}

/// The verdict of the released discriminator, which looks at the gold answer: a problem without a right candidate is skipped, and when no
/// right candidate survives the majority of the generator is taken.
pub fn upstream_skips(answers: &[Option<String>], gold: &str, equal: impl Fn(&str, &str) -> bool) -> bool {
    !answers.iter().flatten().any(|answer| equal(gold, answer))
}

/// The consistency rule of a released mode name.
pub fn consistency(mode: &str) -> Option<Consistency> {
    Some(match mode {
        "loose" => Consistency::Loose,
        "mid" => Consistency::Mid,
        "strict" => Consistency::Strict,
        "maj" => Consistency::Majority,
        _ => return None,
    })
}
