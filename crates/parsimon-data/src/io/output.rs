//! Files that are hashed while they are written, and appear whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use parsimon_core::io::{AtomicFile, FormatError, Map};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A written file, as done-manifests list it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct OutputInfo {
    /// Its path below the output folder, with `/`.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// xxh3-64 of its bytes, in hexadecimal.
    pub xxh3: String,
}

/// A file being written.
pub(crate) struct OutputFile {
    file: AtomicFile,
    path: PathBuf,
    name: String,
    hash: Xxh3,
    bytes: u64,
}

impl OutputFile {
    /// Starts the file `name` below `root`.
    pub(crate) fn create(root: &Path, name: &str) -> Result<OutputFile, FormatError> {
        let path = root.join(name);
        let file = AtomicFile::create(&path)?;
        Ok(OutputFile { file, path, name: name.to_owned(), hash: Xxh3::new(), bytes: 0 })
    }

    /// Its final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name.
    pub(crate) fn commit(self) -> Result<OutputInfo, FormatError> {
        self.file.commit()?;
        Ok(OutputInfo { path: self.name, bytes: self.bytes, xxh3: format!("{:016x}", self.hash.digest()) })
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Length and hash of the file `name` below `root`.
pub(crate) fn hash_file(root: &Path, name: &str) -> Result<OutputInfo, FormatError> {
    let (bytes, hash) = hash_path(&root.join(name))?;
    Ok(OutputInfo { path: name.to_owned(), bytes, xxh3: hash })
}

/// Length and xxh3-64 in hexadecimal of a file.
pub(crate) fn hash_path(path: &Path) -> Result<(u64, String), FormatError> {
    let map = Map::open(path)?;
    Ok((map.len() as u64, format!("{:016x}", xxh3_64(&map))))
}
