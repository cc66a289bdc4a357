//! The runner: does what is not done.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use parsimon_core::io::{read_json, write_json};
use parsimon_core::{Control, Unit};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::io::Write;

use super::manifest::{Manifest, extract_inputs, outputs_hash};
use super::plan::Plan;
use super::stages::Stages;
use super::{apply, extract, fates};
use crate::error::CurateError;
use crate::io::OutputFile;
use crate::pack::{self, HeldOut, PackOptions, TokenIndex, TokenizerOptions};
use crate::stats::{Funnel, StageCounts};

/// How a plan is run. None of it changes what is written.
#[derive(Clone, Default, Debug)]
pub struct RunOptions {
    /// Threads; as many as the global pool has when absent.
    pub workers: Option<NonZeroUsize>,
    /// Starts anew where the folder belongs to another plan.
    pub force: bool,
}

/// Held-out documents.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Heldout {
    /// Their number.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
}

/// What a run made, and what it found done; also written as `stats.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Report {
    /// The preset.
    pub preset: String,
    /// The input files.
    pub inputs: Vec<PathBuf>,
    /// What every stage took in, let through and dropped.
    pub funnel: Vec<StageCounts>,
    /// Documents of the corpus, with the held-out ones.
    pub documents: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// The held-out ones.
    pub heldout: Heldout,
    /// Tokens of the shards.
    pub tokens: u64,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Shards that this run worked on.
    pub shards_done: u64,
    /// Shards that were done before.
    pub shards_skipped: u64,
    /// Time by the caller's clock.
    pub seconds: f64,
}

impl Report {
    /// Records that a defect of this crate dropped. More than none deserves a bug report.
    pub fn internal_rejects(&self) -> u64 {
        self.funnel.iter().filter_map(|stage| stage.reasons.get("internal")).sum()
    }
}

/// Runs plans.
///
/// ```no_run
/// use parsimon_core::{CancelFlag, Control, NoProgress};
/// use parsimon_data::{Plan, Preset, Recipe, RunOptions, Runner};
///
/// let plan = Plan::new(&Recipe::preset(Preset::Demo), &["warc/*.warc.gz".to_owned()])?;
/// let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
/// let report = Runner::new(RunOptions::default()).run(&plan, "corpus".as_ref(), &|| 0.0, &control)?;
/// println!("{} documents, {} tokens", report.documents, report.tokens);
/// # Ok::<(), parsimon_data::CurateError>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct Runner {
    options: RunOptions,
}

impl Runner {
    /// A runner.
    pub fn new(options: RunOptions) -> Runner {
        Runner { options }
    }

    /// Does what the folder `out` lacks of `plan`; `clock` gives seconds from any fixed moment, for the report alone.
    ///
    /// # Errors
    ///
    /// [`CurateError`]: a folder of another plan, files that cannot be read or written, an input that is no archive, cancellation. What
    /// is done by then stays done.
    pub fn run(
        &self,
        plan: &Plan,
        out: &Path,
        clock: &(dyn Fn() -> f64 + Sync),
        control: &Control<'_>,
    ) -> Result<Report, CurateError> {
        let start = clock();
        plan.claim(out, self.options.force)?;
        let threads = self.options.workers.map_or_else(rayon::current_num_threads, NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| CurateError::BadArgument {
            what: "the number of workers",
            given: threads.to_string(),
            reason: e.to_string(),
        })?;
        let mut report = pool.install(|| run_stages(plan, out, control))?;
        report.seconds = clock() - start;
        write_json(&out.join("stats.json"), &report)?;
        Ok(report)
    }
}

/// A task of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum ShardTask {
    /// Records to rows.
    Extract,
    /// Rows to documents; needs every shard's rows.
    Documents,
}

impl ShardTask {
    /// The task called `name`.
    pub fn from_name(name: &str) -> Option<ShardTask> {
        match name {
            "extract" => Some(ShardTask::Extract),
            "documents" => Some(ShardTask::Documents),
            _ => None,
        }
    }
}

/// What became of a task.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ShardDone {
    /// The task.
    pub task: String,
    /// Whether it was done before.
    pub was_done: bool,
    /// Rows or documents that it wrote.
    pub rows: u64,
}

impl Runner {
    /// Does one task of one shard of the plan in `out`, if it is not done: a pure function of the plan, the inputs and, for
    /// [`ShardTask::Documents`], the rows of all shards. Any number of processes and machines may run tasks on one folder; two that run
    /// the same one write the same bytes.
    ///
    /// # Errors
    ///
    /// As [`Runner::run`]; a shard that the plan does not have; documents before every shard has its rows.
    pub fn run_shard(
        &self,
        out: &Path,
        task: ShardTask,
        shard: usize,
        control: &Control<'_>,
    ) -> Result<ShardDone, CurateError> {
        let plan = Plan::read(out)?;
        if shard >= plan.shards.len() {
            let reason = format!("the plan has shards 0 to {}", plan.shards.len() - 1);
            return Err(CurateError::BadArgument { what: "the shard", given: shard.to_string(), reason });
        }
        let (manifest, is_new) = match task {
            ShardTask::Extract => extract_shard(&plan, &Stages::new(&plan.recipe)?, shard, out, control)?,
            ShardTask::Documents => {
                let extracted = (0..plan.shards.len())
                    .map(|at| {
                        Manifest::load(out, &format!("extract-{at:05}"), &extract_inputs(&plan, at)).ok_or_else(|| {
                            let folder = out.to_owned();
                            CurateError::NotFound { folder, what: "the finished task", id: format!("extract-{at:05}") }
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let fates = fates::decide(&plan, out)?;
                document_shard(&plan, shard, &fates[shard], &outputs_hash(&plan, &extracted), out, control)?
            }
        };
        Ok(ShardDone { task: manifest.task, was_done: !is_new, rows: manifest.rows })
    }
}

fn extract_shard(
    plan: &Plan,
    stages: &Stages<'_>,
    shard: usize,
    out: &Path,
    control: &Control<'_>,
) -> Result<(Manifest, bool), CurateError> {
    match Manifest::load(out, &format!("extract-{shard:05}"), &extract_inputs(plan, shard)) {
        Some(manifest) => {
            control.progress.advance(plan.shards[shard].bytes);
            Ok((manifest, false))
        }
        None => extract::run(plan, stages, shard, out, control).map(|manifest| (manifest, true)),
    }
}

fn document_shard(
    plan: &Plan,
    shard: usize,
    fates: &[fates::Fate],
    inputs: &str,
    out: &Path,
    control: &Control<'_>,
) -> Result<(Manifest, bool), CurateError> {
    control.cancel.check().map_err(|_| CurateError::Cancelled)?;
    match Manifest::load(out, &format!("documents-{shard:05}"), inputs) {
        Some(manifest) => Ok((manifest, false)),
        None => apply::run(plan, shard, fates, inputs, out, control).map(|manifest| (manifest, true)),
    }
}

fn run_stages(plan: &Plan, out: &Path, control: &Control<'_>) -> Result<Report, CurateError> {
    let n = plan.shards.len();
    let total: u64 = plan.shards.iter().map(|shard| shard.bytes).sum();
    let stages = Stages::new(&plan.recipe)?;
    control.progress.start("extract", Some(total), Unit::Bytes);
    let extracted = (0..n)
        .into_par_iter()
        .map(|shard| extract_shard(plan, &stages, shard, out, control))
        .collect::<Result<Vec<_>, CurateError>>()?;
    let (extracted, mut is_new): (Vec<_>, Vec<_>) = extracted.into_iter().unzip();

    let fates = fates::decide(plan, out)?;
    control.progress.start("deduplicate", Some(n as u64), Unit::Items("shards"));
    let inputs = outputs_hash(plan, &extracted);
    let documents = (0..n)
        .into_par_iter()
        .map(|shard| document_shard(plan, shard, &fates[shard], &inputs, out, control))
        .collect::<Result<Vec<_>, CurateError>>()?;
    let (documents, is_new_too): (Vec<_>, Vec<_>) = documents.into_iter().unzip();
    is_new.iter_mut().zip(is_new_too).for_each(|(is_new, too)| *is_new |= too);

    let mut funnel = Funnel::new(&[&Stages::names(&plan.recipe)[..], &[apply::STAGE]].concat());
    extracted.iter().chain(&documents).for_each(|manifest| funnel.merge(&manifest.funnel));
    let shards_done = is_new.iter().filter(|&&is_new| is_new).count() as u64;
    let mut report = Report {
        preset: plan.recipe.preset.clone(),
        inputs: plan.shards.iter().map(|shard| shard.path.clone()).collect(),
        funnel: funnel.stages().to_vec(),
        documents: documents.iter().map(|manifest| manifest.rows).sum(),
        text_bytes: documents.iter().map(|manifest| manifest.text_bytes).sum(),
        heldout: Heldout { documents: 0, bytes: 0 },
        tokens: 0,
        vocab_size: 0,
        shards_done,
        shards_skipped: n as u64 - shards_done,
        seconds: 0.0,
    };
    let Some(options) = &plan.recipe.tokenizer else { return Ok(report) };
    let files: Vec<PathBuf> = (0..n).map(|shard| out.join(format!("documents/{shard:05}.jsonl.zst"))).collect();
    let tokenizer = train_tokenizer(plan, options, &documents, &files, out, control)?;
    let packed = pack_tokens(plan, &documents, &tokenizer, &files, out, control)?;
    let index: TokenIndex = read_json(&out.join("tokens/index.json"))?;
    report.heldout = Heldout { documents: packed.heldout.0, bytes: packed.heldout.1 };
    (report.tokens, report.vocab_size) = (index.tokens, index.vocab_size);
    Ok(report)
}

/// Which documents are held out, by how the text is spread.
fn held_out(documents: &[Manifest]) -> HeldOut {
    let mut part_bytes = [0; pack::PARTS];
    for manifest in documents {
        part_bytes.iter_mut().zip(&manifest.part_bytes).for_each(|(sum, bytes)| *sum += bytes);
    }
    HeldOut::for_corpus(&part_bytes)
}

fn train_tokenizer(
    plan: &Plan,
    options: &TokenizerOptions,
    documents: &[Manifest],
    files: &[PathBuf],
    out: &Path,
    control: &Control<'_>,
) -> Result<Manifest, CurateError> {
    let inputs = outputs_hash(plan, documents);
    if let Some(manifest) = Manifest::load(out, "tokenizer", &inputs) {
        return Ok(manifest);
    }
    let json = pack::train(files, options, held_out(documents), control)?;
    let mut file = OutputFile::create(out, "tokenizer.json")?;
    file.write_all(json.as_bytes()).map_err(|e| parsimon_core::io::FormatError::io(file.path(), "write", e))?;
    let manifest = Manifest {
        task: "tokenizer".to_owned(),
        inputs,
        rows: 0,
        text_bytes: 0,
        heldout: (0, 0),
        part_bytes: Vec::new(),
        outputs: vec![file.commit()?],
        funnel: Funnel::default(),
    };
    manifest.write(out)?;
    Ok(manifest)
}

fn pack_tokens(
    plan: &Plan,
    documents: &[Manifest],
    tokenizer: &Manifest,
    files: &[PathBuf],
    out: &Path,
    control: &Control<'_>,
) -> Result<Manifest, CurateError> {
    let inputs = outputs_hash(plan, &[documents, std::slice::from_ref(tokenizer)].concat());
    if let Some(manifest) = Manifest::load(out, "pack", &inputs) {
        return Ok(manifest);
    }
    let n_documents = documents.iter().map(|manifest| manifest.rows).sum();
    let recipe = &plan.recipe;
    let options = PackOptions { held_out: held_out(documents), tokens_max: recipe.tokens_per_shard, seed: recipe.seed };
    let packed = pack::pack(out, files, n_documents, &options, control)?;
    let manifest = Manifest {
        task: "pack".to_owned(),
        inputs,
        rows: packed.index.tokens,
        text_bytes: 0,
        heldout: (packed.heldout_documents, packed.heldout_bytes),
        part_bytes: Vec::new(),
        outputs: packed.outputs,
        funnel: Funnel::default(),
    };
    manifest.write(out)?;
    Ok(manifest)
}
