//! The search of rStar-Math, generic over what a step is: select, expand, score, descend, from the root to an end, without simulation.
//!
//! A rollout starts at the root and goes down: where a node has children, the best of them by the score; where it has none, it is
//! expanded first. An expansion brings children whose values are known at once (a process preference model), answers whose value goes to
//! the root, and failures whose -1 stays with them. Several rollouts can be under way together (a *wave*): they select one after the
//! other, each adding a pending selection along its path (virtual loss), and all expansions of a moment go to the model as one batch.
//! The result depends on the width of the wave and never on threads.

use serde::{Deserialize, Serialize};

use crate::error::SolveError;
use crate::tree::{NodeId, Rule, Schedule, Tree};

/// A child that an expansion brought.
#[derive(Clone, PartialEq, Debug)]
pub struct Child<D> {
    /// What it is.
    pub data: D,
    /// What is known of it.
    pub outcome: Outcome,
    /// The policy's probability.
    pub prior: f32,
}

/// What is known of a child when it is made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Outcome {
    /// Steps can follow; its own first value, where a value model gave one.
    Open {
        /// In [-1, 1].
        value: Option<f64>,
    },
    /// An answer: the value goes to the root.
    Answer {
        /// +1 or -1 by grading, or the value model's score of the trajectory.
        value: f64,
    },
    /// It cannot go on; -1 stays with it.
    Failed,
}

/// What the search is about: how nodes get their children.
pub trait Steps {
    /// What a node is.
    type Data;

    /// The children of each of the leaves; an empty list ends that leaf.
    ///
    /// # Errors
    ///
    /// Whatever stops the search.
    fn expand(&mut self, tree: &Tree<Self::Data>, leaves: &[NodeId])
    -> Result<Vec<Vec<Child<Self::Data>>>, SolveError>;

    /// Whether to stop before the next batch: cancelled, or out of budget.
    fn stop(&mut self) -> bool {
        false
    }
}

/// The settings of the search.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GuidedConfig {
    /// How many rollouts.
    pub rollouts: usize,
    /// Most steps of a trajectory.
    pub max_depth: usize,
    /// The score of a child.
    pub rule: Rule,
    /// Weight of exploration.
    pub c: f64,
    /// How the weight changes.
    pub schedule: Schedule,
    /// Rollouts that are under way together, at least 1.
    pub wave: usize,
    /// Whether finished subtrees are never entered again.
    pub exhaustion: bool,
    /// Whether a selection that finds only ends below a node marks that node alone as an end, as released; needed for the golden traces.
    pub compat: bool,
}

impl Default for GuidedConfig {
    fn default() -> Self {
        GuidedConfig {
            rollouts: 16,
            max_depth: 16,
            rule: Rule::Standard,
            c: 2.0,
            schedule: Schedule::Constant,
            wave: 1,
            exhaustion: true,
            compat: false,
        }
    }
}

impl GuidedConfig {
    /// # Errors
    ///
    /// [`SolveError::Config`] names a number that is out of its range.
    pub fn check(&self) -> Result<(), SolveError> {
        let bad = |field, value: String, allowed| Err(SolveError::Config { field, value, allowed });
        if self.rollouts == 0 {
            return bad("rollouts", "0".into(), "1 or more");
        }
        if self.wave == 0 || self.wave > 4096 {
            return bad("wave", self.wave.to_string(), "1 to 4096");
        }
        if self.max_depth == 0 || self.max_depth > 10_000 {
            return bad("max_depth", self.max_depth.to_string(), "1 to 10,000");
        }
        if !self.c.is_finite() || self.c < 0.0 {
            return bad("c", self.c.to_string(), "0 or more");
        }
        Ok(())
    }
}

/// What a rollout did at a node, for traces and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// It drew the node's children.
    Expand(NodeId),
    /// It went on to a child that was there.
    Descend(NodeId),
}

/// One rollout.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RolloutTrace {
    /// Its moves.
    pub moves: Vec<Move>,
    /// The answers that appeared while it ran.
    pub answers: Vec<NodeId>,
}

struct Cursor {
    at: Option<NodeId>,
    rollout: usize,
    steps: usize,
    /// The node down to which this rollout's pending selections are counted.
    pended: Option<NodeId>,
    trace: RolloutTrace,
}

/// Runs the rollouts on a tree; `observe` sees the tree after each finished wave, with the traces of its rollouts.
///
/// Returns how many rollouts were finished: fewer than asked for when the tree is exhausted or [`Steps::stop`] said so.
///
/// # Errors
///
/// [`SolveError::Config`], and what [`Steps::expand`] returns. The tree is sound after an error too: the batch that failed added nothing.
pub fn search<S: Steps>(
    tree: &mut Tree<S::Data>,
    steps: &mut S,
    config: &GuidedConfig,
    mut observe: impl FnMut(&Tree<S::Data>, &[RolloutTrace]),
) -> Result<usize, SolveError> {
    config.check()?;
    let mut done = 0;
    while done < config.rollouts && !(config.exhaustion && tree.node(NodeId::ROOT).exhausted) && !steps.stop() {
        let width = config.wave.min(config.rollouts - done);
        let traces = wave(tree, steps, config, done, width)?;
        done += traces.len();
        observe(tree, &traces);
    }
    Ok(done)
}

fn wave<S: Steps>(
    tree: &mut Tree<S::Data>,
    steps: &mut S,
    config: &GuidedConfig,
    first: usize,
    width: usize,
) -> Result<Vec<RolloutTrace>, SolveError> {
    let mut cursors: Vec<Cursor> = (0..width)
        .map(|i| {
            let mut cursor =
                Cursor { at: None, rollout: first + i, steps: 0, pended: None, trace: RolloutTrace::default() };
            cursor.at = select(tree, config, cursor.rollout, NodeId::ROOT);
            repend(tree, config, &mut cursor);
            cursor
        })
        .collect();
    let result = run_wave(tree, steps, config, &mut cursors);
    for cursor in &mut cursors {
        if let Some(id) = cursor.pended.take() {
            tree.pend(id, -1);
        }
    }
    result.map(|()| cursors.into_iter().map(|cursor| cursor.trace).collect())
}

fn run_wave<S: Steps>(
    tree: &mut Tree<S::Data>,
    steps: &mut S,
    config: &GuidedConfig,
    cursors: &mut [Cursor],
) -> Result<(), SolveError> {
    loop {
        let mut leaves: Vec<NodeId> = Vec::new();
        for cursor in cursors.iter_mut() {
            descend(tree, config, cursor);
            if let Some(leaf) = cursor.at
                && !leaves.contains(&leaf)
            {
                leaves.push(leaf);
            }
        }
        if leaves.is_empty() {
            return Ok(());
        }
        let batch = steps.expand(tree, &leaves)?;
        assert_eq!(batch.len(), leaves.len(), "an expansion answers every leaf");
        for (leaf, children) in leaves.iter().zip(batch) {
            let answers = attach(tree, config, *leaf, children);
            let owner =
                cursors.iter_mut().find(|cursor| cursor.at == Some(*leaf)).expect("a leaf belongs to a rollout");
            owner.trace.answers.extend(answers);
            owner.trace.moves.push(Move::Expand(*leaf));
            for cursor in cursors.iter_mut().filter(|cursor| cursor.at == Some(*leaf)) {
                cursor.steps += 1;
                cursor.at = select(tree, config, cursor.rollout, *leaf);
                repend(tree, config, cursor);
            }
        }
    }
}

/// Moves a rollout down through nodes that have children, until it stands on one that must be expanded or ends.
fn descend<D>(tree: &mut Tree<D>, config: &GuidedConfig, cursor: &mut Cursor) {
    while let Some(id) = cursor.at {
        let node = tree.node(id);
        if cursor.steps >= config.max_depth || node.terminal || usize::from(node.depth) > config.max_depth {
            cursor.at = None;
            break;
        }
        if !node.expanded {
            return;
        }
        cursor.trace.moves.push(Move::Descend(id));
        cursor.steps += 1;
        cursor.at = select(tree, config, cursor.rollout, id);
        repend(tree, config, cursor);
    }
}

/// Moves the rollout's pending selections down to where it stands.
fn repend<D>(tree: &mut Tree<D>, config: &GuidedConfig, cursor: &mut Cursor) {
    if config.wave == 1 {
        return;
    }
    if let Some(id) = cursor.at {
        if let Some(old) = cursor.pended.replace(id) {
            tree.pend(old, -1);
        }
        tree.pend(id, 1);
    }
}

/// The node to go on with: an unexpanded node itself, else its best child that is no end.
fn select<D>(tree: &mut Tree<D>, config: &GuidedConfig, rollout: usize, id: NodeId) -> Option<NodeId> {
    let node = tree.node(id);
    if !node.expanded && !node.terminal {
        return Some(id);
    }
    let w = config.schedule.weight(config.c, rollout, config.rollouts);
    let best = tree.best_child(id, config.rule, w, |child| {
        let child = tree.node(child);
        !(child.terminal || config.exhaustion && child.exhausted)
    });
    if best.is_none() {
        tree.node_mut(id).terminal = true;
        if config.exhaustion {
            tree.exhaust(id);
        }
    }
    best
}

/// Gives a leaf its children and backs up what is known of them; returns the answers.
fn attach<D>(tree: &mut Tree<D>, config: &GuidedConfig, leaf: NodeId, children: Vec<Child<D>>) -> Vec<NodeId> {
    let known: Vec<(Outcome, f32)> = children.iter().map(|child| (child.outcome, child.prior)).collect();
    let range = tree.expand(leaf, children.into_iter().map(|child| child.data));
    let mut answers = Vec::new();
    if known.is_empty() {
        tree.node_mut(leaf).terminal = true;
        if config.exhaustion {
            tree.exhaust(leaf);
        }
        return answers;
    }
    for (id, (outcome, prior)) in range.map(NodeId).zip(known) {
        tree.node_mut(id).prior = prior;
        match outcome {
            Outcome::Open { value } => {
                if let Some(value) = value {
                    tree.touch(id, value);
                }
                continue;
            }
            Outcome::Answer { value } => {
                tree.node_mut(id).terminal = true;
                tree.backup(id, value);
                answers.push(id);
            }
            Outcome::Failed => {
                tree.node_mut(id).terminal = true;
                tree.touch(id, -1.0);
            }
        }
        if config.exhaustion {
            tree.exhaust(id);
        }
    }
    answers
}

#[cfg(test)]
mod tests;
