//! Reasoning by tree search: the vocabulary of rStar and rStar-Math. There is no search here yet.
//!
//! ```
//! use parsimon_reason::Action;
//!
//! let action: Action = "A3".parse()?;
//! assert_eq!(action, Action::SubQuestion);
//! assert_eq!(action.label(), "A3");
//! # Ok::<(), parsimon_reason::ReasonError>(())
//! ```
//!
//! # Overview
//!
//! - [`Action`]: the five human-like actions of rStar's search.
//! - [`ReasonError`]: what is wrong with a name.
//!
//! # What it will be
//!
//! The search (Monte Carlo tree search with upper confidence bounds), the verification (execution of code in a sandbox, answer
//! equivalence), the selection (votes, mutual consistency, reward models) and the extraction of training data, over a `Policy` that the
//! caller brings. It will know policies and rewards, not models.
//!
//! # When to use it
//!
//! Not yet, unless you need the names.
//!
//! # The papers
//!
//! Mutual Reasoning Makes Smaller LLMs Stronger Problem-Solvers (rStar, arXiv 2408.06195) and rStar-Math: Small LLMs Can Master Math
//! Reasoning with Self-Evolved Deep Thinking (arXiv 2501.04519). Implemented: the names of rStar's actions. `docs/papers/rstar.md` and
//! `docs/papers/rstar-math.md` keep the account.
#![forbid(unsafe_code)]

mod action;
pub mod answer;

pub use action::{Action, ReasonError};
pub use answer::Grader;
