//! Where unsafe code, intrinsics and CPU detection may stand, and what crate roots promise about it.

use super::source::Source;
use super::{Finding, Repo};

/// Files outside `parsimon-simd` and the kernel folders that may hold unsafe code, each with its reason.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("crates/parsimon-core/src/io/map.rs", "mapping a file"),
    ("crates/parsimon-ann/src/storage/uring.rs", "io_uring"),
    ("crates/parsimon-testkit/src/alloc.rs", "a counting allocator"),
    ("benches/compare/src/ggml.rs", "calls into another project's library"),
];

/// The crate whose purpose is to wrap unsafe vector instructions.
const SIMD: &str = "crates/parsimon-simd";

/// The one file that asks the CPU what it can do.
const DETECTION: &str = "crates/parsimon-simd/src/level.rs";

fn may_be_unsafe(path: &str) -> bool {
    let kernel = path.starts_with("crates/") && (path.contains("/src/kernel/") || path.ends_with("/src/kernel.rs"));
    path.starts_with(&format!("{SIMD}/")) || kernel || UNSAFE_FILES.iter().any(|(file, _)| *file == path)
}

/// `unsafe`, intrinsics, target features and allowances for unsafe code only in the allowed places.
pub(super) fn places(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| !may_be_unsafe(&source.path)) {
        source.words(|word| {
            let what = if word.is("unsafe") {
                "`unsafe`"
            } else if word.is("target_feature") {
                "`target_feature`"
            } else if (word.is("core") || word.is("std")) && word.path_into(|name| name == "arch").is_some() {
                "intrinsics"
            } else if (word.is("allow") || word.is("expect"))
                && word.arguments().iter().any(|lint| lint == "unsafe_code")
            {
                // `mod kernel;` stands outside the folder that it opens, and its allowance with it.
                if opens_allowed_place(source, word.line()) {
                    return;
                }
                "an allowance for unsafe code"
            } else {
                return;
            };
            let message = format!("{what} outside parsimon-simd, src/kernel/ and the files listed in tidy/unsafety.rs");
            findings.push(Finding::new(&source.path, word.line(), message));
        });
    }
    findings
}

/// Whether the attribute at `line` belongs to `mod kernel;` of a crate root, or to the `mod` line of a listed file.
fn opens_allowed_place(source: &Source, line: usize) -> bool {
    let folder = match source.path.rsplit_once('/') {
        Some((folder, "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    source.syntax.items.iter().any(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() => {
            let lines = module.attrs.iter().map(|attr| attr.pound_token.span.start().line);
            let path = format!("{folder}/{}.rs", module.ident);
            lines.into_iter().any(|start| start == line) && may_be_unsafe(&path)
        }
        _ => false,
    })
}

/// Crate roots say `forbid(unsafe_code)`, or `deny(unsafe_code)` where the crate has a place for it.
pub(super) fn roots(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| is_root(&source.path)) {
        let dir = source.package_dir();
        if dir == SIMD {
            continue;
        }
        let in_crate = |path: &str| path.starts_with(&format!("{dir}/src/"));
        let has_place = repo.sources.iter().any(|file| in_crate(&file.path) && may_be_unsafe(&file.path));
        // The library holds the place; a package without one holds it in its program.
        let is_main_of_all = source.path.ends_with("src/main.rs")
            && !repo.sources.iter().any(|file| file.path == format!("{dir}/src/lib.rs"));
        let may_open = source.path.ends_with("lib.rs") || is_main_of_all;
        let wanted = if has_place && may_open { "deny" } else { "forbid" };
        let said = source.syntax.attrs.iter().any(|attr| {
            let lint = attr.parse_args::<syn::Path>();
            attr.path().is_ident(wanted) && lint.is_ok_and(|lint| lint.is_ident("unsafe_code"))
        });
        if !said {
            findings.push(Finding::new(
                &source.path,
                1,
                format!("this crate root must say `#![{wanted}(unsafe_code)]`"),
            ));
        }
    }
    findings
}

fn is_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs") || path.contains("/src/bin/")
}

/// Feature detection only in the one file.
pub(super) fn detection(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| source.path != DETECTION) {
        source.words(|word| {
            if word.is_macro_call() && word.ident.to_string().ends_with("_feature_detected") {
                findings.push(Finding::new(
                    &source.path,
                    word.line(),
                    format!("CPU features are read in {DETECTION} alone"),
                ));
            }
        });
    }
    findings
}
