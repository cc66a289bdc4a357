//! A Rust file as text, as tokens and as syntax, and the questions that several rules ask of it.

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// One Rust file of the repository.
pub(super) struct Source {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) syntax: syn::File,
    tokens: TokenStream,
}

/// What stands right after a word among its siblings.
pub(super) struct Word<'a> {
    pub(super) ident: &'a Ident,
    before: &'a [TokenTree],
    after: &'a [TokenTree],
}

impl Source {
    /// Reads a file.
    pub(super) fn parse(path: &str, text: &str) -> Result<Source> {
        let tokens: TokenStream =
            text.parse().map_err(|e| anyhow::anyhow!("{path}: cannot be split into tokens: {e}"))?;
        let syntax = syn::parse2(tokens.clone()).with_context(|| format!("{path}: cannot be parsed"))?;
        Ok(Source { path: path.to_owned(), text: text.to_owned(), syntax, tokens })
    }

    /// Calls `visit` with every word of the code, inside macros and attributes too. Comments and strings hold no words.
    pub(super) fn words(&self, mut visit: impl FnMut(&Word)) {
        walk(self.tokens.clone(), &mut visit);
    }

    /// The crate's folder, such as `crates/parsimon-lut`, `xtask`, `benches` or `benches/compare`.
    pub(super) fn package_dir(&self) -> &str {
        let is_deep = self.path.starts_with("crates/") || self.path.starts_with("benches/compare/");
        let depth = if is_deep { 2 } else { 1 };
        let end = self.path.match_indices('/').nth(depth - 1).map_or(self.path.len(), |(at, _)| at);
        &self.path[..end]
    }

    /// Whether the file is made of tests: `tests.rs`, or anything below a `tests` folder.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Whether the file belongs to a program or to the tools, which may print and read their surroundings.
    pub(super) fn is_program(&self) -> bool {
        let programs = ["crates/parsimon-cli", "crates/parsimon-testkit", "xtask", "benches", "benches/compare"];
        programs.contains(&self.package_dir()) || self.path.contains("/examples/") || self.path.contains("/src/bin/")
    }
}

fn walk(stream: TokenStream, visit: &mut impl FnMut(&Word)) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => walk(group.stream(), visit),
            TokenTree::Ident(ident) => visit(&Word { ident, before: &trees[..at], after: &trees[at + 1..] }),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

impl Word<'_> {
    /// The line of the word, from 1.
    pub(super) fn line(&self) -> usize {
        self.ident.span().start().line
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.ident == word
    }

    /// `word!`
    pub(super) fn is_macro_call(&self) -> bool {
        // `a != b` is a joint `!`.
        matches!(self.after, [TokenTree::Punct(bang), next, ..]
            if bang.as_char() == '!' && matches!(next, TokenTree::Group(_)))
    }

    /// Whether `word::name` or `word::{.., name, ..}` follows for a name that `accept` takes; returns that name.
    pub(super) fn path_into(&self, accept: impl Fn(&str) -> bool) -> Option<String> {
        let [TokenTree::Punct(first), TokenTree::Punct(second), next, ..] = self.after else { return None };
        if first.as_char() != ':' || second.as_char() != ':' {
            return None;
        }
        let words: Vec<Ident> = match next {
            TokenTree::Ident(ident) => vec![ident.clone()],
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => top_words(group),
            _ => return None,
        };
        words.into_iter().map(|word| word.to_string()).find(|word| accept(word))
    }

    /// The words inside `word(...)`.
    pub(super) fn arguments(&self) -> Vec<String> {
        match self.after {
            [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Parenthesis => {
                top_words(group).iter().map(Ident::to_string).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the word stands first in its group: the name of an attribute in `#[word]`.
    pub(super) fn is_first(&self) -> bool {
        self.before.is_empty()
    }
}

fn top_words(group: &Group) -> Vec<Ident> {
    let words = group.stream().into_iter().filter_map(|tree| match tree {
        TokenTree::Ident(ident) => Some(ident),
        _ => None,
    });
    words.collect()
}
