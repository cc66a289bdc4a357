//! `cargo xtask golden`: the golden files that the repository carries, with their sizes; no crate may carry a megabyte.
//!
//! A crate's own golden files lie in `crates/*/tests/data`. Larger shared data stays outside the repository (`PARSIMON_SHARED`).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::workspace;

/// The most bytes of golden files that one crate may carry.
const BYTES_PER_CRATE_MAX: u64 = 1 << 20;

pub(crate) fn run() -> Result<()> {
    let files = workspace::files("crates", |path| path.contains("/tests/data/"))?;
    let mut sizes = Vec::new();
    for file in files {
        let bytes = std::fs::metadata(workspace::root().join(&file))?.len();
        sizes.push((file, bytes));
    }
    let crates = per_crate(&sizes);
    println!("{:<28}{:>8}{:>12}", "crate", "files", "bytes");
    for (name, (count, bytes)) in &crates {
        println!("{name:<28}{count:>8}{bytes:>12}");
    }
    for (name, (_, bytes)) in &crates {
        ensure!(
            *bytes <= BYTES_PER_CRATE_MAX,
            "{name} carries {bytes} bytes of golden files, the limit is {BYTES_PER_CRATE_MAX}: move the large ones out of the repository"
        );
    }
    Ok(())
}

/// Files and bytes of each crate.
fn per_crate(sizes: &[(String, u64)]) -> BTreeMap<&str, (usize, u64)> {
    let mut crates = BTreeMap::new();
    for (file, bytes) in sizes {
        let name = file.split('/').nth(1).unwrap_or_default();
        let entry: &mut (usize, u64) = crates.entry(name).or_default();
        entry.0 += 1;
        entry.1 += bytes;
    }
    crates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_by_crate() {
        let sizes = [
            ("crates/a/tests/data/x".to_owned(), 3),
            ("crates/a/tests/data/y".to_owned(), 4),
            ("crates/b/z".into(), 5),
        ];
        assert_eq!(per_crate(&sizes), BTreeMap::from([("a", (2, 7)), ("b", (1, 5))]));
    }
}
