//! Writing beside and renaming: a file appears whole under its name, or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::FormatError;

/// A file that is written beside its final name and renamed by [`AtomicFile::commit`].
///
/// Dropping it without a commit removes what was written. A kill at any moment leaves the old file, or none, or the new one
/// whole; at worst a `.tmp*` file beside it stays.
///
/// ```
/// use std::io::Write;
/// use parsimon_core::io::AtomicFile;
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("out.txt");
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"whole or not at all")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"whole or not at all");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts a file that will be named `path`; missing parent folders are made.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`] when the folder cannot be made or written.
    pub fn create(path: &Path) -> Result<Self, FormatError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(|e| FormatError::io(folder, "create the folder", e))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tmp");
        #[cfg(unix)]
        {
            // The default would keep the file private to its owner; the process's umask still applies to this.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let temporary = builder.tempfile_in(folder).map_err(|e| FormatError::io(folder, "create a file in", e))?;
        Ok(AtomicFile { path: path.to_owned(), writer: BufWriter::with_capacity(1 << 18, temporary) })
    }

    /// The temporary path, for writers that want a path rather than a stream. Write either there or through this value.
    pub fn temporary_path(&self) -> &Path {
        self.writer.get_ref().path()
    }

    /// Flushes, synchronizes and renames to the final name.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`]; the final name then still has its old content.
    pub fn commit(self) -> Result<(), FormatError> {
        let AtomicFile { path, writer } = self;
        let temporary = writer.into_inner().map_err(|e| FormatError::io(&path, "write", e.into_error()))?;
        temporary.as_file().sync_all().map_err(|e| FormatError::io(&path, "synchronize", e))?;
        temporary.persist(&path).map_err(|e| FormatError::io(&path, "rename to", e.error))?;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Copies a file beside and renames it.
///
/// # Errors
///
/// [`FormatError::Io`] naming the file that failed.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), FormatError> {
    let mut source = std::fs::File::open(from).map_err(|e| FormatError::io(from, "open", e))?;
    let mut file = AtomicFile::create(to)?;
    std::io::copy(&mut source, &mut file).map_err(|e| FormatError::io(to, "write", e))?;
    file.commit()
}
