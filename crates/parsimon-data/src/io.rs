//! Files: the only room of this crate that opens, lists and removes them (WARC files are mapped through parsimon-core).

mod globs;
mod jsonl;
mod output;

use std::path::Path;

use parsimon_core::io::FormatError;

pub(crate) use globs::{GlobList, expand};
pub use jsonl::JsonlReader;
pub(crate) use jsonl::JsonlWriter;
pub use output::OutputInfo;
pub(crate) use output::{OutputFile, hash_file, hash_path};

/// Paths below `root` of all its files, with `/`, in byte order. Names that are not Unicode are left out.
pub(crate) fn list_files(root: &Path) -> Result<Vec<String>, FormatError> {
    if !root.is_dir() {
        return Err(FormatError::io(root, "open the folder", std::io::ErrorKind::NotFound.into()));
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.map_err(|e| FormatError::io(root, "list the folder", e.into()))?;
        let relative = entry.path().strip_prefix(root).expect("the walk stays below its root");
        if let Some(path) = relative.to_str().filter(|_| entry.file_type().is_file()) {
            files.push(path.replace('\\', "/"));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Removes a file; false when there is none.
pub(crate) fn remove_file(path: &Path) -> Result<bool, FormatError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(FormatError::io(path, "remove", e)),
    }
}

/// Removes a folder with everything in it, if there is one.
pub(crate) fn remove_folder(path: &Path) -> Result<(), FormatError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(FormatError::io(path, "remove the folder", e)),
        _ => Ok(()),
    }
}

/// What unfinished files are called: those of [`parsimon_core::io::AtomicFile`] that a kill left behind.
const UNFINISHED: &str = ".tmp";

fn is_unfinished(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with(UNFINISHED))
}

/// Whether a folder holds any file but unfinished ones.
pub(crate) fn has_files(folder: &Path) -> Result<bool, FormatError> {
    Ok(folder.exists() && list_files(folder)?.iter().any(|path| !is_unfinished(path)))
}

/// Removes the unfinished files below a folder.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), FormatError> {
    for path in list_files(folder)?.iter().filter(|path| is_unfinished(path)) {
        remove_file(&folder.join(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
