//! What can be wrong with a `.pth` file.

use std::path::{Path, PathBuf};

use crate::Diagnose;
use crate::io::FormatError;

/// A `.pth` file cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum PthError {
    #[error(transparent)]
    Io(Box<FormatError>),
    #[error("{}: not a zip archive", file.display())]
    NotAZip { file: PathBuf },
    #[error("{}: a file of the format before zip archives; save it again with a newer PyTorch", file.display())]
    LegacyFormat { file: PathBuf },
    #[error("{}: {what} ends beyond the file ({needed} of {available} bytes)", file.display())]
    Truncated { file: PathBuf, what: String, needed: u64, available: u64 },
    #[error("{}: entry `{entry}` is not stored plainly (method {method}, flags {flags:#06x})", file.display())]
    UnsupportedCompression { file: PathBuf, entry: String, method: u16, flags: u16 },
    #[error("{}: entry `{entry}` has checksum {actual:#010x}, expected {expected:#010x}", file.display())]
    ChecksumMismatch { file: PathBuf, entry: String, expected: u32, actual: u32 },
    #[error("{}: entry `{entry}` occurs twice, or overlaps another", file.display())]
    DuplicateEntry { file: PathBuf, entry: String },
    #[error("{}: {count} entries are named `{name}`, expected one", file.display())]
    MissingEntry { file: PathBuf, name: String, count: usize },
    #[error("{}: byte order `{found}`, only little is read", file.display())]
    UnsupportedByteOrder { file: PathBuf, found: String },
    #[error("{}: the pickle names `{module} {name}` at byte {offset}, which is not allowed; nothing was run", file.display())]
    ForbiddenGlobal { file: PathBuf, module: String, name: String, offset: usize },
    #[error("{}: pickle instruction {op:#04x} at byte {offset} is not allowed", file.display())]
    UnsupportedOpcode { file: PathBuf, op: u8, offset: usize },
    #[error("{}: pickle protocol {version}, expected 2 to 5", file.display())]
    UnsupportedProtocol { file: PathBuf, version: u8 },
    #[error("{}: the pickle is not well formed at byte {offset}: {reason}", file.display())]
    BadPickle { file: PathBuf, reason: String, offset: usize },
    #[error("{}: tensor `{tensor}` lies in `{entry}`, which is missing", file.display())]
    MissingStorage { file: PathBuf, tensor: String, entry: String },
    #[error("{}: a storage that is not understood at byte {offset}: {reason}", file.display())]
    UnsupportedStorage { file: PathBuf, reason: String, offset: usize },
    #[error("{}: tensor `{tensor}` needs {needed} numbers of a storage of {available}", file.display())]
    StorageOutOfBounds { file: PathBuf, tensor: String, needed: u64, available: u64 },
    #[error("{}: {what}: {given} is above the limit of {limit}", file.display())]
    LimitExceeded { file: PathBuf, what: &'static str, given: u64, limit: u64 },
}

impl Diagnose for PthError {}

/// The file that errors name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
}

impl Place<'_> {
    pub(super) fn limit(&self, what: &'static str, given: u64, limit: u64) -> PthError {
        PthError::LimitExceeded { file: self.file.to_owned(), what, given, limit }
    }

    pub(super) fn bad_pickle(&self, reason: String, offset: usize) -> PthError {
        PthError::BadPickle { file: self.file.to_owned(), reason, offset }
    }

    pub(super) fn truncated(&self, what: &str, needed: u64, available: usize) -> PthError {
        PthError::Truncated { file: self.file.to_owned(), what: what.to_owned(), needed, available: available as u64 }
    }
}
