//! What can be wrong with vectors, parameters, runbooks and the files of an index.

use std::io;
use std::path::{Path, PathBuf};

use parsimon_core::{Cancelled, Diagnose};

/// Two vectors have no distance, or a metric no meaning.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum MetricError {
    #[error("a vector has {actual} elements, expected {expected}")]
    DimMismatch { expected: usize, actual: usize },
    #[error("element {index} of a vector is {value}")]
    NonFinite { index: usize, value: f32 },
    #[error("a vector of length 0 has no direction, which cosine distance needs")]
    ZeroVector,
    #[error("unknown metric `{given}`, expected l2, cosine or ip")]
    UnknownMetric { given: String },
}

impl Diagnose for MetricError {}

/// An operation on an index failed; the index is as it was before.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum AnnError {
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error("unknown {what} `{given}`, expected {expected}")]
    UnknownName { what: &'static str, given: String, expected: &'static str },
    #[error("row {row} cannot be used: {why}")]
    InvalidVector { row: usize, why: String },
    #[error("{what}: expected {expected}, got {actual}")]
    Shape { what: &'static str, expected: usize, actual: usize },
    #[error("{name} = {value}: {why}")]
    InvalidParam { name: &'static str, value: String, why: &'static str },
    #[error("id {id} is live already; upsert replaces it")]
    AlreadyExists { id: u64 },
    #[error("the index holds {limit} internal ids, which is its limit; compact it or start another")]
    CapacityExceeded { limit: u64 },
    #[error("step {step} of the runbook: {why}")]
    Runbook { step: usize, why: String },
    #[error("{what} is not built")]
    Unsupported { what: &'static str },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Vectors(#[from] VectorFileError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl AnnError {
    pub(crate) fn param(name: &'static str, value: impl ToString, why: &'static str) -> Self {
        AnnError::InvalidParam { name, value: value.to_string(), why }
    }
}

impl Diagnose for AnnError {
    fn variant(&self) -> String {
        match self {
            AnnError::Storage(inner) => inner.variant(),
            AnnError::Vectors(inner) => inner.variant(),
            _ => parsimon_core::variant_name(self),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            AnnError::Storage(inner) => inner.file(),
            AnnError::Vectors(inner) => inner.file(),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            AnnError::Storage(inner) => inner.place(),
            AnnError::Vectors(inner) => inner.place(),
            AnnError::InvalidVector { row, .. } => Some(format!("row {row}")),
            AnnError::Runbook { step, .. } => Some(format!("step {step}")),
            AnnError::InvalidParam { name, .. } => Some((*name).to_owned()),
            _ => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            AnnError::Storage(inner) => inner.is_bad_input(),
            AnnError::Vectors(inner) => inner.is_bad_input(),
            AnnError::Cancelled(_) => false,
            _ => true,
        }
    }
}

/// The files of an index cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum StorageError {
    #[error("{file}: cannot {action}: {source}")]
    Io { file: PathBuf, action: &'static str, source: io::Error },
    #[error("no index here: {why}")]
    NotAnIndex { why: String },
    #[error("an index is here already")]
    AlreadyAnIndex,
    #[error("{file}: format {given} is newer than {known}")]
    UnsupportedVersion { file: PathBuf, given: u64, known: u64 },
    #[error("{file}: damaged at byte {offset}: {what}")]
    Corruption { file: PathBuf, offset: u64, what: String },
    #[error("{file} is missing")]
    Missing { file: PathBuf },
    #[error("{file}: {what} does not belong to this index")]
    Mismatch { file: PathBuf, what: String },
    #[error("another process has the index open for writing")]
    Locked,
    #[error("the write-ahead log failed before; reopen the index: {why}")]
    Poisoned { why: String },
}

impl StorageError {
    pub(crate) fn io(file: &str, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => StorageError::Missing { file: file.into() },
            _ => StorageError::Io { file: file.into(), action, source },
        }
    }

    pub(crate) fn damage(file: &str, offset: u64, what: impl Into<String>) -> Self {
        StorageError::Corruption { file: file.into(), offset, what: what.into() }
    }
}

impl Diagnose for StorageError {
    fn file(&self) -> Option<&Path> {
        match self {
            StorageError::Io { file, .. }
            | StorageError::UnsupportedVersion { file, .. }
            | StorageError::Corruption { file, .. }
            | StorageError::Missing { file }
            | StorageError::Mismatch { file, .. } => Some(file),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            StorageError::Corruption { offset, .. } => Some(format!("byte {offset}")),
            _ => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        !matches!(self, StorageError::Io { .. } | StorageError::Poisoned { .. })
    }
}

/// A file of vectors, ids or ground truth cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum VectorFileError {
    #[error("{}: cannot {action}: {source}", file.display())]
    Io { file: PathBuf, action: &'static str, source: io::Error },
    #[error("{}: byte {offset}: {what}", file.display())]
    Format { file: PathBuf, offset: u64, what: String },
    #[error("{}: no format of vectors is known by this name; use {expected}", file.display())]
    UnknownFormat { file: PathBuf, expected: &'static str },
    #[error(transparent)]
    Core(#[from] parsimon_core::io::FormatError),
}

impl Diagnose for VectorFileError {
    fn file(&self) -> Option<&Path> {
        match self {
            VectorFileError::Io { file, .. }
            | VectorFileError::Format { file, .. }
            | VectorFileError::UnknownFormat { file, .. } => Some(file),
            VectorFileError::Core(inner) => inner.file(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            VectorFileError::Format { offset, .. } => Some(format!("byte {offset}")),
            VectorFileError::Core(inner) => inner.place(),
            _ => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            VectorFileError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            VectorFileError::Core(inner) => inner.is_bad_input(),
            _ => true,
        }
    }
}
