//! The tree sink: html5ever's tree construction builds our arena through it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::{Attribute, LocalName, Namespace, QualName, expanded_name, local_name, ns};

use super::dom::{Node, NodeData, NodeId, Tree};

/// Builds a [`Tree`].
pub(super) struct Sink {
    tree: RefCell<Tree>,
    /// The depth of the element that was inserted last.
    depth: Cell<u32>,
}

/// An element's name, owned so that no borrow of the tree outlives the question for it.
#[derive(Debug)]
pub(super) struct Name(QualName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl Sink {
    pub(super) fn new() -> Sink {
        let sink = Sink { tree: RefCell::default(), depth: Cell::new(0) };
        sink.create(NodeData::Other);
        sink
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth.get()
    }

    pub(super) fn n_nodes(&self) -> usize {
        self.tree.borrow().nodes.len()
    }

    pub(super) fn mark_truncated(&self) {
        self.tree.borrow_mut().is_truncated = true;
    }

    fn create(&self, data: NodeData) -> NodeId {
        let nodes = &mut self.tree.borrow_mut().nodes;
        let id = NodeId(u32::try_from(nodes.len()).expect("the guard stops far below 2^32 nodes"));
        let none = NodeId::NONE;
        nodes.push(Node {
            parent: none,
            previous: none,
            next: none,
            first_child: none,
            last_child: none,
            depth: 0,
            data,
        });
        id
    }

    /// The node to insert: for text, a new node unless it continues the text node `before` at the arena's end.
    fn resolve(&self, child: NodeOrText<NodeId>, before: NodeId) -> Option<NodeId> {
        let text = match child {
            NodeOrText::AppendNode(node) => return Some(node),
            NodeOrText::AppendText(text) => text,
        };
        let (start, end) = {
            let mut tree = self.tree.borrow_mut();
            let range = tree.push_text(&text);
            if let Some(before) = before.get()
                && let NodeData::Text { end, .. } = &mut tree.nodes[before.index()].data
                && *end == range.0
            {
                *end = range.1;
                return None;
            }
            range
        };
        Some(self.create(NodeData::Text { start, end }))
    }
}

impl Tree {
    fn push_text(&mut self, text: &str) -> (u32, u32) {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        (start, self.text.len() as u32)
    }

    fn push_attributes(&mut self, attributes: &[Attribute]) {
        for attribute in attributes {
            let value = self.push_text(&attribute.value);
            self.attributes.push((attribute.name.local.clone(), value));
        }
    }

    fn detach(&mut self, node: NodeId) {
        let Node { parent, previous, next, .. } = self.nodes[node.index()];
        if let Some(previous) = previous.get() {
            self.nodes[previous.index()].next = next;
        } else if let Some(parent) = parent.get() {
            self.nodes[parent.index()].first_child = next;
        }
        if let Some(next) = next.get() {
            self.nodes[next.index()].previous = previous;
        } else if let Some(parent) = parent.get() {
            self.nodes[parent.index()].last_child = previous;
        }
        let node = &mut self.nodes[node.index()];
        (node.parent, node.previous, node.next) = (NodeId::NONE, NodeId::NONE, NodeId::NONE);
    }

    /// Inserts `node` below `parent`, in front of `next` or at the end.
    fn insert(&mut self, parent: NodeId, node: NodeId, next: NodeId) {
        self.detach(node);
        let previous = match next.get() {
            Some(next) => self.nodes[next.index()].previous,
            None => self.nodes[parent.index()].last_child,
        };
        let depth = self.nodes[parent.index()].depth + 1;
        let entry = &mut self.nodes[node.index()];
        (entry.parent, entry.previous, entry.next, entry.depth) = (parent, previous, next, depth);
        match previous.get() {
            Some(previous) => self.nodes[previous.index()].next = node,
            None => self.nodes[parent.index()].first_child = node,
        }
        match next.get() {
            Some(next) => self.nodes[next.index()].previous = node,
            None => self.nodes[parent.index()].last_child = node,
        }
    }
}

impl TreeSink for Sink {
    type Handle = NodeId;
    type Output = Tree;
    type ElemName<'a> = Name;

    fn finish(self) -> Tree {
        self.tree.into_inner()
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        NodeId::DOCUMENT
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> Name {
        match &self.tree.borrow().nodes[target.index()].data {
            NodeData::Element { name, .. } => Name(name.clone()),
            // The tree construction asks for elements only; a name that nothing matches is harmless.
            _ => Name(QualName::new(None, ns!(), LocalName::from(""))),
        }
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, flags: ElementFlags) -> NodeId {
        let range = {
            let mut tree = self.tree.borrow_mut();
            let begin = tree.attributes.len() as u32;
            tree.push_attributes(&attributes);
            (begin, tree.attributes.len() as u32)
        };
        let element = self.create(NodeData::Element { name, attributes: range });
        if flags.template {
            // Its content hangs on a node of its own, the next one, which no walk reaches.
            self.create(NodeData::Other);
        }
        element
    }

    fn create_comment(&self, _text: StrTendril) -> NodeId {
        self.create(NodeData::Other)
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> NodeId {
        self.create(NodeData::Other)
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        let last = self.tree.borrow().nodes[parent.index()].last_child;
        if let Some(node) = self.resolve(child, last) {
            let mut tree = self.tree.borrow_mut();
            tree.insert(*parent, node, NodeId::NONE);
            if matches!(tree.nodes[node.index()].data, NodeData::Element { .. }) {
                self.depth.set(tree.nodes[node.index()].depth);
            }
        }
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        if self.tree.borrow().nodes[element.index()].parent.get().is_some() {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }

    fn append_doctype_to_document(&self, _name: StrTendril, _public_id: StrTendril, _system_id: StrTendril) {}

    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        NodeId(target.0 + 1)
    }

    fn same_node(&self, x: &NodeId, y: &NodeId) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &NodeId, child: NodeOrText<NodeId>) {
        let (parent, before) = {
            let node = &self.tree.borrow().nodes[sibling.index()];
            (node.parent, node.previous)
        };
        let Some(parent) = parent.get() else { return };
        if let Some(node) = self.resolve(child, before) {
            let mut tree = self.tree.borrow_mut();
            tree.insert(parent, node, *sibling);
            if matches!(tree.nodes[node.index()].data, NodeData::Element { .. }) {
                self.depth.set(tree.nodes[node.index()].depth);
            }
        }
    }

    fn add_attrs_if_missing(&self, target: &NodeId, attributes: Vec<Attribute>) {
        let mut tree = self.tree.borrow_mut();
        let NodeData::Element { attributes: (begin, end), .. } = tree.nodes[target.index()].data else { return };
        let known: Vec<_> = tree.attributes[begin as usize..end as usize].to_vec();
        let is_new = |attribute: &Attribute| known.iter().all(|(name, _)| *name != attribute.name.local);
        let added: Vec<Attribute> = attributes.into_iter().filter(is_new).collect();
        if added.is_empty() {
            return;
        }
        let start = tree.attributes.len() as u32;
        tree.attributes.extend(known);
        tree.push_attributes(&added);
        let range = (start, tree.attributes.len() as u32);
        if let NodeData::Element { attributes, .. } = &mut tree.nodes[target.index()].data {
            *attributes = range;
        }
    }

    fn remove_from_parent(&self, target: &NodeId) {
        self.tree.borrow_mut().detach(*target);
    }

    fn reparent_children(&self, node: &NodeId, new_parent: &NodeId) {
        let mut tree = self.tree.borrow_mut();
        while let Some(child) = tree.nodes[node.index()].first_child.get() {
            tree.insert(*new_parent, child, NodeId::NONE);
        }
    }

    fn is_mathml_annotation_xml_integration_point(&self, handle: &NodeId) -> bool {
        let tree = self.tree.borrow();
        let NodeData::Element { name, attributes: (begin, end) } = &tree.nodes[handle.index()].data else {
            return false;
        };
        name.expanded() == expanded_name!(mathml "annotation-xml")
            && tree.attributes[*begin as usize..*end as usize].iter().any(|(name, (start, end))| {
                let value = &tree.text[*start as usize..*end as usize];
                let is_html =
                    ["text/html", "application/xhtml+xml"].iter().any(|kind| value.eq_ignore_ascii_case(kind));
                &**name == "encoding" && is_html
            })
    }
}
