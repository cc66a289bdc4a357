//! What the fuzz targets share: bytes as a file, because every reader maps one.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder of this process, in memory where the system has such a place.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let base = Some(PathBuf::from("/dev/shm")).filter(|base| base.is_dir()).unwrap_or_else(std::env::temp_dir);
        let folder = base.join(format!("parsimon-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the input");
        folder
    })
}

/// Calls `read` with a file that holds `data`.
pub fn as_file(name: &str, data: &[u8], read: impl FnOnce(&Path)) {
    let path = folder().join(name);
    std::fs::write(&path, data).expect("the input is written");
    read(&path);
}
