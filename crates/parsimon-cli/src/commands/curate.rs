//! `parsimon curate`: from web archives to a corpus.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use parsimon::data::pipeline::status;
use parsimon::data::{Plan, Preset, Recipe, Report, RunOptions, Runner};

use crate::context::Context;

/// Make a corpus from web archives: extract, filter, deduplicate, tokenize.
#[derive(Args)]
pub(crate) struct Curate {
    #[command(subcommand)]
    command: CurateCommand,
}

#[derive(Subcommand)]
enum CurateCommand {
    Run(Run),
    Status(Status),
}

/// Run a recipe over WARC files; the same command again does what is left.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate run --preset demo --input 'warc/*.warc.gz' --out corpus")]
struct Run {
    /// The recipe: demo.
    #[arg(long, value_name = "NAME", value_parser = parse_preset)]
    preset: Preset,
    /// WARC files: paths and globs.
    #[arg(long, value_name = "GLOB", num_args = 1.., required = true)]
    input: Vec<String>,
    /// Where the corpus goes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Threads; they change no byte of the corpus.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Start anew where the folder belongs to another plan.
    #[arg(long)]
    force: bool,
}

/// Show how far a run is.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate status --out corpus")]
struct Status {
    /// The folder of the corpus.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Curate {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.command {
            CurateCommand::Run(args) => args.run(cx),
            CurateCommand::Status(args) => args.run(cx),
        }
    }
}

impl Run {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let plan = Plan::new(&Recipe::preset(self.preset), &self.input)?;
        let runner = Runner::new(RunOptions { workers: self.workers, force: self.force });
        let report = runner.run(&plan, &self.out, &|| start.elapsed().as_secs_f64(), &cx.control())?;
        cx.report(&report, table)?;
        let n = report.internal_rejects();
        anyhow::ensure!(n == 0, "{n} records met a defect of the program; {}/rejects names them", self.out.display());
        Ok(())
    }
}

impl Status {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        cx.report(&status(&self.out)?, |s| {
            let done = |is_done: bool| if is_done { "done" } else { "to do" };
            format!(
                "preset {}: {} of {} shards extracted, {} deduplicated; tokenizer {}, tokens {}",
                s.preset,
                s.extracted,
                s.shards,
                s.documents,
                done(s.tokenizer),
                done(s.packed)
            )
        })
    }
}

/// The funnel as a table, and the sums below it.
fn table(report: &Report) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["stage", "in", "out", "MB", "dropped"]);
    for stage in &report.funnel {
        let reasons: Vec<String> = stage.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let megabytes = format!("{:.1}", stage.bytes_out as f64 / 1e6);
        table.add_row([
            stage.stage.clone(),
            stage.docs_in.to_string(),
            stage.docs_out.to_string(),
            megabytes,
            reasons.join(", "),
        ]);
    }
    format!(
        "{table}\n{} documents ({:.1} MB), {} of them held out; {} tokens of a vocabulary of {}; {} shards done, {} skipped, {:.1} s",
        report.documents,
        report.text_bytes as f64 / 1e6,
        report.heldout.documents,
        report.tokens,
        report.vocab_size,
        report.shards_done,
        report.shards_skipped,
        report.seconds
    )
}

fn parse_preset(name: &str) -> Result<Preset, String> {
    Preset::from_name(name).ok_or_else(|| format!("unknown preset `{name}`; there is `demo`"))
}
