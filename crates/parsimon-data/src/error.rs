//! What can go wrong when a corpus is made.

use std::path::{Path, PathBuf};

use parsimon_core::Diagnose;
use parsimon_core::io::FormatError;

use crate::fasttext::ModelError;
use crate::warc::WarcError;

/// A corpus cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum CurateError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Warc(#[from] WarcError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {what} `{id}` is not there", folder.display())]
    NotFound { folder: PathBuf, what: &'static str, id: String },
    #[error("{}: nothing matches `{patterns}`", place.display())]
    NoInput { place: PathBuf, patterns: String },
    #[error("{what} `{given}` cannot be used: {reason}")]
    BadArgument { what: &'static str, given: String, reason: String },
    #[error(
        "{}: the folder belongs to another plan: {field} is {found} there and {expected} now; use --force to start anew, or another folder",
        file.display()
    )]
    PlanMismatch { file: PathBuf, field: &'static str, found: String, expected: String },
    #[error("{}: the folder holds files and no plan.json; use an empty folder", folder.display())]
    NotEmpty { folder: PathBuf },
    #[error("no document is left to train the tokenizer on: every document was rejected or held out")]
    EmptyCorpus,
    #[error("the tokenizer failed: {reason}")]
    Tokenizer { reason: String },
    #[error("cancelled; the same command continues where it stopped")]
    Cancelled,
}

impl Diagnose for CurateError {
    fn variant(&self) -> String {
        match self {
            CurateError::Format(inner) => inner.variant(),
            CurateError::Warc(inner) => inner.variant(),
            _ => format!("{self:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned(),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            CurateError::Format(inner) => inner.file(),
            CurateError::Warc(inner) => inner.file(),
            CurateError::NoInput { place, .. } => Some(place),
            CurateError::PlanMismatch { file, .. } => Some(file),
            CurateError::NotEmpty { folder } | CurateError::NotFound { folder, .. } => Some(folder),
            CurateError::Model(ModelError::Format(inner)) => inner.file(),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            CurateError::Format(inner) => inner.place(),
            CurateError::Warc(inner) => inner.place(),
            CurateError::NoInput { patterns, .. } => Some(patterns.clone()),
            CurateError::PlanMismatch { field, .. } => Some((*field).to_owned()),
            CurateError::BadArgument { what, .. } => Some((*what).to_owned()),
            _ => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            CurateError::Format(inner) => inner.is_bad_input(),
            CurateError::Warc(inner) => inner.is_bad_input(),
            CurateError::Tokenizer { .. } | CurateError::Cancelled => false,
            _ => true,
        }
    }
}
