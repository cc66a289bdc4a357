//! Memory maps: of files (the one unsafe call of this crate), and of zeroed pages.

use std::fs::File;
use std::ops::{Deref, DerefMut};
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

/// Zeroed memory that begins at a page, with the advice to use huge pages where it is large: weights that are streamed over and over.
///
/// Against a `Vec<u8>` this saves loads that straddle cache lines and most misses of the translation cache.
#[derive(Debug)]
pub struct Pages {
    /// `None` when empty, which cannot be mapped.
    map: Option<memmap2::MmapMut>,
}

/// Below this the advice would round up more memory than it helps.
const HUGE_MIN: usize = 2 << 20;

impl Pages {
    /// `len` zeroed bytes.
    ///
    /// # Panics
    ///
    /// When the memory is not there, as for a `Vec`.
    pub fn zeroed(len: usize) -> Pages {
        if len == 0 {
            return Pages { map: None };
        }
        let map = memmap2::MmapMut::map_anon(len).unwrap_or_else(|e| panic!("cannot map {len} bytes of memory: {e}"));
        #[cfg(target_os = "linux")]
        if len >= HUGE_MIN {
            // Advice that a kernel does not know is no failure.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Pages { map: Some(map) }
    }
}

impl Clone for Pages {
    fn clone(&self) -> Self {
        let mut copy = Pages::zeroed(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}
