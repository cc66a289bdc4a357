//! What can be wrong with a web archive.

use std::path::{Path, PathBuf};

use parsimon_core::Diagnose;
use parsimon_core::io::FormatError;

/// A WARC file cannot be read or written. `offset` is a byte offset in the file: of the gzip member in a compressed file, of the
/// record in a plain one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum WarcError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{}: at byte {offset}: the compressed member is damaged: {reason}", file.display())]
    BadMember { file: PathBuf, offset: u64, reason: String },
    #[error("{}: at byte {offset}: not a WARC record header: {reason}", file.display())]
    BadHeader { file: PathBuf, offset: u64, reason: String },
    #[error("{}: at byte {offset}: Content-Length is {given}, and {available} bytes are left", file.display())]
    BadLength { file: PathBuf, offset: u64, given: String, available: u64 },
    #[error("{}: at byte {offset}: the record needs {needed} bytes and the file ends after {available}", file.display())]
    Truncated { file: PathBuf, offset: u64, needed: u64, available: u64 },
    #[error("{}: at byte {offset}: the record has {given} bytes, the limit is {limit}", file.display())]
    RecordTooLarge { file: PathBuf, offset: u64, given: u64, limit: u64 },
}

impl WarcError {
    /// The byte offset that the error speaks of.
    pub fn offset(&self) -> Option<u64> {
        match self {
            WarcError::Format(_) => None,
            WarcError::BadMember { offset, .. }
            | WarcError::BadHeader { offset, .. }
            | WarcError::BadLength { offset, .. }
            | WarcError::Truncated { offset, .. }
            | WarcError::RecordTooLarge { offset, .. } => Some(*offset),
        }
    }
}

impl Diagnose for WarcError {
    fn variant(&self) -> String {
        match self {
            WarcError::Format(inner) => inner.variant(),
            _ => format!("{self:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned(),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            WarcError::Format(inner) => inner.file(),
            WarcError::BadMember { file, .. }
            | WarcError::BadHeader { file, .. }
            | WarcError::BadLength { file, .. }
            | WarcError::Truncated { file, .. }
            | WarcError::RecordTooLarge { file, .. } => Some(file),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            WarcError::Format(inner) => inner.place(),
            _ => self.offset().map(|offset| format!("byte {offset}")),
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            WarcError::Format(inner) => inner.is_bad_input(),
            _ => true,
        }
    }
}
