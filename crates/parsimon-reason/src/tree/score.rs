//! The scores by which a child is selected.

use super::{NodeId, Tree};

/// How children are scored; `w` is the exploration weight, `N` visits and `Q` the mean value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// `Q + w sqrt(ln N_parent / N)`, infinite for a child that was never visited.
    Standard,
    /// As released with rStar-Math: a child without visits has no bonus at all.
    RStarMath,
    /// `Q + w P sqrt(N_parent) / (1 + N)`.
    Puct,
    /// AlphaZero's weight `ln((N_parent + 19653) / 19652) + 1.25` in place of `w`.
    OpenR,
}

impl Rule {
    /// The score of a child.
    pub fn score(self, q: f64, visits: f64, parent_visits: f64, prior: f64, w: f64) -> f64 {
        match self {
            Rule::Standard if visits == 0.0 => f64::INFINITY,
            Rule::Standard => q + w * (parent_visits.max(1.0).ln() / visits).sqrt(),
            Rule::RStarMath if visits == 0.0 || parent_visits == 0.0 => q,
            Rule::RStarMath => q + w * (parent_visits.ln() / visits).sqrt(),
            Rule::Puct => q + w * prior * parent_visits.sqrt() / (1.0 + visits),
            Rule::OpenR => {
                let weight = ((parent_visits + 19652.0 + 1.0) / 19652.0).ln() + 1.25;
                q + weight * prior * parent_visits.sqrt() / (1.0 + visits)
            }
        }
    }
}

/// How the exploration weight changes over the rollouts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Always `c`.
    Constant,
    /// From `c` down to a tenth of it: `c (1 - 0.9 k / K)`.
    Linear,
    /// `c 0.1^(k / K)`.
    Exponential,
}

impl Schedule {
    /// The weight of rollout `k` of `total`.
    pub fn weight(self, c: f64, k: usize, total: usize) -> f64 {
        let part = k as f64 / total.max(1) as f64;
        match self {
            Schedule::Constant => c,
            Schedule::Linear => c * (1.0 - 0.9 * part),
            Schedule::Exponential => c * 0.1f64.powf(part),
        }
    }
}

impl<D> Tree<D> {
    /// The child of the highest score among those that `allow` lets pass; the first of equals.
    pub fn best_child(&self, id: NodeId, rule: Rule, w: f64, allow: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let parent = self.node(id);
        let parent_visits = f64::from(parent.visits) + f64::from(parent.pending);
        let mut best: Option<(NodeId, f64)> = None;
        for child in self.children(id).filter(|child| allow(*child)) {
            let node = self.node(child);
            let visits = f64::from(node.visits) + f64::from(node.pending);
            let score = rule.score(node.q(), visits, parent_visits, f64::from(node.prior), w);
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((child, score));
            }
        }
        best.map(|(child, _)| child)
    }
}
