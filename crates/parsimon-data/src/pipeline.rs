//! The pipeline: a frozen plan of shards, stages over them, manifests that say what is done.
//!
//! The world is frozen before anything runs: [`Plan`] lists the input files with their hashes and the recipe. Every task (a stage of a
//! shard, or a global stage) writes its outputs beside their names and renames them, and its manifest comes last, so that a kill at any
//! moment leaves a task either done or to be done again. A manifest counts only while its outputs have the hashes it names and what
//! went into it is unchanged. Neither the number of workers nor the order in which shards finish changes a byte.
//!
//! ```text
//! WARC shard -> extracted/NNNNN -> documents/NNNNN -> tokenizer.json -> tokens/, heldout.txt
//!               (per shard)        (needs all keys)   (global)          (global)
//!                                  code/ math/ qa/
//! ```

mod apply;
mod explain;
mod extract;
mod fates;
mod manifest;
mod plan;
mod recipe;
mod runner;
mod stages;

pub use explain::{Explanation, explain};
pub use manifest::{Status, TaskState, status, verify};
pub use plan::{Plan, PlanShard};
pub use recipe::{DedupStage, LidStage, Mode, NearStage, Preset, QualityStage, Recipe, Select};
pub use runner::{Heldout, Report, RunOptions, Runner, ShardDone, ShardTask};

#[cfg(test)]
mod tests;
