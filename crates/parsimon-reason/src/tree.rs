//! The tree of a search: an arena of nodes whose children are contiguous, with scores, backups, exhaustion and virtual loss.
//!
//! A node holds the numbers of the search in 48 bytes; what it means to the problem lies beside it in a second array. Ids are indices,
//! parents come before children, and nothing is ever removed.

mod score;
mod snapshot;

use std::ops::Range;

pub use score::{Rule, Schedule};
pub use snapshot::{NodeRecord, TreeRecord, tree_from_record, tree_record};

/// The index of a node in its tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The root of every tree.
    pub const ROOT: NodeId = NodeId(0);

    fn at(self) -> usize {
        self.0 as usize
    }
}

/// The numbers of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Sum of the values that were backed up.
    pub value_sum: f64,
    parent: u32,
    first_child: u32,
    /// How many values were backed up.
    pub visits: u32,
    /// The first value that the node ever received; NaN before.
    pub first_value: f32,
    /// The policy's probability of the step, where it is known.
    pub prior: f32,
    n_children: u16,
    /// Steps from the root.
    pub depth: u16,
    /// Selections that are under way (virtual loss).
    pub pending: u16,
    /// No step follows.
    pub terminal: bool,
    /// Its children were drawn.
    pub expanded: bool,
    /// Nothing below it is left to find.
    pub exhausted: bool,
    /// It was met by a rollout (rStar's selection).
    pub explored: bool,
}

impl Node {
    fn new(parent: u32, depth: u16) -> Self {
        Node {
            value_sum: 0.0,
            parent,
            first_child: 0,
            visits: 0,
            first_value: f32::NAN,
            prior: 1.0,
            n_children: 0,
            depth,
            pending: 0,
            terminal: false,
            expanded: false,
            exhausted: false,
            explored: false,
        }
    }

    /// Mean of the values, 0 before the first; every pending selection counts as a visit of value -1.
    pub fn q(&self) -> f64 {
        let visits = f64::from(self.visits) + f64::from(self.pending);
        if visits == 0.0 { 0.0 } else { (self.value_sum - f64::from(self.pending)) / visits }
    }
}

/// A tree whose nodes carry a `D` each.
#[derive(Clone, Debug)]
pub struct Tree<D> {
    nodes: Vec<Node>,
    data: Vec<D>,
}

impl<D> Tree<D> {
    /// A tree of a root alone.
    pub fn new(root: D) -> Self {
        Tree { nodes: vec![Node::new(u32::MAX, 0)], data: vec![root] }
    }

    /// Number of nodes, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a tree has a root")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The numbers of a node.
    ///
    /// # Panics
    ///
    /// When the id is of another, larger tree; so for all accessors.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.at()]
    }

    /// As [`Tree::node`], to change.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.at()]
    }

    /// What the node means to the problem.
    pub fn data(&self, id: NodeId) -> &D {
        &self.data[id.at()]
    }

    /// All ids, parents before children.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<D> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The parent; `None` for the root.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        let parent = self.node(id).parent;
        (parent != u32::MAX).then_some(NodeId(parent))
    }

    fn child_range(&self, id: NodeId) -> Range<u32> {
        let node = self.node(id);
        node.first_child..node.first_child + u32::from(node.n_children)
    }

    /// The children in the order in which they were drawn.
    pub fn children(&self, id: NodeId) -> impl ExactSizeIterator<Item = NodeId> + DoubleEndedIterator + use<D> {
        let range = self.child_range(id);
        (range.start as usize..range.end as usize).map(|at| NodeId(at as u32))
    }

    /// Gives a node its children, once. No child at all makes it terminal.
    ///
    /// # Panics
    ///
    /// When the node was expanded before, or has more than 65,535 children.
    pub fn expand(&mut self, id: NodeId, children: impl IntoIterator<Item = D>) -> Range<u32> {
        assert!(!self.node(id).expanded, "a node is expanded once");
        let (first, depth) = (self.nodes.len() as u32, self.node(id).depth.saturating_add(1));
        for data in children {
            self.nodes.push(Node::new(id.0, depth));
            self.data.push(data);
        }
        let n = self.nodes.len() as u32 - first;
        let node = &mut self.nodes[id.at()];
        node.first_child = first;
        node.n_children = u16::try_from(n).expect("at most 65,535 children");
        node.expanded = true;
        first..first + n
    }

    /// The nodes from the root to `id`, both included.
    pub fn path(&self, id: NodeId) -> Vec<NodeId> {
        let mut path: Vec<NodeId> = std::iter::successors(Some(id), |id| self.parent(*id)).collect();
        path.reverse();
        path
    }

    /// The tag of a node: `0` for the root, `0.2.1` for the first child of its second child.
    pub fn tag(&self, id: NodeId) -> String {
        let mut tag = String::from("0");
        for pair in self.path(id).windows(2) {
            let index = pair[1].0 - self.node(pair[0]).first_child + 1;
            tag.push('.');
            tag.push_str(&index.to_string());
        }
        tag
    }

    /// Adds a value to one node alone.
    pub fn touch(&mut self, id: NodeId, value: f64) {
        let node = &mut self.nodes[id.at()];
        if node.first_value.is_nan() {
            node.first_value = value as f32;
        }
        node.visits += 1;
        node.value_sum += value;
    }

    /// Adds a value to a node and to all above it.
    pub fn backup(&mut self, id: NodeId, value: f64) {
        let mut at = Some(id);
        while let Some(id) = at {
            self.touch(id, value);
            at = self.parent(id);
        }
    }

    /// Marks a node as finished, and every ancestor all of whose children are.
    pub fn exhaust(&mut self, id: NodeId) {
        self.node_mut(id).exhausted = true;
        let mut at = self.parent(id);
        while let Some(id) = at {
            if !self.node(id).expanded || self.children(id).any(|child| !self.node(child).exhausted) {
                return;
            }
            self.node_mut(id).exhausted = true;
            at = self.parent(id);
        }
    }

    /// Adds (or with `-1` removes) a pending selection along the path to a node.
    pub fn pend(&mut self, id: NodeId, by: i32) {
        let mut at = Some(id);
        while let Some(id) = at {
            let node = self.node_mut(id);
            node.pending =
                node.pending.checked_add_signed(by as i16).expect("selections are removed as often as they were added");
            at = self.parent(id);
        }
    }

    /// What must hold after every rollout.
    ///
    /// # Panics
    ///
    /// When a selection is still pending, a child has more visits than its parent and itself could have received, or a mean left [-1, 1]
    /// although `bounded` says that all values are inside.
    pub fn assert_sound(&self, bounded: bool) {
        for id in self.ids() {
            let node = self.node(id);
            assert_eq!(node.pending, 0, "a selection was never finished");
            assert!(
                !bounded || node.q().abs() <= 1.0 + 1e-9,
                "the mean {} of {} left its bounds",
                node.q(),
                self.tag(id)
            );
            if let Some(parent) = self.parent(id) {
                // One visit may be the node's own first value.
                assert!(
                    node.visits <= self.node(parent).visits + 1,
                    "{} was visited more often than its parent",
                    self.tag(id)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
