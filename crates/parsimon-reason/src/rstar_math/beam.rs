//! Step beam search: keep the best candidates of every step by value. With a width of 1 and one candidate it is greedy decoding.

use serde::{Deserialize, Serialize};

use super::config::{MathConfig, Mode};
use super::expand::{Expander, Step};
use super::{Env, trajectory};
use crate::error::SolveError;
use crate::ledger::Ledger;
use crate::problem::Problem;
use crate::search::{Outcome, Steps};
use crate::solution::{Answered, Candidate};
use crate::tree::{NodeId, Tree};

/// Width and depth of a beam.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BeamConfig {
    /// Partial solutions that are kept.
    pub width: usize,
}

/// Runs a beam; finished candidates leave it and narrow it.
///
/// # Errors
///
/// [`SolveError`], as [`super::solve`].
pub fn beam(
    problem: &Problem,
    beam: BeamConfig,
    config: &MathConfig,
    env: &Env<'_>,
    seed: u64,
) -> Result<(Answered, Ledger), SolveError> {
    if beam.width == 0 {
        return Err(SolveError::Config { field: "width", value: "0".into(), allowed: "1 or more" });
    }
    let config = MathConfig { mode: Mode::TestTime, ..config.clone() };
    let mut expander = Expander::new(problem, &config, env, None, seed)?;
    let mut tree = Tree::new(Step::root());
    let mut front = vec![NodeId::ROOT];
    let mut width = beam.width;
    let mut answered = Answered::default();
    for _ in 0..config.search.max_depth {
        if front.is_empty() || width == 0 || expander.stop() {
            break;
        }
        let batch = expander.expand(&tree, &front)?;
        let mut scored: Vec<(f64, NodeId, bool)> = Vec::new();
        for (leaf, children) in front.iter().zip(batch) {
            let outcomes: Vec<Outcome> = children.iter().map(|child| child.outcome).collect();
            let ids = tree.expand(*leaf, children.into_iter().map(|child| child.data));
            for (id, outcome) in ids.map(NodeId).zip(outcomes) {
                match outcome {
                    Outcome::Open { value } => scored.push((value.unwrap_or(0.0), id, false)),
                    Outcome::Answer { value } => scored.push((value, id, true)),
                    Outcome::Failed => {}
                }
            }
        }
        // Stable: of equal values the candidate that was drawn first.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.truncate(width);
        front.clear();
        for (value, id, ended) in scored {
            if ended {
                width -= 1;
                answered.candidates.push(Candidate {
                    answer: tree.data(id).final_answer.clone(),
                    value,
                    text: trajectory(&tree, id),
                });
            } else {
                front.push(id);
            }
        }
    }
    Ok((answered, expander.into_ledger()))
}
