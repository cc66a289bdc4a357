//! Paper tags in the code resolve to a page of docs/papers that mentions the same place, and the tables of those pages name symbols and
//! tests that exist.

use std::collections::BTreeSet;

use super::{Finding, Repo};

const TAG: &str = "PAPER(";

pub(super) fn resolve(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in repo.sources.iter().filter(|source| !source.path.starts_with("xtask/")) {
        for (number, line) in source.text.lines().enumerate() {
            for (at, _) in line.match_indices(TAG) {
                let problem = match tag(&line[at + TAG.len()..]) {
                    None => Some("a tag is `PAPER(<page> <place>)` on one line".to_owned()),
                    Some((page, place)) => match repo.papers.get(page) {
                        None => Some(format!("there is no page docs/papers/{page}.md")),
                        Some(text) if !mentions(text, place) => {
                            Some(format!("docs/papers/{page}.md does not mention `{place}`"))
                        }
                        Some(_) => None,
                    },
                };
                findings.extend(problem.map(|problem| Finding::new(&source.path, number + 1, problem)));
            }
        }
    }
    findings
}

/// Every symbol and test that a table of claims names is a word of the code.
pub(super) fn names_exist(repo: &Repo) -> Vec<Finding> {
    let mut words = BTreeSet::new();
    for source in repo.sources.iter().filter(|source| source.path.starts_with("crates/")) {
        words.insert(source.package_dir().trim_start_matches("crates/").replace('-', "_"));
        source.words(|word| {
            words.insert(word.ident.to_string());
        });
    }
    let mut findings = Vec::new();
    for (page, text) in &repo.papers {
        for (number, line) in text.lines().enumerate() {
            // claim, symbol, test, bench, status
            let [_, _, symbol, test, _, _, _] = line.split('|').collect::<Vec<_>>()[..] else { continue };
            let quoted = [symbol, test].into_iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
            let names = quoted.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':'));
            for part in names.flat_map(|name| name.split("::")).filter(|part| !words.contains(*part)) {
                let message = format!("the table names `{part}`, which the code does not have");
                findings.push(Finding::new(&format!("docs/papers/{page}.md"), number + 1, message));
            }
        }
    }
    findings
}

/// Page and place of the tag whose text after the opening parenthesis is `rest`.
fn tag(rest: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    let end = rest.char_indices().find_map(|(at, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(at)
    })?;
    let (page, place) = rest[..end].split_once(' ')?;
    (!page.is_empty() && !place.trim().is_empty()).then_some((page, place.trim()))
}

/// Whether `text` holds `place` as a whole: `§3` is not mentioned by `§3.1`, nor `Table 1` by `Table 14`.
fn mentions(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(at, _)| {
        let mut after = text[at + place.len()..].chars();
        match after.next() {
            Some('.') => !after.next().is_some_and(|c| c.is_alphanumeric()),
            Some(c) => !c.is_alphanumeric(),
            None => true,
        }
    })
}
