//! The first task of a shard: archive records to rows that passed the rules, with what the deduplication needs of each.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parsimon_core::io::FormatError;
use parsimon_core::{Control, Diagnose};
use rayon::prelude::*;

use super::manifest::{Manifest, extract_inputs};
use super::plan::Plan;
use super::stages::{Dropped, Kept, Stages, Trace};
use crate::error::CurateError;
use crate::io::{JsonlWriter, OutputFile};
use crate::record::{Reject, record_id};
use crate::stats::Funnel;
use crate::warc::{WarcError, WarcOptions, WarcReader, WarcRecord};

/// Records that are processed together; bounds the memory, changes no byte.
const BATCH: usize = 32;

/// The files beside the rows that the deduplication reads: one entry a row.
struct SideFiles {
    keys: OutputFile,
    urls: Option<OutputFile>,
    signatures: Option<OutputFile>,
    paragraphs: Option<OutputFile>,
}

impl SideFiles {
    fn create(plan: &Plan, shard: usize, out: &Path) -> Result<SideFiles, CurateError> {
        let dedup = &plan.recipe.dedup;
        let file = |kind: &str| OutputFile::create(out, &format!("extracted/{shard:05}.{kind}"));
        let optional = |kind: &str, is_there: bool| is_there.then(|| file(kind)).transpose();
        Ok(SideFiles {
            keys: file("keys")?,
            urls: optional("urls", dedup.url)?,
            signatures: optional("signatures", dedup.near.is_some())?,
            paragraphs: optional("paragraphs", dedup.paragraphs)?,
        })
    }

    fn push(&mut self, kept: &Kept) -> Result<(), CurateError> {
        write(&mut self.keys, &kept.key.0.to_le_bytes())?;
        if let (Some(file), Some(key)) = (&mut self.urls, kept.url_key) {
            write(file, &key.to_le_bytes())?;
        }
        let bytes = |values: &[u64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        if let (Some(file), Some(values)) = (&mut self.signatures, &kept.signature) {
            write(file, &bytes(values))?;
        }
        if let (Some(file), Some(values)) = (&mut self.paragraphs, &kept.paragraphs) {
            write(file, &(values.len() as u64).to_le_bytes())?;
            write(file, &bytes(values))?;
        }
        Ok(())
    }
}

fn write(file: &mut OutputFile, bytes: &[u8]) -> Result<(), CurateError> {
    Ok(file.write_all(bytes).map_err(|e| FormatError::io(file.path(), "write", e))?)
}

/// Runs the task for one shard.
pub(super) fn run(
    plan: &Plan,
    stages: &Stages<'_>,
    shard: usize,
    out: &Path,
    control: &Control<'_>,
) -> Result<Manifest, CurateError> {
    let input = &plan.shards[shard];
    let mut reader = WarcReader::open(&input.path, WarcOptions::default())?;
    let mut rows = JsonlWriter::create(out, &format!("extracted/{shard:05}.jsonl.zst"))?;
    let mut rejects = JsonlWriter::create(out, &format!("extracted/{shard:05}.rejects.jsonl.zst"))?;
    let mut side = SideFiles::create(plan, shard, out)?;
    let mut funnel = Funnel::new(&Stages::names(&plan.recipe));
    let (mut row, mut kept_rows, mut text_bytes, mut position) = (0u32, 0u64, 0u64, 0u64);
    loop {
        control.cancel.check().map_err(|_| CurateError::Cancelled)?;
        let batch: Vec<Result<WarcRecord, WarcError>> = reader.by_ref().take(BATCH).collect();
        let Some(last) = batch.last() else { break };
        let reached = last.as_ref().map_or_else(|error| error.offset(), |record| Some(record.location().offset));
        if row == 0 && !batch.iter().any(Result::is_ok) {
            // Not one record: this is no archive, and a corpus without it would hide that.
            let first = batch.into_iter().find_map(Result::err);
            return Err(first.expect("the batch is not empty and holds no record").into());
        }
        let file_name = input.file_name();
        let outcomes: Vec<_> = batch.par_iter().map(|item| process(item, stages, &file_name)).collect();
        for (item, (trace, outcome)) in batch.iter().zip(outcomes) {
            trace.iter().for_each(|&(stage, bytes)| funnel.pass(stage, bytes));
            match outcome {
                Ok(kept) => {
                    text_bytes += kept.record.text.len() as u64;
                    kept_rows += 1;
                    rows.push(&kept.record)?;
                    side.push(&kept)?;
                }
                Err(dropped) => {
                    funnel.drop(dropped.stage, &dropped.reason);
                    rejects.push(&reject(row, item, dropped))?;
                }
            }
            row += 1;
        }
        let reached = reached.unwrap_or(position).max(position);
        control.progress.advance(reached - position);
        position = reached;
    }
    control.progress.advance(input.bytes - position.min(input.bytes));
    let mut outputs = vec![rows.commit()?, rejects.commit()?, side.keys.commit()?];
    for file in [side.urls, side.signatures, side.paragraphs].into_iter().flatten() {
        outputs.push(file.commit()?);
    }
    let manifest = Manifest {
        task: format!("extract-{shard:05}"),
        inputs: extract_inputs(plan, shard),
        rows: kept_rows,
        text_bytes,
        heldout: (0, 0),
        part_bytes: Vec::new(),
        outputs,
        funnel,
    };
    manifest.write(out)?;
    Ok(manifest)
}

fn reject(row: u32, item: &Result<WarcRecord, WarcError>, dropped: Dropped) -> Reject {
    let record = item.as_ref().ok();
    Reject {
        id: record.map(|record| record_id(record.record_id(), || record.target_uri().unwrap_or_default().to_owned())),
        row,
        stage: dropped.stage.to_owned(),
        reason: dropped.reason,
        url: record.and_then(WarcRecord::target_uri).map(str::to_owned),
        warc_offset: item.as_ref().map_or_else(WarcError::offset, |record| Some(record.location().offset)),
        value: dropped.value,
        threshold: dropped.threshold,
        detail: dropped.detail,
    }
}

fn process(
    item: &Result<WarcRecord, WarcError>,
    stages: &Stages<'_>,
    file_name: &str,
) -> (Trace, Result<Kept, Dropped>) {
    let mut trace = Trace::new();
    let record = match item {
        Ok(record) => record,
        Err(error) => {
            let dropped = Dropped::new("read", &snake_case(&error.variant()), Some(error.to_string()));
            return (trace, Err(dropped));
        }
    };
    // A defect in our code costs the record that met it, not the run.
    let guarded = catch_unwind(AssertUnwindSafe(|| stages.run(record, file_name, &mut trace)));
    match guarded {
        Ok(outcome) => (trace, outcome),
        Err(_) => (Trace::new(), Err(Dropped::new("read", "internal", None))),
    }
}

/// `BadMember` to `bad_member`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
