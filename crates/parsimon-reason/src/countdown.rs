//! Countdown: a domain in which everything of the paper runs without a download, with a small policy and a preference model trained here.
//!
//! Four numbers and a target; every number is used once, the results stay non-negative integers. A state is what numbers are left, a step
//! combines two of them, and after three steps the last number is compared with the target. The policy is a perceptron that scores every
//! legal step of a state, the preference model the same perceptron on a step and what it leaves; see [`train`](CountdownTrainer).

mod domain;
mod evolve;
mod features;
mod mlp;
mod play;
mod text;
mod train;

pub use domain::{Game, GameRecord, Op, State, Step, generate, read_games, solving_leaves};
pub use evolve::{Ablation, EvolveConfig, EvolveError, MethodTable, RoundReport, Selected, evolve};
pub use features::{FEATURES, features};
pub(crate) use mlp::crc32;
pub use mlp::{Mlp, MlpError};
pub use play::{Found, Player, SearchSettings};
pub use text::TinyPolicy;
pub use train::{CountdownTrainer, Pair, PolicyRow, Trainer, preference_loss, preference_slope, value_of};
