//! Trees as JSON in the shape of rStar-Math's released files: one object a problem, `"rstar": {tag: {text, q_value, visit_count, ...}}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{NodeId, Tree};
use crate::error::LoadError;

/// One node of a file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The text of the step.
    #[serde(default)]
    pub text: String,
    /// The answer of a terminal node, or why it ended; empty while the node is open.
    #[serde(default)]
    pub final_answer: String,
    /// The first value.
    #[serde(default)]
    pub value: f64,
    /// The mean value.
    #[serde(default)]
    pub q_value: f64,
    /// How many values.
    #[serde(default)]
    pub visit_count: u64,
    /// What the file says besides; kept when the tree is written again.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A finished tree and the fields of its problem.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TreeRecord {
    /// The question.
    #[serde(default)]
    pub question: String,
    /// Tag to node.
    pub rstar: Map<String, Value>,
    /// What the file says besides.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A tree as a record; `describe` gives the text and the final answer of a node.
pub fn tree_record<D>(tree: &Tree<D>, question: &str, describe: impl Fn(NodeId, &D) -> (String, String)) -> TreeRecord {
    let mut nodes = Map::new();
    for id in tree.ids() {
        let node = tree.node(id);
        let (text, final_answer) = describe(id, tree.data(id));
        let value = if node.first_value.is_nan() { 0.0 } else { f64::from(node.first_value) };
        let record = json!({
            "text": text,
            "extra_info": if id == NodeId::ROOT { format!("question: {question}") } else { String::new() },
            "final_answer": final_answer,
            "value": value,
            "q_value": node.q(),
            "visit_count": node.visits,
        });
        nodes.insert(tree.tag(id), record);
    }
    TreeRecord { question: question.to_owned(), rstar: nodes, other: Map::new() }
}

/// Reads a record back. Means and counts are trusted: the sum of a node is `q_value * visit_count`.
///
/// # Errors
///
/// [`LoadError::Tree`] with the tag, when a node has no parent, a number is not finite, or the nodes are more than 2^24.
pub fn tree_from_record(record: &TreeRecord) -> Result<Tree<NodeRecord>, LoadError> {
    let bad = |tag: &str, what: &str| LoadError::Tree { tag: tag.to_owned(), what: what.to_owned() };
    if record.rstar.len() > 1 << 24 {
        return Err(bad("0", "more than 2^24 nodes"));
    }
    let read = |tag: &str| -> Result<NodeRecord, LoadError> {
        let value = record.rstar.get(tag).ok_or_else(|| bad(tag, "no such node"))?;
        let node: NodeRecord = serde_json::from_value(value.clone()).map_err(|error| bad(tag, &error.to_string()))?;
        if node.q_value.is_finite() && node.value.is_finite() {
            Ok(node)
        } else {
            Err(bad(tag, "a value that is not finite"))
        }
    };
    let mut tree = Tree::new(read("0")?);
    let mut queue = std::collections::VecDeque::from([(NodeId::ROOT, "0".to_owned())]);
    while let Some((id, tag)) = queue.pop_front() {
        let mut children = Vec::new();
        while record.rstar.contains_key(&format!("{tag}.{}", children.len() + 1)) {
            children.push(read(&format!("{tag}.{}", children.len() + 1))?);
        }
        let data = tree.data(id);
        let (sum, visits, first) = (data.q_value * data.visit_count as f64, data.visit_count, data.value);
        let terminal = !data.final_answer.is_empty();
        let node = tree.node_mut(id);
        node.value_sum = sum;
        node.visits = u32::try_from(visits).map_err(|_| bad(&tag, "more than 2^32 visits"))?;
        node.first_value = first as f32;
        node.terminal = terminal;
        if !children.is_empty() {
            if children.len() > usize::from(u16::MAX) {
                return Err(bad(&tag, "more than 65,535 children"));
            }
            for (at, child) in tree.expand(id, children).enumerate() {
                queue.push_back((NodeId(child), format!("{tag}.{}", at + 1)));
            }
        }
    }
    if tree.len() == record.rstar.len() { Ok(tree) } else { Err(bad("0", "nodes without a parent")) }
}
