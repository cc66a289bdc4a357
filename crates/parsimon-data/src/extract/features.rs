//! What is measured of every node in one pass from the leaves up.

use crate::html::{Document, Event, NodeId};

/// Elements whose text is never shown.
pub(super) const INVISIBLE: [&str; 6] = ["script", "style", "noscript", "template", "head", "title"];

/// A text of at least this many bytes without an element inside is prose wherever it stands.
const SENTENCE_BYTES: u32 = 80;

/// Per node: bytes of visible text, of text in links, of prose, and links. White space at the ends of text nodes is not counted.
pub(super) struct Features {
    pub(super) text: Vec<u32>,
    pub(super) link_text: Vec<u32>,
    pub(super) links: Vec<u32>,
    /// Text of paragraphs outside links: what articles are made of and navigation is not.
    pub(super) prose: Vec<u32>,
    /// Whether what is meant for readers without scripts counts.
    pub(super) shows_noscript: bool,
    /// What the pruning marks; a marked node is skipped with everything below it.
    pub(super) is_pruned: Vec<bool>,
}

impl Features {
    pub(super) fn of(page: &Document) -> Features {
        let n = page.len();
        let zeros = || vec![0; n];
        let mut features = Features {
            text: zeros(),
            link_text: zeros(),
            links: zeros(),
            prose: zeros(),
            shows_noscript: false,
            is_pruned: vec![false; n],
        };
        features.count(page);
        features
    }

    /// Counts again, without what is pruned.
    pub(super) fn recount(&mut self, page: &Document) {
        for counts in [&mut self.text, &mut self.link_text, &mut self.links, &mut self.prose] {
            counts.fill(0);
        }
        self.count(page);
    }

    fn count(&mut self, page: &Document) {
        let mut walk = page.walk(page.root());
        while let Some(event) = walk.next() {
            match event {
                Event::Enter(node) => {
                    if let Some(text) = page.text(node) {
                        let length = text.trim().len() as u32;
                        self.text[node.index()] = length;
                        // Pages without paragraphs have their sentences somewhere, and they are long.
                        self.prose[node.index()] = if length >= SENTENCE_BYTES { length } else { 0 };
                    } else if self.is_pruned(node) || page.tag(node).is_some_and(|tag| self.is_hidden(tag)) {
                        walk.skip_children(node);
                    }
                }
                Event::Leave(node) => self.add_to_parent(page, node),
            }
        }
    }

    fn add_to_parent(&mut self, page: &Document, node: NodeId) {
        let at = node.index();
        match page.tag(node) {
            Some("a") if page.attribute(node, "href").is_some() => {
                self.link_text[at] = self.text[at];
                self.links[at] += 1;
                self.prose[at] = 0;
            }
            Some("p" | "blockquote" | "pre") => self.prose[at] = self.text[at].saturating_sub(self.link_text[at]),
            _ => {}
        }
        if let Some(parent) = page.parent(node) {
            for counts in [&mut self.text, &mut self.link_text, &mut self.links, &mut self.prose] {
                counts[parent.index()] += counts[at];
            }
        }
    }

    fn is_hidden(&self, tag: &str) -> bool {
        INVISIBLE.contains(&tag) && !(self.shows_noscript && tag == "noscript")
    }

    pub(super) fn is_pruned(&self, node: NodeId) -> bool {
        self.is_pruned[node.index()]
    }

    pub(super) fn text_of(&self, node: NodeId) -> u32 {
        self.text[node.index()]
    }

    pub(super) fn prose_of(&self, node: NodeId) -> u32 {
        self.prose[node.index()]
    }

    /// Share of the text that stands in links.
    pub(super) fn link_density(&self, node: NodeId) -> f64 {
        f64::from(self.link_text[node.index()]) / f64::from(self.text[node.index()].max(1))
    }
}
