//! Paper tags in the code resolve to a page of docs/papers that mentions the same place.

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
