//! JSON files with a size limit.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AtomicFile, FormatError, Map};

/// The largest JSON file that [`read_json`] accepts.
pub const JSON_BYTES_MAX: u64 = 16 << 20;

/// Reads a JSON file of at most [`JSON_BYTES_MAX`] bytes.
///
/// # Errors
///
/// [`FormatError::Io`], [`FormatError::LimitExceeded`], or [`FormatError::Malformed`] with line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FormatError> {
    let map = Map::open(path)?;
    if map.len() as u64 > JSON_BYTES_MAX {
        return Err(FormatError::LimitExceeded {
            file: path.to_owned(),
            what: "the length of the JSON file".into(),
            given: map.len() as u64,
            limit: JSON_BYTES_MAX,
        });
    }
    serde_json::from_slice(&map).map_err(|e| FormatError::Malformed {
        file: path.to_owned(),
        format: "JSON",
        reason: e.to_string(),
    })
}

/// Writes a value as indented JSON with a final newline, beside and renamed.
///
/// # Errors
///
/// [`FormatError::Io`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FormatError> {
    let mut file = AtomicFile::create(path)?;
    serde_json::to_writer_pretty(&mut file, value).map_err(|e| FormatError::io(path, "write", e.into()))?;
    file.write_all(b"\n").map_err(|e| FormatError::io(path, "write", e))?;
    file.commit()
}
