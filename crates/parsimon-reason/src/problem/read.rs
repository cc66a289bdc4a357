//! Readers of problem files; every error names its line.

use std::collections::HashSet;

use serde_json::Value;

use super::{LabeledProblem, Problem};
use crate::error::LoadError;

/// Longest question, in bytes.
const TEXT_MAX: usize = 1 << 20;

/// The layout of a problem file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Lines of `{"question", "answer"}`: GSM8K.
    Gsm8k,
    /// A list of `{"id", "problem", "solution"}`: the sets released with rStar.
    Rstar,
    /// Lines or a list of `{"index", "question", "answer"}`: rStar-Math.
    RstarMath,
    /// One question a line, without gold.
    Plain,
}

impl Format {
    /// Guesses the layout from the text.
    pub fn guess(text: &str) -> Format {
        let head = text.trim_start();
        if head.starts_with('[') {
            return if head.contains("\"question\"") { Format::RstarMath } else { Format::Rstar };
        }
        if !head.starts_with('{') {
            return Format::Plain;
        }
        let first = head.lines().next().unwrap_or("");
        if first.contains("\"problem\"") { Format::Rstar } else { Format::Gsm8k }
    }
}

/// Reads a problem file.
///
/// # Errors
///
/// [`LoadError`]: bad JSON or a missing field with its line, an id that stands twice, a question that is empty, longer than 1 MiB or has
/// NUL bytes, or no problem at all. Nothing is returned then.
pub fn read_problems(text: &str, format: Format) -> Result<Vec<LabeledProblem>, LoadError> {
    let mut problems = Vec::new();
    for (line, row) in rows(text, format)? {
        problems.push(problem(&row, line, problems.len(), format)?);
    }
    if problems.is_empty() {
        return Err(LoadError::Empty);
    }
    let mut ids = HashSet::new();
    match problems.iter().find(|labeled| !ids.insert(labeled.problem.id.as_str())) {
        Some(twice) => Err(LoadError::DuplicateId { id: twice.problem.id.clone() }),
        None => Ok(problems),
    }
}

fn rows(text: &str, format: Format) -> Result<Vec<(usize, Value)>, LoadError> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim().is_empty());
    if format == Format::Plain {
        return Ok(lines.map(|(line, question)| (line, Value::from(question.trim()))).collect());
    }
    let json = |line: usize, text: &str| {
        serde_json::from_str::<Value>(text)
            .map_err(|error| LoadError::Json { line: line + error.line().saturating_sub(1), what: error.to_string() })
    };
    let head = text.trim_start();
    if head.starts_with('[') {
        let Value::Array(items) = json(1, text)? else { return Err(LoadError::Empty) };
        return Ok(items.into_iter().enumerate().map(|(at, item)| (at + 1, item)).collect());
    }
    lines.map(|(line, text)| json(line, text).map(|row| (line, row))).collect()
}

fn problem(row: &Value, line: usize, index: usize, format: Format) -> Result<LabeledProblem, LoadError> {
    let missing = |field: &str| LoadError::MissingField { line, field: field.to_owned() };
    let (question, gold) = match format {
        Format::Plain => (row.as_str(), None),
        Format::Gsm8k | Format::RstarMath => (row.get("question").and_then(Value::as_str), row.get("answer")),
        Format::Rstar => (row.get("problem").and_then(Value::as_str), row.get("solution")),
    };
    let text = question.ok_or_else(|| missing(if format == Format::Rstar { "problem" } else { "question" }))?.trim();
    let bad = |what: &str| LoadError::Text { line, what: what.to_owned() };
    if text.is_empty() {
        return Err(bad("the question is empty"));
    }
    if text.len() > TEXT_MAX {
        return Err(bad("the question is longer than 1 MiB"));
    }
    if text.contains('\0') {
        return Err(bad("the question has a NUL byte"));
    }
    let gold = match gold {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(value)) => Some(value.to_string()),
        Some(Value::Array(items)) => Some(
            items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        Some(Value::Object(_)) => return Err(missing("answer")),
    };
    let id = ["id", "index", "idx"]
        .iter()
        .find_map(|key| row.get(*key))
        .map_or_else(|| index.to_string(), |id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    Ok(LabeledProblem { problem: Problem { id, text: text.to_owned() }, gold })
}
