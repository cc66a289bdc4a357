//! What can be wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

use crate::{DType, Diagnose};

/// A file cannot be read or written, with the file, the place and the numbers.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum FormatError {
    #[error("{}: cannot {action}: {source}", file.display())]
    Io { file: PathBuf, action: &'static str, source: io::Error },
    #[error("{}: {what} needs {needed} bytes, the file has {available}", file.display())]
    Truncated { file: PathBuf, what: String, needed: u64, available: u64 },
    #[error("{}: {what} is {given}, the limit is {limit}", file.display())]
    LimitExceeded { file: PathBuf, what: String, given: u64, limit: u64 },
    #[error("{}: not valid {format}: {reason}", file.display())]
    Malformed { file: PathBuf, format: &'static str, reason: String },
    #[error("{}: two tensors are named `{tensor}`", file.display())]
    DuplicateTensor { file: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` has dtype {given}, which this reader does not know", file.display())]
    UnsupportedDType { file: PathBuf, tensor: String, given: String },
    #[error("{}: tensor `{tensor}` has dtype {actual}, expected {expected}", file.display())]
    WrongDType { file: PathBuf, tensor: String, expected: &'static str, actual: DType },
    #[error("{}: tensor `{tensor}` has shape {actual:?}, expected {expected:?}", file.display())]
    Shape { file: PathBuf, tensor: String, expected: Vec<usize>, actual: Vec<usize> },
    #[error(
        "{}: tensor `{tensor}` claims bytes {begin}..{end} of {available} bytes of data, and {shape:?} of {dtype} needs {needed} bytes",
        file.display()
    )]
    OutOfBounds {
        file: PathBuf,
        tensor: String,
        begin: u64,
        end: u64,
        available: u64,
        dtype: String,
        shape: Vec<u64>,
        needed: u64,
    },
    #[error("{}: tensors `{first}` and `{second}` overlap at byte {at} of the data", file.display())]
    Overlap { file: PathBuf, first: String, second: String, at: u64 },
    #[error("{}: {} missing: {}", file.display(), tensors_are(names.len()), names.join(", "))]
    MissingTensors { file: PathBuf, names: Vec<String> },
    #[error("{}: the index says that `{tensor}` lies in {shard}, which does not hold it", file.display())]
    IndexMismatch { file: PathBuf, tensor: String, shard: String },
}

fn tensors_are(n: usize) -> String {
    if n == 1 { "1 tensor is".to_owned() } else { format!("{n} tensors are") }
}

impl FormatError {
    /// An I/O error at `file`; `action` completes "cannot ...".
    pub fn io(file: &Path, action: &'static str, source: io::Error) -> Self {
        FormatError::Io { file: file.to_owned(), action, source }
    }
}

impl Diagnose for FormatError {
    fn file(&self) -> Option<&Path> {
        use FormatError::*;
        match self {
            Io { file, .. }
            | Truncated { file, .. }
            | LimitExceeded { file, .. }
            | Malformed { file, .. }
            | DuplicateTensor { file, .. }
            | UnsupportedDType { file, .. }
            | WrongDType { file, .. }
            | Shape { file, .. }
            | OutOfBounds { file, .. }
            | Overlap { file, .. }
            | MissingTensors { file, .. }
            | IndexMismatch { file, .. } => Some(file),
        }
    }

    fn place(&self) -> Option<String> {
        use FormatError::*;
        match self {
            DuplicateTensor { tensor, .. }
            | UnsupportedDType { tensor, .. }
            | WrongDType { tensor, .. }
            | Shape { tensor, .. }
            | OutOfBounds { tensor, .. }
            | IndexMismatch { tensor, .. } => Some(tensor.clone()),
            Overlap { second, .. } => Some(second.clone()),
            MissingTensors { names, .. } => names.first().cloned(),
            Truncated { what, .. } | LimitExceeded { what, .. } => Some(what.clone()),
            Io { .. } | Malformed { .. } => None,
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            FormatError::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
                )
            }
            _ => true,
        }
    }
}
