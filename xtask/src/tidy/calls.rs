//! Calls that only some places may make: unfinished code, printing, the environment, clocks.

use super::source::{Source, Word};
use super::{Finding, Repo};

/// Marks of unfinished work, spelled apart so that this file does not hold them.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Files that may read the environment besides the programs: the instruction-set override.
const ENVIRONMENT: &[&str] = &["crates/parsimon-simd/src/level.rs"];

/// Marks of unfinished work in text or comments, debugging macros, and tests that do not run.
pub(super) fn unfinished(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &repo.sources {
        for (number, line) in source.text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(mark) = words.into_iter().find(|word| MARKS.contains(word)) {
                findings.push(Finding::new(&source.path, number + 1, format!("{mark}: finish it, or open an issue")));
            }
        }
        source.words(|word| {
            let is_call = word.is_macro_call() && ["dbg", "todo", "unimplemented"].iter().any(|name| word.is(name));
            let is_skip = word.is("ignore") && word.is_first() && is_attribute(source, word);
            if is_call || is_skip {
                findings.push(Finding::new(&source.path, word.line(), format!("`{}` is not for main", word.ident)));
            }
        });
    }
    findings
}

/// Whether the line of the word opens an attribute before it.
fn is_attribute(source: &Source, word: &Word) -> bool {
    let start = word.ident.span().start();
    let line = source.text.lines().nth(start.line - 1).unwrap_or_default();
    let before: String = line.chars().take(start.column).collect();
    before.trim_end().ends_with("#[")
}

/// Printing outside programs and tests.
pub(super) fn printing(repo: &Repo) -> Vec<Finding> {
    let allowed = |source: &Source| source.is_program() || source.is_test() || source.path.ends_with("/build.rs");
    find(repo, allowed, |word| {
        let prints = ["print", "println", "eprint", "eprintln"].iter().any(|name| word.is(name));
        (prints && word.is_macro_call())
            .then(|| format!("`{}!` in a library: return the data, or report progress", word.ident))
    })
}

/// Environment variables outside programs and the one override.
pub(super) fn environment(repo: &Repo) -> Vec<Finding> {
    const NAMES: &[&str] =
        &["var", "var_os", "vars", "vars_os", "set_var", "remove_var", "args", "args_os", "current_dir"];
    let allowed = |source: &Source| source.is_program() || ENVIRONMENT.contains(&source.path.as_str());
    find(repo, allowed, |word| {
        let name = word.is("env").then(|| word.path_into(|name| NAMES.contains(&name))).flatten()?;
        Some(format!("`env::{name}` in a library: make it a parameter"))
    })
}

/// Clocks outside programs and tests.
pub(super) fn clocks(repo: &Repo) -> Vec<Finding> {
    let allowed = |source: &Source| source.is_program() || source.is_test();
    find(repo, allowed, |word| {
        let is_clock = word.is("Instant") || word.is("SystemTime");
        (is_clock && word.path_into(|name| name == "now").is_some())
            .then(|| format!("`{}::now` in a library: the caller measures time", word.ident))
    })
}

/// Every word that `problem` names, in the files that are not `allowed`.
fn find(repo: &Repo, allowed: impl Fn(&Source) -> bool, problem: impl Fn(&Word) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| !allowed(source)) {
        source.words(|word| {
            if let Some(message) = problem(word) {
                findings.push(Finding::new(&source.path, word.line(), message));
            }
        });
    }
    findings
}
