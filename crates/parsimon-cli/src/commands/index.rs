//! `parsimon index`: a durable vector index.

mod files;
mod run;
mod state;
mod write;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use parsimon::ann::{Durability, Index, Rebuild, Runtime, VectorId};
use parsimon::tensor::fnv1a64;

use crate::context::Context;
use crate::failure::BadInput;

/// Build, update and search an index of vectors.
#[derive(Args)]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Subcommand)]
enum IndexCommand {
    Create(write::Create),
    Build(write::Build),
    /// Add vectors under new ids.
    #[command(after_help = "Example: parsimon index insert idx --data more.u8bin --start 200000")]
    Insert(write::Vectors),
    /// Add vectors, replacing those of the same ids.
    #[command(after_help = "Example: parsimon index upsert idx --data more.u8bin --ids ids.npy")]
    Upsert(write::Vectors),
    Delete(write::Delete),
    Search(state::Search),
    Stats(state::Stats),
    Verify(state::Verify),
    Checkpoint(state::Checkpoint),
    Maintain(state::Maintain),
    Compact(state::Compact),
    Salvage(state::Salvage),
    Run(run::Run),
    Groundtruth(files::Groundtruth),
    Runbook(files::RunbookArgs),
    Convert(files::Convert),
}

impl IndexArgs {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.command {
            IndexCommand::Create(args) => args.run(cx),
            IndexCommand::Build(args) => args.run(cx),
            IndexCommand::Insert(args) => args.run(cx, true),
            IndexCommand::Upsert(args) => args.run(cx, false),
            IndexCommand::Delete(args) => args.run(cx),
            IndexCommand::Search(args) => args.run(cx),
            IndexCommand::Stats(args) => args.run(cx),
            IndexCommand::Verify(args) => args.run(cx),
            IndexCommand::Checkpoint(args) => args.run(cx),
            IndexCommand::Maintain(args) => args.run(cx),
            IndexCommand::Compact(args) => args.run(cx),
            IndexCommand::Salvage(args) => args.run(cx),
            IndexCommand::Run(args) => args.run(cx),
            IndexCommand::Groundtruth(args) => args.run(cx),
            IndexCommand::Runbook(args) => args.run(cx),
            IndexCommand::Convert(args) => args.run(cx),
        }
    }
}

/// The runtime of the commands: durable, and rebalanced before an update returns.
fn runtime() -> Runtime {
    Runtime { durability: Durability::Sync, rebuild: Rebuild::Inline, ..Runtime::default() }
}

fn open(dir: &Path) -> anyhow::Result<Index> {
    Ok(Index::open(dir, runtime())?)
}

/// A name that differs from index to index: of the place, the process and the time.
fn uuid(dir: &Path) -> [u8; 16] {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let text = format!("{} {} {now}", dir.display(), std::process::id());
    let halves = [fnv1a64(text.as_bytes()), fnv1a64(format!("{text}.").as_bytes())];
    std::array::from_fn(|i| halves[i / 8].to_le_bytes()[i % 8])
}

/// Ids of the rows of a file.
fn ids_of(ids: &Option<PathBuf>, start: u64, rows: usize) -> anyhow::Result<Vec<VectorId>> {
    let Some(path) = ids else { return Ok((start..start + rows as u64).map(VectorId).collect()) };
    let ids = parsimon::ann::io::read_ids(path)?;
    if ids.len() != rows {
        let message = format!("{}: {} ids for {rows} rows", path.display(), ids.len());
        return Err(BadInput { file: Some(path.clone()), message }.into());
    }
    Ok(ids.into_iter().map(VectorId).collect())
}
