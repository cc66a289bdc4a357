//! Reasoning by tree search: rStar and rStar-Math over any policy, with graded answers, sandboxed code, model clients and self-evolution.
//!
//! ```
//! use std::collections::HashMap;
//! use parsimon_core::CancelFlag;
//! use parsimon_reason::policy::{Chain, Noise, NoisyChains};
//! use parsimon_reason::{Budget, Problem, ledger::NoClock, rstar_math::Env, solver::{SolverConfig, solve_problem}};
//!
//! // A policy that is wrong in one of five steps stands in for a model.
//! let chain = Chain::read("6 boxes of 4 <<6*4=24>>24\n2 given away <<24-2=22>>22\n#### 22").expect("it computes");
//! let policy = NoisyChains::new(HashMap::from([("pens".to_owned(), chain)]), Noise::Scatter, 0.2);
//! let problem = Problem { id: "pens".into(), text: "Ann has 6 boxes of 4 pens and gives 2 away. How many are left?".into() };
//! let cancel = CancelFlag::new();
//! let env = Env { policy: &policy, value: None, runner: None, clock: &NoClock, budget: Budget::default(), cancel: &cancel };
//! let (solution, _tree) = solve_problem(&problem, &SolverConfig::default(), &env, None)?;
//! assert_eq!(solution.answer.as_deref(), Some("22"));
//! # Ok::<(), parsimon_reason::SolveError>(())
//! ```
//!
//! # Overview
//!
//! - [`Policy`], [`ValueModel`] and [`CodeRunner`]: what a search asks of the world. [`policy`] has the types and simulated policies, `llm`
//!   (feature `http`) the clients of servers, [`cache`] the record that replays any run.
//! - [`solver::solve_problem`]: one problem by any method. Below it [`rstar`] (five actions, votes, mutual consistency), [`rstar_math`] (steps
//!   of code, values, training rows), [`search`] and [`tree`] (the engine), [`solution`] (votes and estimates).
//! - [`Grader`] and [`answer`]: whether two answers are the same mathematics, and how each data set reads them.
//! - `sandbox` (feature `sandbox`, Linux): model-written Python behind namespaces, Landlock and seccomp.
//! - [`countdown`]: a domain with a policy and a preference model that are trained here, and rounds of self-evolution.
//! - [`problem`], [`run`], [`ledger`]: problems without their answers, run folders that survive a kill, costs and budgets.
//!
//! # When to use it
//!
//! When several answers of a small model, compared, checked or scored, are better than one. It knows policies and rewards, not models: a
//! server, a local model through the facade's `LocalPolicy`, or your own [`Policy`]. It trains no language models; it makes their rows.
//!
//! # No gold in a search
//!
//! A [`Problem`] has no field for the gold answer, and searches, votes and discriminators take nothing else. Only grading and the
//! training-time search ([`rstar_math::annotate`], through a [`rstar_math::TerminalReward`]) know right from wrong.
//!
//! # Numerics
//!
//! A search is a function of its seeds and of what the policy answers: not of threads, time or scheduling. Waves of rollouts depend on their
//! width. Grading is exact for rational expressions (modulo two primes of 61 bits) and of 31 digits for the rest; a step budget, no clock,
//! bounds it. The perceptrons of Countdown differ by rounding between instruction-set levels.
//!
//! # Features
//!
//! `http`: clients over plain HTTP. `sandbox`: the sandbox, on Linux. Neither is on by default.
//!
//! # The papers
//!
//! Mutual Reasoning Makes Smaller LLMs Stronger Problem-Solvers (rStar, arXiv 2408.06195) and rStar-Math: Small LLMs Can Master Math
//! Reasoning with Self-Evolved Deep Thinking (arXiv 2501.04519). `docs/papers/rstar.md` and `docs/papers/rstar-math.md` keep the account:
//! claims, tests, deviations and measurements.
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
pub mod run;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
pub mod sandbox;
pub mod search;
pub mod solution;
pub mod solver;
pub mod tree;

pub use action::{Action, ReasonError};
pub use answer::Grader;
pub use error::{LoadError, PolicyError, RunnerError, SolveError};
pub use ledger::{Budget, Ledger};
pub use policy::{CodeRunner, Policy, ValueModel};
pub use problem::{LabeledProblem, Problem};
