//! Memory maps of files: the one unsafe call of this crate.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::FormatError;

/// A file mapped for reading.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
}

impl Map {
    /// Maps `path`.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`] when the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Map, FormatError> {
        let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
        let metadata = file.metadata().map_err(|e| FormatError::io(path, "read the length", e))?;
        if metadata.is_dir() {
            return Err(FormatError::io(path, "open", std::io::ErrorKind::IsADirectory.into()));
        }
        if metadata.len() == 0 {
            return Ok(Map { path: path.to_owned(), map: None });
        }
        // SAFETY: the map is private to this value and only read. Rust cannot rule out that another process truncates or rewrites
        // the file meanwhile; like every reader of mapped checkpoints we require that nobody does (documented on `Checkpoint`).
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| FormatError::io(path, "map", e))?;
        Ok(Map { path: path.to_owned(), map: Some(map) })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}
