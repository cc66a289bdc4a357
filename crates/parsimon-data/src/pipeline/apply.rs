//! The second stage, per shard: of equal texts the first stays, over all shards.

use std::io::Write;
use std::path::Path;

use parsimon_core::Control;
use parsimon_core::io::{FormatError, Map};
use serde::Deserialize;

use super::manifest::Manifest;
use crate::dedup::{ExactIndex, Position, TextKey};
use crate::error::CurateError;
use crate::io::{JsonlReader, JsonlWriter, OutputFile};
use crate::pack::{PARTS, part_of};
use crate::record::Reject;
use crate::stats::Funnel;

/// The stage's name in funnels.
pub(super) const STAGE: &str = "dedup";

/// The keys of a shard's rows, in order.
pub(super) fn read_keys(out: &Path, shard: usize) -> Result<Vec<TextKey>, CurateError> {
    let map = Map::open(&out.join(format!("extracted/{shard:05}.keys")))?;
    let (keys, _) = map.as_chunks::<16>();
    Ok(keys.iter().map(|&key| TextKey(u128::from_le_bytes(key))).collect())
}

/// The part of a row that a reject needs.
#[derive(Deserialize)]
struct RowHead {
    id: String,
    url: String,
    warc_offset: u64,
    text: String,
}

/// Runs the stage for one shard.
pub(super) fn run(
    shard: usize,
    keys: &[TextKey],
    index: &ExactIndex,
    inputs: &str,
    out: &Path,
    control: &Control<'_>,
) -> Result<Manifest, CurateError> {
    let mut rows = JsonlReader::open(&out.join(format!("extracted/{shard:05}.jsonl.zst")))?;
    let mut documents = JsonlWriter::create(out, &format!("documents/{shard:05}.jsonl.zst"))?;
    let mut rejects = OutputFile::create(out, &format!("rejects/{shard:05}.jsonl"))?;
    let mut earlier = JsonlReader::open(&out.join(format!("extracted/{shard:05}.rejects.jsonl.zst")))?;
    while let Some(line) = earlier.next_line()? {
        write_line(&mut rejects, line)?;
    }
    let mut funnel = Funnel::new(&[STAGE]);
    let (mut kept, mut text_bytes) = (0, 0);
    let mut part_bytes = vec![0; PARTS];
    for (row, &key) in keys.iter().enumerate() {
        let row = row as u32;
        let Some(line) = rows.next_line()? else { break };
        let head: RowHead = serde_json::from_slice(line).map_err(|e| FormatError::Malformed {
            file: out.join(format!("extracted/{shard:05}.jsonl.zst")),
            format: "jsonl.zst",
            reason: format!("line {}: {e}", row + 1),
        })?;
        let first = index.first(key);
        if first == Some(Position { shard: shard as u32, row }) {
            documents.push_line(line)?;
            funnel.pass(STAGE, head.text.len() as u64);
            kept += 1;
            text_bytes += head.text.len() as u64;
            part_bytes[part_of(&head.id)] += head.text.len() as u64;
        } else {
            funnel.drop(STAGE, "duplicate");
            let detail = first.map(|first| format!("repeats row {} of extracted/{:05}", first.row, first.shard));
            let reject = Reject {
                row,
                stage: STAGE.to_owned(),
                reason: "duplicate".to_owned(),
                url: Some(head.url),
                warc_offset: Some(head.warc_offset),
                value: None,
                threshold: None,
                detail,
            };
            let line = serde_json::to_vec(&reject).expect("a reject has string keys");
            write_line(&mut rejects, &line)?;
        }
    }
    control.progress.advance(1);
    let manifest = Manifest {
        task: format!("documents-{shard:05}"),
        inputs: inputs.to_owned(),
        rows: kept,
        text_bytes,
        heldout: (0, 0),
        part_bytes,
        outputs: vec![documents.commit()?, rejects.commit()?],
        funnel,
    };
    manifest.write(out)?;
    Ok(manifest)
}

fn write_line(file: &mut OutputFile, line: &[u8]) -> Result<(), CurateError> {
    let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
    Ok(written.map_err(|e| FormatError::io(file.path(), "write", e))?)
}
