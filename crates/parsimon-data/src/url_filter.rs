//! Which addresses are not read at all: lists of hosts, addresses and words.

use std::collections::HashSet;

use aho_corasick::AhoCorasick;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::CurateError;

/// The lists, one entry a line in their files. `PAPER(redstone §3.6)`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(default, deny_unknown_fields)]
pub struct UrlLists {
    /// Hosts; a domain stands for all hosts below it.
    pub domains: Vec<String>,
    /// Whole addresses.
    pub urls: Vec<String>,
    /// One of these words in an address drops it.
    pub hard: Vec<String>,
    /// `soft_min` of these do.
    pub soft: Vec<String>,
    /// How many.
    pub soft_min: usize,
    /// One of these anywhere among the letters and digits drops it.
    pub sub_words: Vec<String>,
}

impl Default for UrlLists {
    fn default() -> UrlLists {
        let empty = Vec::new;
        UrlLists { domains: empty(), urls: empty(), hard: empty(), soft: empty(), soft_min: 2, sub_words: empty() }
    }
}

/// The entries of a list's file: lines, without comments (`#`) and empty ones, in lower case.
pub fn entries(file: &str) -> Vec<String> {
    let lines = file.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_lowercase());
    lines.filter(|line| !line.is_empty()).collect()
}

/// The lists, ready.
#[derive(Clone, Debug)]
pub struct UrlFilter {
    domains: HashSet<String>,
    urls: HashSet<String>,
    hard: HashSet<String>,
    soft: HashSet<String>,
    soft_min: usize,
    sub_words: Option<AhoCorasick>,
}

impl UrlFilter {
    /// Prepares lists.
    ///
    /// # Errors
    ///
    /// [`CurateError::BadArgument`] when there are more sub-words than can be searched for at once.
    pub fn new(lists: &UrlLists) -> Result<UrlFilter, CurateError> {
        let set = |list: &[String]| list.iter().map(|entry| entry.to_lowercase()).collect();
        let sub_words = match &lists.sub_words[..] {
            [] => None,
            words => Some(AhoCorasick::new(words.iter().map(|word| word.to_lowercase())).map_err(|e| {
                CurateError::BadArgument {
                    what: "the list of sub-words",
                    given: words.len().to_string(),
                    reason: e.to_string(),
                }
            })?),
        };
        Ok(UrlFilter {
            domains: set(&lists.domains),
            urls: set(&lists.urls),
            hard: set(&lists.hard),
            soft: set(&lists.soft),
            soft_min: lists.soft_min.max(1),
            sub_words,
        })
    }

    /// Why an address is not read; `None` when it is.
    ///
    /// ```
    /// use parsimon_data::url_filter::{UrlFilter, UrlLists};
    /// let lists = UrlLists { domains: vec!["bad.example".into()], soft: vec!["win".into(), "cash".into()], ..UrlLists::default() };
    /// let filter = UrlFilter::new(&lists).unwrap();
    /// assert_eq!(filter.check("https://www.bad.example/x"), Some("domain"));
    /// assert_eq!(filter.check("https://a.example/win-cash"), Some("soft_words"));
    /// assert_eq!(filter.check("https://a.example/window"), None);
    /// ```
    pub fn check(&self, address: &str) -> Option<&'static str> {
        let lower = address.to_lowercase();
        let host = Url::parse(&lower).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let mut parents = std::iter::successors(Some(host.as_str()), |host| host.split_once('.').map(|(_, rest)| rest));
        if parents.any(|host| self.domains.contains(host)) {
            return Some("domain");
        }
        if self.urls.contains(&lower) {
            return Some("url");
        }
        let words = || lower.split(|c: char| !c.is_ascii_alphanumeric());
        if !self.hard.is_empty() && words().any(|word| self.hard.contains(word)) {
            return Some("hard_word");
        }
        if !self.soft.is_empty() && words().filter(|word| self.soft.contains(*word)).count() >= self.soft_min {
            return Some("soft_words");
        }
        let letters: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
        self.sub_words.as_ref().is_some_and(|words| words.is_match(&letters)).then_some("sub_word")
    }
}
