//! `parsimon curate run` and `status`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use parsimon::data::dedup::Scope;
use parsimon::data::pipeline::{Mode, status};
use parsimon::data::{Plan, Preset, Recipe, Report, RunOptions, Runner};

use crate::context::Context;

/// Which recipe over which inputs.
#[derive(Args)]
pub(super) struct What {
    /// A recipe by name: demo, redstone-web, redstone-code, redstone-math, redstone-qa, fineweb, dclm, technical.
    #[arg(long, value_name = "NAME", value_parser = parse_preset, required_unless_present = "recipe")]
    preset: Option<Preset>,
    /// A recipe in TOML.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    recipe: Option<PathBuf>,
    /// WARC files: paths and globs.
    #[arg(long, value_name = "GLOB", num_args = 1.., required = true)]
    input: Vec<String>,
    /// filter drops documents, annotate marks them.
    #[arg(long, value_parser = parse_mode)]
    mode: Option<Mode>,
    /// How far duplicates are looked for: shard, snapshot, global.
    #[arg(long, value_parser = parse_scope)]
    scope: Option<Scope>,
}

impl What {
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let mut recipe = match (&self.recipe, self.preset) {
            (Some(path), _) => Recipe::read(path)?,
            (None, Some(preset)) => Recipe::preset(preset),
            (None, None) => unreachable!("the parser asks for one of them"),
        };
        recipe.mode = self.mode.unwrap_or(recipe.mode);
        recipe.dedup.scope = self.scope.unwrap_or(recipe.dedup.scope);
        Ok(Plan::new(&recipe, &self.input)?)
    }
}

/// Run a recipe over WARC files; the same command again does what is left.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate run --preset demo --input 'warc/*.warc.gz' --out corpus")]
pub(super) struct Run {
    #[command(flatten)]
    what: What,
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
pub(super) struct Status {
    /// The folder of the corpus.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Run {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let plan = self.what.plan()?;
        let runner = Runner::new(RunOptions { workers: self.workers, force: self.force });
        let report = runner.run(&plan, &self.out, &|| start.elapsed().as_secs_f64(), &cx.control())?;
        cx.report(&report, table)?;
        let n = report.internal_rejects();
        anyhow::ensure!(n == 0, "{n} records met a defect of the program; {}/rejects names them", self.out.display());
        Ok(())
    }
}

impl Status {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
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
pub(super) fn table(report: &Report) -> String {
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
    let names = || Preset::ALL.map(|(name, _)| name).join(", ");
    Preset::from_name(name).ok_or_else(|| format!("unknown preset `{name}`; there are {}", names()))
}

fn parse_mode(name: &str) -> Result<Mode, String> {
    match name {
        "filter" => Ok(Mode::Filter),
        "annotate" => Ok(Mode::Annotate),
        _ => Err(format!("unknown mode `{name}`; there are filter and annotate")),
    }
}

fn parse_scope(name: &str) -> Result<Scope, String> {
    match name {
        "shard" | "file" => Ok(Scope::Shard),
        "snapshot" => Ok(Scope::Snapshot),
        "global" => Ok(Scope::Global),
        _ => Err(format!("unknown scope `{name}`; there are shard, snapshot and global")),
    }
}
