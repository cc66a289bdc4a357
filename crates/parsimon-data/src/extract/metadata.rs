//! What a page says about itself.

use serde::{Deserialize, Serialize};

use crate::html::{Document, Event};

/// Title, language, address and licence, as the page gives them.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub struct Metadata {
    /// The `title` element, else `og:title`.
    pub title: Option<String>,
    /// `html lang`.
    pub lang: Option<String>,
    /// `link rel=canonical`.
    pub canonical: Option<String>,
    /// The address of `rel=license`.
    pub license: Option<String>,
    /// `meta name=robots`.
    pub robots: Option<String>,
}

impl Metadata {
    pub(super) fn of(page: &Document) -> Metadata {
        let mut metadata = Metadata::default();
        let mut og_title = None;
        for event in page.walk(page.root()) {
            let Event::Enter(node) = event else { continue };
            let attribute = |name| page.attribute(node, name).map(collapse).filter(|value| !value.is_empty());
            match page.tag(node) {
                Some("html") => metadata.lang = attribute("lang"),
                Some("title") if metadata.title.is_none() && page.is_html(node) => {
                    metadata.title = Some(collapse(&page.text_of(node))).filter(|title| !title.is_empty());
                }
                Some("meta") if page.attribute(node, "property") == Some("og:title") => og_title = attribute("content"),
                Some("meta") if page.attribute(node, "name") == Some("robots") => {
                    metadata.robots = attribute("content")
                }
                Some("link" | "a") => {
                    let rel = page.attribute(node, "rel").unwrap_or_default();
                    for (name, slot) in [("canonical", &mut metadata.canonical), ("license", &mut metadata.license)] {
                        if slot.is_none() && rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(name)) {
                            *slot = attribute("href");
                        }
                    }
                }
                _ => {}
            }
        }
        metadata.title = metadata.title.or(og_title);
        metadata
    }
}

fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
