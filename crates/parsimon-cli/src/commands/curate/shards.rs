//! `parsimon curate plan`, `run-shard` and `verify`: a run in parts, for many processes and machines.

use std::path::PathBuf;

use clap::Args;
use parsimon::data::Plan;
use parsimon::data::Runner;
use parsimon::data::pipeline::{ShardTask, TaskState, verify};
use serde::Serialize;

use super::run::What;
use crate::context::Context;

/// Freeze a plan in a folder without running it.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate plan --preset technical --input 'warc/*.warc.gz' --out corpus")]
pub(super) struct PlanArgs {
    #[command(flatten)]
    what: What,
    /// Where the corpus goes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Start anew where the folder belongs to another plan.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Planned {
    preset: String,
    recipe_hash: String,
    shards: usize,
    bytes: u64,
}

impl PlanArgs {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let plan = self.what.plan()?;
        plan.write(&self.out, self.force)?;
        let planned = Planned {
            preset: plan.recipe.preset.clone(),
            recipe_hash: plan.recipe_hash.clone(),
            shards: plan.shards.len(),
            bytes: plan.shards.iter().map(|shard| shard.bytes).sum(),
        };
        cx.report(&planned, |p| format!("{} shards ({:.1} MB) for {}", p.shards, p.bytes as f64 / 1e6, p.preset))
    }
}

/// Do one task of one shard, or every world-th shard from a rank.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon curate run-shard --out corpus --stage extract --rank $SLURM_ARRAY_TASK_ID --world 64"
)]
pub(super) struct RunShard {
    /// The folder of the plan.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// extract, or documents, which needs every shard's rows.
    #[arg(long, value_parser = |name: &str| ShardTask::from_name(name).ok_or("there are extract and documents"))]
    stage: ShardTask,
    /// The shard.
    #[arg(long, value_name = "K", required_unless_present = "rank")]
    shard: Option<usize>,
    /// Shards rank, rank + world, rank + 2 world, ...
    #[arg(long, value_name = "I", requires = "world", conflicts_with = "shard")]
    rank: Option<usize>,
    /// The number of ranks.
    #[arg(long, value_name = "N", requires = "rank")]
    world: Option<std::num::NonZeroUsize>,
}

impl RunShard {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let shards: Vec<usize> = match (self.shard, self.rank, self.world) {
            (Some(shard), _, _) => vec![shard],
            (None, Some(rank), Some(world)) => {
                (rank..Plan::read(&self.out)?.shards.len()).step_by(world.get()).collect()
            }
            _ => unreachable!("the parser asks for a shard or a rank"),
        };
        let runner = Runner::default();
        let done = shards
            .into_iter()
            .map(|shard| runner.run_shard(&self.out, self.stage, shard, &cx.control()))
            .collect::<Result<Vec<_>, _>>()?;
        cx.report(&done, |done| {
            let line = |task: &parsimon::data::pipeline::ShardDone| {
                format!("{}: {} rows{}", task.task, task.rows, if task.was_done { ", done before" } else { "" })
            };
            done.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    }
}

/// Check every finished task against the hashes of its outputs; exit status 1 when one is damaged.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate verify --out corpus")]
pub(super) struct Verify {
    /// The folder of the corpus.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Verify {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let states = verify(&self.out)?;
        cx.report(&states, |states| {
            states.iter().map(|task| format!("{:<20} {}", task.task, task.state)).collect::<Vec<_>>().join("\n")
        })?;
        let is_damaged = |task: &&TaskState| task.state.starts_with("damaged") || task.state == "stale";
        let n = states.iter().filter(is_damaged).count();
        anyhow::ensure!(n == 0, "{n} tasks are damaged; the command that made the corpus does them again");
        Ok(())
    }
}
