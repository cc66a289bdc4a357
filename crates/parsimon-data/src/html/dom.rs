//! The tree: nodes in an arena, linked by indices.

use html5ever::{LocalName, QualName, ns};

use super::{INPUT_BYTES_MAX, guard};
use crate::charset::{self, CharsetSource};

/// A node of a [`Document`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// The absent neighbour.
    pub(super) const NONE: NodeId = NodeId(u32::MAX);
    /// The document itself.
    pub(super) const DOCUMENT: NodeId = NodeId(0);

    /// The node's place in tables with [`Document::len`] entries.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn get(self) -> Option<NodeId> {
        (self != NodeId::NONE).then_some(self)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: NodeId,
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
    pub(super) first_child: NodeId,
    pub(super) last_child: NodeId,
    pub(super) depth: u32,
    pub(super) data: NodeData,
}

#[derive(Clone, Debug)]
pub(super) enum NodeData {
    /// The document, a template's content, a comment, a processing instruction.
    Other,
    /// `attributes` is a range of the attribute arena.
    Element { name: QualName, attributes: (u32, u32) },
    /// A range of the text arena.
    Text { start: u32, end: u32 },
}

/// The arenas.
#[derive(Clone, Default, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) attributes: Vec<(LocalName, (u32, u32))>,
    pub(super) text: String,
    pub(super) is_truncated: bool,
}

/// A parsed page.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) tree: Tree,
    charset: &'static str,
    charset_source: CharsetSource,
}

impl Document {
    /// Parses `bytes`; `http_charset` is what the HTTP header says, and the other ways to the encoding are in [`charset`].
    ///
    /// ```
    /// use parsimon_data::html::Document;
    ///
    /// let page = Document::parse(b"<p>caf\xc3\xa9", None);
    /// assert_eq!(page.charset(), "UTF-8");
    /// assert_eq!(page.text_of(page.root()), "caf\u{e9}");
    /// ```
    pub fn parse(bytes: &[u8], http_charset: Option<&str>) -> Document {
        let clipped = &bytes[..bytes.len().min(INPUT_BYTES_MAX)];
        let decoded = charset::decode(clipped, http_charset);
        let mut tree = guard::parse(&decoded.text);
        tree.is_truncated |= clipped.len() < bytes.len();
        Document { tree, charset: decoded.charset, charset_source: decoded.source }
    }

    /// The name of the page's encoding.
    pub fn charset(&self) -> &'static str {
        self.charset
    }

    /// How the encoding was found.
    pub fn charset_source(&self) -> CharsetSource {
        self.charset_source
    }

    /// Whether a limit was passed, so that the tree is not the page's whole tree.
    pub fn is_truncated(&self) -> bool {
        self.tree.is_truncated
    }

    /// The document node.
    pub fn root(&self) -> NodeId {
        NodeId::DOCUMENT
    }

    /// The number of nodes that were made, attached or not.
    pub fn len(&self) -> usize {
        self.tree.nodes.len()
    }

    /// Whether there are no nodes; false, since the document is one.
    pub fn is_empty(&self) -> bool {
        self.tree.nodes.is_empty()
    }

    /// The parent, `None` for the document.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).parent.get()
    }

    /// The first child.
    pub fn first_child(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).first_child.get()
    }

    /// The next sibling.
    pub fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).next.get()
    }

    /// The children, in order.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(self.first_child(node), |&child| self.next_sibling(child))
    }

    /// An element's tag in lower case; SVG and MathML elements have one too.
    pub fn tag(&self, node: NodeId) -> Option<&str> {
        match &self.node(node).data {
            NodeData::Element { name, .. } => Some(&name.local),
            _ => None,
        }
    }

    /// Whether the node is an element of HTML itself, not of SVG or MathML.
    pub fn is_html(&self, node: NodeId) -> bool {
        matches!(&self.node(node).data, NodeData::Element { name, .. } if name.ns == ns!(html))
    }

    /// The value of an attribute without a namespace prefix.
    pub fn attribute(&self, node: NodeId, name: &str) -> Option<&str> {
        let NodeData::Element { attributes: (begin, end), .. } = &self.node(node).data else { return None };
        let attributes = &self.tree.attributes[*begin as usize..*end as usize];
        let (_, (start, end)) = attributes.iter().find(|(known, _)| &**known == name)?;
        Some(&self.tree.text[*start as usize..*end as usize])
    }

    /// The content of a text node.
    pub fn text(&self, node: NodeId) -> Option<&str> {
        match self.node(node).data {
            NodeData::Text { start, end } => Some(&self.tree.text[start as usize..end as usize]),
            _ => None,
        }
    }

    /// All text below `node`, that of scripts included.
    pub fn text_of(&self, node: NodeId) -> String {
        let mut text = String::new();
        for event in self.walk(node) {
            if let super::Event::Enter(node) = event {
                text.push_str(self.text(node).unwrap_or_default());
            }
        }
        text
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.tree.nodes[node.index()]
    }
}
