//! Done-manifests: what a task wrote, from what, and its counters.

use std::path::{Path, PathBuf};

use parsimon_core::io::{read_json, write_json};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::plan::Plan;
use crate::error::CurateError;
use crate::io::{OutputInfo, hash_file};
use crate::stats::Funnel;

/// A task that is done.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(super) struct Manifest {
    /// The task, such as `extract-00003`.
    pub(super) task: String,
    /// Hash of what went in: the plan's recipe and the inputs or the manifests of the tasks before.
    pub(super) inputs: String,
    /// Rows, documents or tokens that were written.
    pub(super) rows: u64,
    /// Bytes of text in them.
    pub(super) text_bytes: u64,
    /// Held-out documents and their bytes, of the task that sets them apart.
    pub(super) heldout: (u64, u64),
    /// Bytes of text by the part that the document's id falls into, of the tasks that write documents.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) part_bytes: Vec<u64>,
    pub(super) outputs: Vec<OutputInfo>,
    pub(super) funnel: Funnel,
}

impl Manifest {
    fn path(out: &Path, task: &str) -> PathBuf {
        out.join("done").join(format!("{task}.json"))
    }

    /// The manifest of `task`, if it holds: same inputs, and every output there with its hash.
    ///
    /// Whatever is wrong with a manifest or its outputs, the answer is to do the task again.
    pub(super) fn load(out: &Path, task: &str, inputs: &str) -> Option<Manifest> {
        let manifest: Manifest = read_json(&Manifest::path(out, task)).ok()?;
        let holds = manifest.inputs == inputs
            && manifest.outputs.iter().all(|output| hash_file(out, &output.path).is_ok_and(|found| found == *output));
        holds.then_some(manifest)
    }

    pub(super) fn write(&self, out: &Path) -> Result<(), CurateError> {
        Ok(write_json(&Manifest::path(out, &self.task), self)?)
    }
}

/// A hash of strings, for [`Manifest::inputs`].
pub(super) fn inputs_hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(b"\n");
    }
    format!("{:016x}", hash.digest())
}

/// What went into the first stage of a shard.
pub(super) fn extract_inputs(plan: &Plan, shard: usize) -> String {
    let shard = &plan.shards[shard];
    inputs_hash([plan.code_version.as_str(), &plan.recipe_hash, &shard.file_name(), &shard.xxh3])
}

/// What the outputs of `manifests` are, as the input of the next stage.
pub(super) fn outputs_hash(plan: &Plan, manifests: &[Manifest]) -> String {
    let outputs = manifests.iter().flat_map(|manifest| &manifest.outputs).map(|output| output.xxh3.as_str());
    inputs_hash([plan.recipe_hash.as_str()].into_iter().chain(outputs))
}

/// How far a run is, from its manifests alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Status {
    /// The preset.
    pub preset: String,
    /// Shards of the plan.
    pub shards: u64,
    /// Shards whose pages are extracted.
    pub extracted: u64,
    /// Shards whose documents are written.
    pub documents: u64,
    /// Whether the tokenizer is trained.
    pub tokenizer: bool,
    /// Whether the tokens are packed.
    pub packed: bool,
}

/// The state of a task.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TaskState {
    /// The task.
    pub task: String,
    /// `done`, or what is wrong with it: `missing`, `stale` (made from other inputs), or the output that differs from its hash.
    pub state: String,
}

/// Checks every task of the run in `out` against its manifest and the hashes of its outputs.
///
/// # Errors
///
/// [`CurateError::Format`] when there is no plan.
pub fn verify(out: &Path) -> Result<Vec<TaskState>, CurateError> {
    let plan = Plan::read(out)?;
    let n = plan.shards.len();
    let mut states = Vec::new();
    let mut check = |task: String, inputs: Option<String>| -> Option<Manifest> {
        let found: Option<Manifest> = read_json(&Manifest::path(out, &task)).ok();
        let state = match (&found, &inputs) {
            (None, _) => "missing".to_owned(),
            (Some(manifest), Some(inputs)) if manifest.inputs != *inputs => "stale".to_owned(),
            (Some(_), None) => "stale".to_owned(),
            (Some(manifest), _) => {
                let is_wrong =
                    |output: &&OutputInfo| hash_file(out, &output.path).map_or(true, |found| found != **output);
                manifest
                    .outputs
                    .iter()
                    .find(is_wrong)
                    .map_or("done".to_owned(), |output| format!("damaged: {}", output.path))
            }
        };
        let is_done = state == "done";
        states.push(TaskState { task, state });
        found.filter(|_| is_done)
    };
    let extracted: Vec<Option<Manifest>> =
        (0..n).map(|shard| check(format!("extract-{shard:05}"), Some(extract_inputs(&plan, shard)))).collect();
    let extracted: Option<Vec<Manifest>> = extracted.into_iter().collect();
    let inputs = extracted.map(|extracted| outputs_hash(&plan, &extracted));
    let documents: Vec<Option<Manifest>> =
        (0..n).map(|shard| check(format!("documents-{shard:05}"), inputs.clone())).collect();
    if plan.recipe.tokenizer.is_some() {
        let documents: Option<Vec<Manifest>> = documents.into_iter().collect();
        let inputs = documents.as_ref().map(|documents| outputs_hash(&plan, documents));
        let tokenizer = check("tokenizer".to_owned(), inputs);
        let inputs = documents
            .zip(tokenizer)
            .map(|(documents, tokenizer)| outputs_hash(&plan, &[&documents[..], &[tokenizer]].concat()));
        check("pack".to_owned(), inputs);
    }
    Ok(states)
}

/// Reads how far the run in `out` is. Every manifest that counts is verified against its outputs.
///
/// # Errors
///
/// [`CurateError::Format`] when there is no plan.
pub fn status(out: &Path) -> Result<Status, CurateError> {
    let plan = Plan::read(out)?;
    let n = plan.shards.len();
    let extracted: Vec<Manifest> = (0..n)
        .filter_map(|shard| Manifest::load(out, &format!("extract-{shard:05}"), &extract_inputs(&plan, shard)))
        .collect();
    let mut status = Status {
        preset: plan.recipe.preset.clone(),
        shards: n as u64,
        extracted: extracted.len() as u64,
        documents: 0,
        tokenizer: false,
        packed: false,
    };
    if extracted.len() < n {
        return Ok(status);
    }
    let inputs = outputs_hash(&plan, &extracted);
    let documents: Vec<Manifest> =
        (0..n).filter_map(|shard| Manifest::load(out, &format!("documents-{shard:05}"), &inputs)).collect();
    status.documents = documents.len() as u64;
    if documents.len() == n {
        let tokenizer = Manifest::load(out, "tokenizer", &outputs_hash(&plan, &documents));
        status.tokenizer = tokenizer.is_some();
        let inputs = tokenizer.map(|tokenizer| outputs_hash(&plan, &[&documents[..], &[tokenizer]].concat()));
        status.packed = inputs.is_some_and(|inputs| Manifest::load(out, "pack", &inputs).is_some());
    }
    Ok(status)
}
