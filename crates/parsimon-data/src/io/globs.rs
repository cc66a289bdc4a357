//! Globs: lists that match relative paths, and patterns that stand for files.

use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use parsimon_core::io::FormatError;

use crate::error::CurateError;

/// Several globs; `*` stays within a folder, `**` does not.
pub(crate) struct GlobList(GlobSet);

impl GlobList {
    pub(crate) fn new(patterns: &[String]) -> Result<GlobList, CurateError> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            builder.add(parse(pattern)?);
        }
        let set = builder.build().map_err(|e| bad_glob(&patterns.join(" "), &e))?;
        Ok(GlobList(set))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// The files that `patterns` stand for, sorted and without repetitions. A pattern that is the path of a file stands for that file.
///
/// # Errors
///
/// [`CurateError::NoInput`] when a pattern matches nothing, [`CurateError::BadArgument`] for a bad glob.
pub(crate) fn expand(patterns: &[String]) -> Result<Vec<PathBuf>, CurateError> {
    let mut files = Vec::new();
    for pattern in patterns {
        let path = Path::new(pattern);
        if path.is_file() {
            files.push(path.to_owned());
            continue;
        }
        let before = files.len();
        let matcher = parse(pattern)?.compile_matcher();
        collect(&folder_of(path), &matcher, &mut files)?;
        if files.len() == before {
            return Err(CurateError::NoInput { place: folder_of(path), patterns: pattern.clone() });
        }
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

fn collect(folder: &Path, matcher: &GlobMatcher, files: &mut Vec<PathBuf>) -> Result<(), CurateError> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.map_err(|e| FormatError::io(folder, "list the folder", e.into()))?;
        // The walk of `.` puts `./` before every path, which a pattern does not have.
        let path = entry.path().strip_prefix("./").unwrap_or(entry.path());
        if entry.file_type().is_file() && matcher.is_match(path) {
            files.push(path.to_owned());
        }
    }
    Ok(())
}

/// The part of a pattern in front of its first wildcard.
fn folder_of(pattern: &Path) -> PathBuf {
    let is_plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    let folder: PathBuf = pattern.parent().unwrap_or(Path::new("")).components().take_while(is_plain).collect();
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }
}

fn parse(pattern: &str) -> Result<Glob, CurateError> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| bad_glob(pattern, &e))
}

fn bad_glob(pattern: &str, error: &globset::Error) -> CurateError {
    CurateError::BadArgument { what: "the glob", given: pattern.to_owned(), reason: error.kind().to_string() }
}
