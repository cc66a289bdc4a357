//! Walking a tree without recursion.

use super::dom::{Document, NodeId};

/// A step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The node is met; its children follow unless they are skipped.
    Enter(NodeId),
    /// The node and everything below it is done.
    Leave(NodeId),
}

/// A depth-first walk over the subtree of a node.
pub struct Walk<'a> {
    document: &'a Document,
    top: NodeId,
    next: Option<Event>,
}

impl Document {
    /// Walks `top` and everything below it, in document order.
    pub fn walk(&self, top: NodeId) -> Walk<'_> {
        Walk { document: self, top, next: Some(Event::Enter(top)) }
    }
}

impl Walk<'_> {
    /// After [`Event::Enter`] of a node: passes over its children, and comes to its [`Event::Leave`].
    pub fn skip_children(&mut self, node: NodeId) {
        self.next = Some(Event::Leave(node));
    }
}

impl Iterator for Walk<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let event = self.next?;
        self.next = match event {
            Event::Enter(node) => Some(self.document.first_child(node).map_or(Event::Leave(node), Event::Enter)),
            Event::Leave(node) if node == self.top => None,
            Event::Leave(node) => match self.document.next_sibling(node) {
                Some(sibling) => Some(Event::Enter(sibling)),
                None => self.document.parent(node).map(Event::Leave),
            },
        };
        Some(event)
    }
}
