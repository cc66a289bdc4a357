//! Models in several files: `name-00001-of-00003.gguf` and so on.
//!
//! Every file has `split.no` from 0, `split.count` and its own tensors; the metadata of the model and `split.tensors.count` are in the
//! first.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Shard;
use super::dialect::Dialect;
use crate::io::FormatError;

/// Opens the files after the first one, if there are any, and checks that the parts make a whole.
pub(super) fn open_rest(first: &Shard, dialect: Dialect) -> Result<Vec<Shard>, FormatError> {
    let count = number(first, "split.count").unwrap_or(1);
    let path = first.map.path();
    if count <= 1 {
        return Ok(Vec::new());
    }
    let malformed =
        |path: &Path, reason: String| Err(FormatError::Malformed { file: path.to_owned(), format: "GGUF", reason });
    if number(first, "split.no").unwrap_or(0) != 0 {
        return malformed(
            path,
            format!("it is not the first of {count} files; open the one that ends in -00001-of-{count:05}.gguf"),
        );
    }
    let mut rest = Vec::new();
    for no in 1..count {
        let Some(next) = sibling(path, no + 1, count) else {
            return malformed(
                path,
                format!("it is the first of {count} files and does not end in -00001-of-{count:05}.gguf"),
            );
        };
        let shard = Shard::open(&next, dialect)?;
        let actual = (number(&shard, "split.no"), number(&shard, "split.count"));
        if actual != (Some(no), Some(count)) {
            return malformed(&next, format!("split.no and split.count are {actual:?}, expected {no} and {count}"));
        }
        rest.push(shard);
    }
    let mut names = HashSet::new();
    for shard in std::iter::once(first).chain(&rest) {
        if let Some(twice) = shard.directory.tensors.iter().find(|info| !names.insert(&*info.name)) {
            let (file, tensor) = (shard.map.path().to_owned(), twice.name.to_string());
            return Err(FormatError::DuplicateTensor { file, tensor });
        }
    }
    match number(first, "split.tensors.count") {
        Some(expected) if expected != names.len() as u64 => {
            malformed(path, format!("split.tensors.count is {expected}, the files hold {}", names.len()))
        }
        _ => Ok(rest),
    }
}

fn number(shard: &Shard, key: &str) -> Option<u64> {
    shard.directory.get(&shard.map, key)?.as_u64()
}

/// The path of file `number` of `count`, where `first` is that of file 1.
fn sibling(first: &Path, number: u64, count: u64) -> Option<PathBuf> {
    let name = first.file_name()?.to_str()?.strip_suffix(&format!("-00001-of-{count:05}.gguf"))?;
    Some(first.with_file_name(format!("{name}-{number:05}-of-{count:05}.gguf")))
}
