//! Reasoning by tree search.
#![forbid(unsafe_code)]

mod action;
pub mod answer;
pub mod cache;
pub mod compat;
pub mod countdown;
mod error;
pub mod ledger;
#[cfg(feature = "http")]
pub mod llm;
pub mod policy;
pub mod problem;
pub mod rstar;
pub mod rstar_math;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
pub mod sandbox;
pub mod search;
pub mod solution;
pub mod tree;

pub use action::{Action, ReasonError};
pub use answer::Grader;
pub use error::{LoadError, PolicyError, RunnerError, SolveError};
pub use ledger::{Budget, Ledger};
pub use policy::{CodeRunner, Policy, ValueModel};
pub use problem::{LabeledProblem, Problem};
