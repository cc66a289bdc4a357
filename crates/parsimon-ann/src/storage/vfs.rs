//! What an index asks of a file system.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::StorageError;

/// A folder of files, with paths relative to it (`/` separates).
///
/// What is written is durable after [`VfsFile::sync`] of the file; a new, renamed or removed name after [`Vfs::sync_dir`] of its
/// folder. A crash may lose, tear (at 512 bytes) or reorder everything that was not synchronized.
pub trait Vfs: Send + Sync {
    /// Opens a file for reading and, unless the folder is read-only, writing; `create` makes it or empties it.
    ///
    /// # Errors
    ///
    /// I/O; `NotFound` where the file is absent.
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn VfsFile>>;

    /// The names in a folder; of an absent folder, none.
    ///
    /// # Errors
    ///
    /// I/O.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a folder and its parents.
    ///
    /// # Errors
    ///
    /// I/O.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Renames a file or a folder; a file of the new name is replaced.
    ///
    /// # Errors
    ///
    /// I/O.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// I/O.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    ///
    /// I/O.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    ///
    /// I/O.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Takes the writer's lock; `None` where another holder has it.
    ///
    /// # Errors
    ///
    /// I/O.
    fn lock(&self, path: &str) -> io::Result<Option<FileLock>>;
}

/// A held lock; dropping it releases it.
pub struct FileLock(
    /// What releases the lock when it is dropped.
    pub Box<dyn Send + Sync>,
);

/// An open file.
pub trait VfsFile: Send + Sync {
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    ///
    /// I/O; `UnexpectedEof` past the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file grows as needed.
    ///
    /// # Errors
    ///
    /// I/O.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    ///
    /// I/O.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends the file with zeros.
    ///
    /// # Errors
    ///
    /// I/O.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    ///
    /// I/O.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    ///
    /// I/O.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The file system of the operating system, below a folder.
#[derive(Clone, Debug)]
pub struct StdVfs {
    root: PathBuf,
}

impl StdVfs {
    /// Files below `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        StdVfs { root: root.into() }
    }
}

impl StdVfs {
    /// An empty folder beside `dir`, for building what [`StdVfs::rename_to`] then puts there. What an interrupted build left goes.
    pub(crate) fn beside(dir: &Path) -> Result<StdVfs, StorageError> {
        if dir.exists() {
            return Err(StorageError::AlreadyAnIndex);
        }
        let mut name = dir.as_os_str().to_owned();
        name.push(".tmp");
        let root = PathBuf::from(name);
        let io = |action, e| StorageError::io(&root.to_string_lossy(), action, e);
        if root.exists() {
            std::fs::remove_dir_all(&root).map_err(|e| io("remove", e))?;
        }
        std::fs::create_dir_all(&root).map_err(|e| io("create", e))?;
        Ok(StdVfs { root })
    }

    /// Gives the folder its final name.
    pub(crate) fn rename_to(&self, dir: &Path) -> Result<(), StorageError> {
        std::fs::rename(&self.root, dir).map_err(|e| StorageError::io(&dir.to_string_lossy(), "rename to", e))?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|e| StorageError::io(&parent.to_string_lossy(), "synchronize", e))
    }
}

struct StdFile(File);

impl Vfs for StdVfs {
    fn open(&self, path: &str, create: bool) -> io::Result<Arc<dyn VfsFile>> {
        let path = self.root.join(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let opened = if create { options.create(true).truncate(true).open(&path) } else { options.open(&path) };
        let file = match opened {
            // A read-only index can still be searched.
            Err(e)
                if !create
                    && matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                File::open(&path)?
            }
            opened => opened?,
        };
        Ok(Arc::new(StdFile(file)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names: Vec<String> =
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.root.join(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.root.join(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    fn lock(&self, path: &str) -> io::Result<Option<FileLock>> {
        let path = self.root.join(path);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock(Box::new(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

#[cfg(unix)]
impl VfsFile for StdFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
