//! What is measured of every node in one pass from the leaves up.

use crate::html::{Document, Event, NodeId};

/// Elements whose text is never shown.
pub(super) const INVISIBLE: [&str; 6] = ["script", "style", "noscript", "template", "head", "title"];

/// Per node: bytes of visible text, of text in links, and links. White space at the ends of text nodes is not counted.
pub(super) struct Features {
    pub(super) text: Vec<u32>,
    pub(super) link_text: Vec<u32>,
    pub(super) links: Vec<u32>,
    /// What the pruning marks; a marked node is skipped with everything below it.
    pub(super) is_pruned: Vec<bool>,
}

impl Features {
    pub(super) fn of(page: &Document) -> Features {
        let n = page.len();
        let mut features =
            Features { text: vec![0; n], link_text: vec![0; n], links: vec![0; n], is_pruned: vec![false; n] };
        let mut walk = page.walk(page.root());
        while let Some(event) = walk.next() {
            match event {
                Event::Enter(node) => {
                    if let Some(text) = page.text(node) {
                        features.text[node.index()] = text.trim().len() as u32;
                    } else if page.tag(node).is_some_and(|tag| INVISIBLE.contains(&tag)) {
                        walk.skip_children(node);
                    }
                }
                Event::Leave(node) => features.add_to_parent(page, node),
            }
        }
        features
    }

    fn add_to_parent(&mut self, page: &Document, node: NodeId) {
        let at = node.index();
        if page.tag(node) == Some("a") && page.attribute(node, "href").is_some() {
            self.link_text[at] = self.text[at];
            self.links[at] += 1;
        }
        if let Some(parent) = page.parent(node) {
            self.text[parent.index()] += self.text[at];
            self.link_text[parent.index()] += self.link_text[at];
            self.links[parent.index()] += self.links[at];
        }
    }

    pub(super) fn is_pruned(&self, node: NodeId) -> bool {
        self.is_pruned[node.index()]
    }

    pub(super) fn text_of(&self, node: NodeId) -> u32 {
        self.text[node.index()]
    }

    /// Share of the text that stands in links.
    pub(super) fn link_density(&self, node: NodeId) -> f64 {
        f64::from(self.link_text[node.index()]) / f64::from(self.text[node.index()].max(1))
    }
}
