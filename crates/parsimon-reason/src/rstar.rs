//! rStar: a generator that grows a tree by five human-like actions, and a second model that checks its trajectories.
//!
//! PAPER(rstar §3.2): the generator's rollouts are in [`rollout`], what the actions ask and answer in [`actions`], the text of a solution
//! in [`record`], and mutual consistency in [`mod@discriminate`]. Rewards come from votes alone; nothing here can see a gold answer.

pub mod actions;
mod confidence;
pub mod discriminate;
pub mod prompt;
pub mod record;
pub mod rollout;

pub use actions::{Generated, RstarConfig, RstarNode, generate};
pub use confidence::{Confidence, confidence};
pub use discriminate::{
    Consistency, DiscriminateConfig, Stage, Trace, Verdict, discriminate, merge_traces, verdict_of,
};
pub use prompt::Prompts;
pub use record::{Mask, Record};
