//! The pages that the demo reads: the HTML documentation of the installed toolchain, or a small bundled sample of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace;

/// Left out is the embedded book: its prose is CC-BY-SA. The rest is MIT OR Apache-2.0.
const INCLUDE: &[&str] = &[
    "book/**",
    "reference/**",
    "nomicon/**",
    "cargo/**",
    "rust-by-example/**",
    "rustc/**",
    "edition-guide/**",
    "error_codes/**",
    "std/**",
];
const INCLUDE_FULL: &[&str] = &["alloc/**", "core/**", "clippy/**", "rustdoc/**"];
const INCLUDE_SMOKE: &[&str] = &["book/**", "reference/**", "nomicon/**"];

/// Four translations, until the language filter removes them.
const EXCLUDE: &[&str] = &["rust-by-example/{es,ja,ko,zh}/**"];

const BUNDLED: &str = "crates/parsimon-data/tests/data/rustdoc";

/// Where the pages come from, and which of them.
pub(super) struct Input {
    root: PathBuf,
    installed: bool,
    include: Vec<&'static str>,
}

impl Input {
    pub(super) fn find(smoke: bool, full: bool) -> Result<Input> {
        let sysroot =
            workspace::output_of(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()))?;
        let installed = Path::new(sysroot.trim()).join("share/doc/rust/html");
        if installed.join("book/index.html").exists() {
            let mut include = if smoke { INCLUDE_SMOKE } else { INCLUDE }.to_vec();
            if full {
                include.extend(INCLUDE_FULL);
            }
            return Ok(Input { root: installed, installed: true, include });
        }
        let root = workspace::root().join(BUNDLED);
        ensure!(
            root.exists(),
            "neither {} nor {} exists; `rustup component add rust-docs` installs the first",
            installed.display(),
            root.display()
        );
        Ok(Input { root, installed: false, include: vec!["**"] })
    }

    pub(super) fn root(&self) -> String {
        self.root.display().to_string()
    }

    pub(super) fn name(&self) -> &'static str {
        if self.installed { "rustup" } else { "bundled" }
    }

    /// Whether the quality of a model trained on it may be compared between runs.
    pub(super) fn is_comparable(&self) -> bool {
        self.installed
    }

    pub(super) fn described(&self) -> String {
        if self.installed {
            let folders: Vec<&str> = self.include.iter().map(|pattern| pattern.trim_end_matches("/**")).collect();
            format!("the HTML documentation of the installed Rust toolchain ({})", folders.join(", "))
        } else {
            "the small bundled sample, because the toolchain has no HTML documentation (`rustup component add rust-docs`)".into()
        }
    }

    /// Flags and glob patterns of `warc pack`.
    pub(super) fn patterns(&self) -> Vec<(&'static str, &'static str)> {
        let include = self.include.iter().map(|pattern| ("--include", *pattern));
        let exclude = EXCLUDE.iter().filter(|_| self.installed).map(|pattern| ("--exclude", *pattern));
        include.chain(exclude).collect()
    }
}
