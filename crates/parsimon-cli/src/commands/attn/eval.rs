//! `parsimon attn eval`: a golden index through the public kernels, for a comparison outside.

mod case;
mod dense;
mod few;
mod gates;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use parsimon::tensor::io::{Checkpoint, FormatError, TensorData, write_safetensors};
use serde::{Deserialize, Serialize};

use self::case::{Case, Entry};
use crate::context::Context;
use crate::failure::BadInput;

/// Compute every case of an index of attention cases and write the outputs beside each other, for another program to compare.
#[derive(Args)]
#[command(after_help = "Example: parsimon attn eval --index attention/index.json --out computed --dtype bf16")]
pub(super) struct Eval {
    /// The index; inputs lie in `inputs/` beside it.
    #[arg(long)]
    index: PathBuf,
    /// Where the computed files go, under the names of the inputs.
    #[arg(long)]
    out: PathBuf,
    /// What the kernels compute in; `f64` is the definition and the gates, cases without it are skipped.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Precision,
    /// Only cases of this kind.
    #[arg(long)]
    kind: Option<String>,
}

/// What is computed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    F32,
    Bf16,
    F64,
}

#[derive(Deserialize)]
struct Index {
    format: String,
    version: u64,
    cases: Vec<Entry>,
}

#[derive(Serialize)]
struct Report {
    dtype: Precision,
    cases: usize,
    /// Cases that are not computed in this type, or not by this crate.
    skipped: Vec<String>,
    files: BTreeSet<PathBuf>,
}

impl Eval {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let index = read_index(&self.index)?;
        let inputs = self.index.parent().unwrap_or(Path::new("")).join("inputs");
        let mut files: BTreeMap<String, BTreeMap<String, TensorData>> = BTreeMap::new();
        let mut report = Report { dtype: self.dtype, cases: 0, skipped: Vec::new(), files: BTreeSet::new() };
        for entry in index.cases {
            if self.kind.as_ref().is_some_and(|kind| *kind != entry.kind) {
                continue;
            }
            let checkpoint = Checkpoint::open(&inputs.join(&entry.file))?;
            let mut case = Case::new(&self.index, &entry, &checkpoint, self.dtype);
            if compute(&mut case)? {
                report.cases += 1;
                files.entry(entry.file.clone()).or_default().extend(case.into_outputs());
            } else {
                report.skipped.push(entry.id.clone());
            }
        }
        std::fs::create_dir_all(&self.out).map_err(|source| FormatError::io(&self.out, "be created", source))?;
        for (file, tensors) in files {
            let path = self.out.join(file);
            write_safetensors(&path, &tensors, None)?;
            report.files.insert(path);
        }
        cx.report(&report, |r| format!("{} cases in {} files; {} skipped", r.cases, r.files.len(), r.skipped.len()))
    }
}

fn read_index(path: &Path) -> anyhow::Result<Index> {
    let text = std::fs::read_to_string(path).map_err(|source| FormatError::io(path, "be read", source))?;
    let index: Index = serde_json::from_str(&text).map_err(|error| BadInput::in_file(path, error.to_string()))?;
    if (index.format.as_str(), index.version) != ("attention-golden", 1) {
        let found =
            format!("format `{}` version {}, expected `attention-golden` version 1", index.format, index.version);
        return Err(BadInput::in_file(path, found).into());
    }
    Ok(index)
}

/// Whether the case is computed in its type.
fn compute(case: &mut Case<'_>) -> anyhow::Result<bool> {
    let is_wide = case.precision() == Precision::F64;
    match case.kind() {
        "dense" | "block_sparse" => dense::attention(case)?,
        "gate_prefill" => gates::prefill(case)?,
        "gate_grad" => gates::gradient(case)?,
        "gate_decode" => gates::decode(case)?,
        "kcomp" => gates::compression(case)?,
        "select" => gates::select(case)?,
        _ if is_wide => return Ok(false),
        "teacher" => dense::teacher(case)?,
        "backward" => dense::backward(case)?,
        "k_expand" => dense::expand(case)?,
        "decode" => few::decode(case)?,
        "merge" => few::merge(case)?,
        "selective_v" => few::selective(case)?,
        "seer_prefill" => gates::seer_prefill(case)?,
        "seer_decode" => gates::seer_decode(case)?,
        _ => return Ok(false),
    }
    Ok(true)
}
