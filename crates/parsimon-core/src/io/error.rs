//! What can be wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

use super::gguf::ValueType;
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
    #[error("{}: not a GGUF file: it starts with `{found}`", file.display())]
    NotGguf { file: PathBuf, found: String },
    #[error("{}: GGUF version {given:#x} is not read: {note}", file.display())]
    UnsupportedVersion { file: PathBuf, given: u32, note: &'static str },
    #[error("{}: {what} is {given}, and the rest of the file holds at most {limit}", file.display())]
    CountTooLarge { file: PathBuf, what: &'static str, given: u64, limit: u64 },
    #[error("{}: the key `{key}` occurs twice", file.display())]
    DuplicateKey { file: PathBuf, key: String },
    #[error("{}: the key `{key}` is missing", file.display())]
    MissingKey { file: PathBuf, key: String },
    #[error("{}: the value of `{key}` is of type {actual:?}, expected {expected}", file.display())]
    WrongValueType { file: PathBuf, key: String, expected: &'static str, actual: ValueType },
    #[error("{}: general.alignment is {given}, expected a power of two of 8 to 2^20", file.display())]
    BadAlignment { file: PathBuf, given: String },
    #[error("{}: tensor `{tensor}` of shape {shape:?}: {reason}", file.display())]
    BadShape { file: PathBuf, tensor: String, shape: Vec<u64>, reason: String },
    #[error("{}: tensor `{tensor}` starts at {offset}, which is not a multiple of the alignment {alignment}", file.display())]
    Misaligned { file: PathBuf, tensor: String, offset: u64, alignment: u64 },
    #[error("{}: tensor `{tensor}` has type {id}, which is not read. {hint}", file.display())]
    UnsupportedType { file: PathBuf, tensor: String, id: u32, hint: String },
    #[error("{source}. Open the file with Dialect::{suggested} instead of Dialect::{given}: {evidence}")]
    WrongDialect { file: PathBuf, given: String, suggested: String, evidence: String, source: Box<FormatError> },
    #[error("{}: tensor `{tensor}` has a scale that is not finite in row {row}, block {block}", file.display())]
    NonFiniteBlock { file: PathBuf, tensor: String, row: usize, block: usize },
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
            | IndexMismatch { file, .. }
            | NotGguf { file, .. }
            | UnsupportedVersion { file, .. }
            | CountTooLarge { file, .. }
            | DuplicateKey { file, .. }
            | MissingKey { file, .. }
            | WrongValueType { file, .. }
            | BadAlignment { file, .. }
            | BadShape { file, .. }
            | Misaligned { file, .. }
            | UnsupportedType { file, .. }
            | WrongDialect { file, .. }
            | NonFiniteBlock { file, .. } => Some(file),
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
            | IndexMismatch { tensor, .. }
            | BadShape { tensor, .. }
            | Misaligned { tensor, .. }
            | UnsupportedType { tensor, .. }
            | NonFiniteBlock { tensor, .. } => Some(tensor.clone()),
            DuplicateKey { key, .. } | MissingKey { key, .. } | WrongValueType { key, .. } => Some(key.clone()),
            BadAlignment { .. } => Some("general.alignment".to_owned()),
            WrongDialect { source, .. } => source.place(),
            CountTooLarge { what, .. } => Some((*what).to_owned()),
            Overlap { second, .. } => Some(second.clone()),
            MissingTensors { names, .. } => names.first().cloned(),
            Truncated { what, .. } | LimitExceeded { what, .. } => Some(what.clone()),
            Io { .. } | Malformed { .. } | NotGguf { .. } | UnsupportedVersion { .. } => None,
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
