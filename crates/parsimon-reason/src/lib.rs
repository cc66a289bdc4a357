//! Reasoning by tree search.
#![forbid(unsafe_code)]

mod action;
pub mod answer;
pub mod compat;
pub mod countdown;
mod error;
pub mod ledger;
pub mod policy;
pub mod problem;
pub mod rstar;
pub mod rstar_math;
pub mod search;
pub mod solution;
pub mod tree;

pub use action::{Action, ReasonError};
pub use answer::Grader;
pub use error::{LoadError, PolicyError, RunnerError, SolveError};
pub use ledger::{Budget, Ledger};
pub use policy::{CodeRunner, Policy, ValueModel};
pub use problem::{LabeledProblem, Problem};
