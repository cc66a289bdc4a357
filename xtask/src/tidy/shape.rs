//! Lengths, names and opening docs of files.
//!
//! Test code is excluded from the length of functions (not of files): a test is a table of cases and one check, and splitting a
//! table makes it harder to read.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::{Finding, Repo};

const FILE_LINES_MAX: usize = 600;
const FN_LINES_MAX: usize = 70;

/// Files that may be longer for now, with their length. A ratchet: it only shrinks, and an entry that is not needed is a finding.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions (`file`, `name`) that may be longer for now, with their length. A ratchet like [`LONG_FILES`].
const LONG_FNS: &[(&str, &str, usize)] = &[];

/// Names that say nothing about what is inside; `mod.rs` because many open tabs would share one name.
const BANNED: &[&str] = &["mod", "util", "utils", "helper", "helpers", "common", "misc", "types"];

pub(super) fn file_length(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &repo.sources {
        let lines = source.text.lines().count();
        let allowed = LONG_FILES.iter().find(|(path, _)| *path == source.path).map(|(_, lines)| *lines);
        if lines > allowed.unwrap_or(FILE_LINES_MAX) {
            let message = format!("{lines} lines, at most {}: split it", allowed.unwrap_or(FILE_LINES_MAX));
            findings.push(Finding::new(&source.path, lines, message));
        } else if allowed.is_some() && lines <= FILE_LINES_MAX {
            findings.push(Finding::new(
                &source.path,
                1,
                "short again: take it off the list LONG_FILES in tidy/shape.rs",
            ));
        }
    }
    findings
}

pub(super) fn fn_length(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| !source.is_test()) {
        let mut found = Functions::default();
        found.visit_file(&source.syntax);
        for function in found.all {
            let allowed = LONG_FNS.iter().find(|(path, name, _)| *path == source.path && *name == function.name);
            let limit = allowed.map_or(FN_LINES_MAX, |(_, _, lines)| *lines);
            if function.lines > limit {
                let message = format!("`{}` has {} lines, at most {limit}: split it", function.name, function.lines);
                findings.push(Finding::new(&source.path, function.line, message));
            } else if allowed.is_some() && function.lines <= FN_LINES_MAX {
                let message =
                    format!("`{}` is short again: take it off the list LONG_FNS in tidy/shape.rs", function.name);
                findings.push(Finding::new(&source.path, function.line, message));
            }
        }
    }
    findings
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

#[derive(Default)]
struct Functions {
    all: Vec<Function>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.span().start().line;
        let lines = block.span().end().line + 1 - line;
        self.all.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl Visit<'_> for Functions {
    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let is_test = item.attrs.iter().any(|attr| {
            attr.path().is_ident("cfg") && attr.parse_args::<syn::Path>().is_ok_and(|cfg| cfg.is_ident("test"))
        });
        if !is_test {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

pub(super) fn names(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &repo.sources {
        let parts = source.path.trim_end_matches(".rs").split('/');
        for part in parts.filter(|part| BANNED.contains(part)) {
            findings.push(Finding::new(&source.path, 1, format!("`{part}` is not a name: say what is inside")));
        }
    }
    findings
}

pub(super) fn module_docs(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| !source.path.ends_with("/tests.rs")) {
        let opens = source.syntax.attrs.first().is_some_and(|attr| {
            attr.path().is_ident("doc")
                && matches!(attr.style, syn::AttrStyle::Inner(_))
                && attr.pound_token.span.start().line == 1
        });
        if !opens {
            findings.push(Finding::new(&source.path, 1, "the file does not open with `//!`"));
        }
    }
    findings
}
