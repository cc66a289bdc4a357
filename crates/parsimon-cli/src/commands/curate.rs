//! `parsimon curate`: from web archives to a corpus.

mod apply;
mod report;
mod run;
mod shards;
mod train;

use clap::{Args, Subcommand};

use crate::context::Context;

/// Make a corpus from web archives: extract, filter, deduplicate, tokenize.
#[derive(Args)]
pub(crate) struct Curate {
    #[command(subcommand)]
    command: CurateCommand,
}

#[derive(Subcommand)]
enum CurateCommand {
    Run(run::Run),
    Plan(shards::PlanArgs),
    RunShard(shards::RunShard),
    Status(run::Status),
    Verify(shards::Verify),
    Report(report::ReportArgs),
    Explain(report::Explain),
    Apply(apply::Apply),
    TrainLid(train::TrainLid),
    TrainQuality(train::TrainQuality),
    TrainTokenizer(train::TrainTokenizer),
    Pack(train::Pack),
}

impl Curate {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.command {
            CurateCommand::Run(args) => args.run(cx),
            CurateCommand::Plan(args) => args.run(cx),
            CurateCommand::RunShard(args) => args.run(cx),
            CurateCommand::Status(args) => args.run(cx),
            CurateCommand::Verify(args) => args.run(cx),
            CurateCommand::Report(args) => args.run(cx),
            CurateCommand::Explain(args) => args.run(cx),
            CurateCommand::Apply(args) => args.run(cx),
            CurateCommand::TrainLid(args) => args.run(cx),
            CurateCommand::TrainQuality(args) => args.run(cx),
            CurateCommand::TrainTokenizer(args) => args.run(cx),
            CurateCommand::Pack(args) => args.run(cx),
        }
    }
}
