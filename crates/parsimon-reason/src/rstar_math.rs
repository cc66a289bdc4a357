//! rStar-Math: steps of code that are run, values of steps, and what a search leaves for training.
//!
//! PAPER(rstar-math §3.2): a trajectory is `<code>` steps with the reasoning as comments, the output of the code, and a boxed answer.
//! The search is [`crate::search`]; this room knows how texts become steps ([`step`]), how steps become children ([`Expander`]), and
//! which rows a finished tree gives ([`extract`]).

mod beam;
mod config;
pub mod expand;
pub mod extract;
pub mod step;

pub use beam::{BeamConfig, beam};
pub use config::{MathConfig, Mode};
pub use expand::{Expander, Step};

use crate::error::SolveError;
use crate::ledger::{Budget, Clock, Ledger};
use crate::policy::{CodeRunner, Policy, ValueModel};
use crate::problem::Problem;
use crate::search::search;
use crate::solution::{Answered, Candidate};
use crate::tree::Tree;
use parsimon_core::CancelFlag;

/// What a search may use.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// Proposes.
    pub policy: &'a dyn Policy,
    /// Scores partial solutions.
    pub value: Option<&'a dyn ValueModel>,
    /// Runs code.
    pub runner: Option<&'a dyn CodeRunner>,
    /// Tells the time for the budget.
    pub clock: &'a dyn Clock,
    /// What may be spent.
    pub budget: Budget,
    /// Asks to stop.
    pub cancel: &'a CancelFlag,
}

/// Reward of a final answer during training, where gold is known. Drivers of test time do not take one.
pub trait TerminalReward: Sync {
    /// +1 for a right answer, -1 for a wrong one.
    fn reward(&self, answer: &str) -> f64;
}

/// A finished search.
#[derive(Debug)]
pub struct MathSearch {
    /// The tree.
    pub tree: Tree<Step>,
    /// The answers in the order in which they appeared, with their values.
    pub answered: Answered,
    /// For each rollout the best answer that appeared in it.
    pub per_rollout: Vec<Option<usize>>,
    /// What it cost.
    pub ledger: Ledger,
    /// Which limit ended it, if one did.
    pub budget_exhausted: Option<&'static str>,
}

/// Searches at test time: the value model alone scores answers.
///
/// # Errors
///
/// [`SolveError`]; without a value model [`SolveError::Config`].
pub fn solve(problem: &Problem, config: &MathConfig, env: &Env<'_>, seed: u64) -> Result<MathSearch, SolveError> {
    let config = MathConfig { mode: Mode::TestTime, ..config.clone() };
    run(problem, &config, env, None, seed)
}

/// Searches for training data: answers are graded, and steps get their values from the grades.
///
/// # Errors
///
/// As [`solve`].
pub fn annotate(
    problem: &Problem,
    config: &MathConfig,
    env: &Env<'_>,
    reward: &dyn TerminalReward,
    seed: u64,
) -> Result<MathSearch, SolveError> {
    run(problem, config, env, Some(reward), seed)
}

fn run(
    problem: &Problem,
    config: &MathConfig,
    env: &Env<'_>,
    reward: Option<&dyn TerminalReward>,
    seed: u64,
) -> Result<MathSearch, SolveError> {
    let mut expander = Expander::new(problem, config, env, reward, seed)?;
    let mut tree = Tree::new(Step::root());
    let mut answered = Answered::default();
    let mut per_rollout = Vec::new();
    let guided = config.guided();
    let result = search(&mut tree, &mut expander, &guided, |tree, traces| {
        for trace in traces {
            let first = answered.candidates.len();
            for id in &trace.answers {
                let data = tree.data(*id);
                answered.candidates.push(Candidate {
                    answer: data.final_answer.clone(),
                    value: f64::from(tree.node(*id).first_value),
                    text: trajectory(tree, *id),
                });
            }
            let best = (first..answered.candidates.len())
                .reduce(|a, b| if answered.candidates[b].value > answered.candidates[a].value { b } else { a });
            per_rollout.push(best);
        }
    });
    let rollouts = result? as u64;
    let mut ledger = expander.into_ledger();
    ledger.rollouts = rollouts;
    ledger.backups = answered.candidates.len() as u64;
    if tree.len() == 1 || tree.children(crate::tree::NodeId::ROOT).all(|child| tree.data(child).failed()) {
        return Err(SolveError::NoCandidates);
    }
    let budget_exhausted = env.budget.exceeded(&ledger, env.clock.seconds());
    Ok(MathSearch { tree, answered, per_rollout, ledger, budget_exhausted })
}

/// The texts from the root to a node, joined.
pub fn trajectory(tree: &Tree<Step>, id: crate::tree::NodeId) -> String {
    tree.path(id).into_iter().map(|id| tree.data(id).text.as_str()).collect()
}

#[cfg(test)]
mod tests;
