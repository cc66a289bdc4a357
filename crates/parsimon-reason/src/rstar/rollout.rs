//! rStar's rollouts: select by upper confidence bounds, expand, simulate to an end, back up.
//!
//! Children that no rollout has met are chosen uniformly before any score is looked at, the simulation expands real nodes, and the reward
//! is the value of the leaf that it reaches. Randomness enters through a [`Chooser`] alone.

use crate::error::SolveError;
use crate::tree::{NodeId, Rule, Schedule, Tree};
use parsimon_core::SplitMix64;

/// Draws one of `len` children.
pub trait Chooser {
    /// An index below `len`, which is at least 1.
    fn choose(&mut self, len: usize) -> usize;
}

impl Chooser for SplitMix64 {
    fn choose(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

/// A child that an expansion brought.
#[derive(Clone, PartialEq, Debug)]
pub struct NewChild<D> {
    /// What it is.
    pub data: D,
    /// Whether nothing follows it.
    pub terminal: bool,
}

/// What the tree is about.
pub trait Expansion {
    /// What a node is.
    type Data;

    /// The children of a node.
    ///
    /// # Errors
    ///
    /// Whatever stops the search.
    fn expand(&mut self, tree: &Tree<Self::Data>, id: NodeId) -> Result<Vec<NewChild<Self::Data>>, SolveError>;

    /// The reward of the end of a rollout, in [0, 1]: the value of a valid leaf, 0 for anything else.
    fn reward(&self, tree: &Tree<Self::Data>, id: NodeId) -> f64;

    /// Whether to stop before the next rollout.
    fn stop(&mut self) -> bool {
        false
    }
}

/// The settings of the rollouts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RolloutConfig {
    /// How many.
    pub rollouts: usize,
    /// Weight of exploration.
    pub c: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Whether finished subtrees are never entered again; the released program enters them.
    pub exhaustion: bool,
}

/// Runs the rollouts; `observe` sees the tree and the end of each.
///
/// Returns how many were finished.
///
/// # Errors
///
/// What [`Expansion::expand`] returns.
pub fn rollouts<E: Expansion>(
    tree: &mut Tree<E::Data>,
    expansion: &mut E,
    config: &RolloutConfig,
    chooser: &mut dyn Chooser,
    mut observe: impl FnMut(usize, &Tree<E::Data>, NodeId),
) -> Result<usize, SolveError> {
    for k in 0..config.rollouts {
        if config.exhaustion && tree.node(NodeId::ROOT).exhausted || expansion.stop() {
            return Ok(k);
        }
        let mut path = select(tree, config, k, chooser);
        let mut last = *path.last().expect("a path has a root");
        if !tree.node(last).explored {
            if tree.node(last).terminal {
                tree.node_mut(last).explored = true;
            } else {
                grow(tree, expansion, last)?;
            }
        }
        while !tree.node(last).terminal {
            grow(tree, expansion, last)?;
            let children: Vec<NodeId> = open_children(tree, config, last).collect();
            if children.is_empty() {
                tree.node_mut(last).terminal = true;
                break;
            }
            last = children[chooser.choose(children.len())];
            path.push(last);
        }
        let reward = expansion.reward(tree, last);
        tree.node_mut(last).explored = true;
        for id in &path {
            tree.touch(*id, reward);
            tree.node_mut(*id).explored = true;
        }
        if config.exhaustion {
            tree.exhaust(last);
        }
        observe(k, tree, last);
    }
    Ok(config.rollouts)
}

fn open_children<'t, D>(
    tree: &'t Tree<D>,
    config: &RolloutConfig,
    id: NodeId,
) -> impl Iterator<Item = NodeId> + use<'t, D> {
    let exhaustion = config.exhaustion;
    tree.children(id).filter(move |child| !(exhaustion && tree.node(*child).exhausted))
}

fn select<D>(tree: &Tree<D>, config: &RolloutConfig, k: usize, chooser: &mut dyn Chooser) -> Vec<NodeId> {
    let mut path = vec![NodeId::ROOT];
    loop {
        let id = *path.last().expect("a path has a root");
        if !tree.node(id).expanded || tree.node(id).terminal {
            return path;
        }
        let fresh: Vec<NodeId> = open_children(tree, config, id).filter(|child| !tree.node(*child).explored).collect();
        if !fresh.is_empty() {
            path.push(fresh[chooser.choose(fresh.len())]);
            return path;
        }
        let w = config.schedule.weight(config.c, k, config.rollouts);
        match tree.best_child(id, Rule::Standard, w, |child| !(config.exhaustion && tree.node(child).exhausted)) {
            Some(child) => path.push(child),
            None => return path,
        }
    }
}

fn grow<E: Expansion>(tree: &mut Tree<E::Data>, expansion: &mut E, id: NodeId) -> Result<(), SolveError> {
    if tree.node(id).expanded {
        return Ok(());
    }
    let children = expansion.expand(tree, id)?;
    let ends: Vec<bool> = children.iter().map(|child| child.terminal).collect();
    let range = tree.expand(id, children.into_iter().map(|child| child.data));
    for (child, terminal) in range.map(NodeId).zip(ends) {
        tree.node_mut(child).terminal = terminal;
    }
    Ok(())
}
