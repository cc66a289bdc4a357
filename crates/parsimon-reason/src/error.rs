//! The errors of the crate, one type a family of operations.

use std::path::{Path, PathBuf};

use parsimon_core::Diagnose;

/// A policy or a value model failed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
#[non_exhaustive]
pub enum PolicyError {
    #[error("expected {expected} choices, got {actual}")]
    ChoiceCount { expected: usize, actual: usize },
    #[error("score {index} is not a finite number")]
    BadScore { index: usize },
    #[error("the prompt was truncated by the server: {tokens} tokens")]
    PromptTruncated { tokens: u64 },
    #[error("{given} stop strings, the server takes at most {limit}")]
    TooManyStops { given: usize, limit: usize },
    #[error("the server rejected the request with status {status}: {message}")]
    Rejected { status: u16, message: String },
    #[error("the server is unavailable after {attempts} attempts: {last}")]
    Unavailable { attempts: u32, last: String },
    #[error("no reply within {millis} ms")]
    Timeout { millis: u64 },
    #[error("a reply is longer than {limit} bytes")]
    ResponseTooLarge { limit: usize },
    #[error("the reply is not what the interface says: {what}")]
    BadReply { what: String },
    #[error("`{backend}` is not a backend: {what}")]
    BadSpec { backend: String, what: String },
    #[error("no recorded reply for the prompt that begins with `{head}`")]
    ReplayMiss { key: String, head: String },
    #[error("the cache file {file} cannot be used: {what}")]
    Cache { file: PathBuf, what: String },
    #[error("the policy has no answer for `{what}`")]
    NoCandidate { what: String },
}

impl Diagnose for PolicyError {
    fn file(&self) -> Option<&Path> {
        match self {
            PolicyError::Cache { file, .. } => Some(file),
            _ => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        matches!(self, PolicyError::BadSpec { .. } | PolicyError::TooManyStops { .. } | PolicyError::ReplayMiss { .. })
    }
}

/// A program could not be run at all; a program that fails is a [`RunOutcome`](crate::policy::RunOutcome).
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
#[non_exhaustive]
pub enum RunnerError {
    #[error("no sandbox on this machine: {missing} is missing")]
    SandboxUnavailable { missing: String },
    #[error("the runner could not start: {what}")]
    Start { what: String },
}

impl Diagnose for RunnerError {}

/// A search ended without an answer.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
#[non_exhaustive]
pub enum SolveError {
    #[error("{0}")]
    Policy(#[from] PolicyError),
    #[error("{0}")]
    Runner(#[from] RunnerError),
    #[error("the policy gave no usable step for the question")]
    NoCandidates,
    #[error("`{field}` is {value}, allowed is {allowed}")]
    Config { field: &'static str, value: String, allowed: &'static str },
    #[error("cancelled")]
    Cancelled,
}

impl Diagnose for SolveError {
    fn variant(&self) -> String {
        match self {
            SolveError::Policy(error) => error.variant(),
            SolveError::Runner(error) => error.variant(),
            other => parsimon_core::variant_name(other),
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            SolveError::Policy(error) => error.is_bad_input(),
            SolveError::Config { .. } => true,
            _ => false,
        }
    }
}

/// A file of problems, trees or rows cannot be read.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
#[non_exhaustive]
pub enum LoadError {
    #[error("line {line}: {what}")]
    Json { line: usize, what: String },
    #[error("line {line}: the field `{field}` is missing or of another type")]
    MissingField { line: usize, field: String },
    #[error("the id `{id}` stands twice")]
    DuplicateId { id: String },
    #[error("line {line}: {what}")]
    Text { line: usize, what: String },
    #[error("there is no problem in the file")]
    Empty,
    #[error("node {tag}: {what}")]
    Tree { tag: String, what: String },
    #[error("{file}: {what}")]
    File { file: PathBuf, what: String },
}

impl Diagnose for LoadError {
    fn file(&self) -> Option<&Path> {
        match self {
            LoadError::File { file, .. } => Some(file),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            LoadError::Json { line, .. } | LoadError::MissingField { line, .. } | LoadError::Text { line, .. } => {
                Some(format!("line {line}"))
            }
            LoadError::Tree { tag, .. } => Some(format!("node {tag}")),
            _ => None,
        }
    }
}
