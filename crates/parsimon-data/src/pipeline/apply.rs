//! The second task of a shard: rows by their fates, edited and masked, and the data sets made of them.

use std::io::Write;
use std::path::Path;

use parsimon_core::Control;
use parsimon_core::io::FormatError;
use serde::Deserialize;

use super::fates::Fate;
use super::manifest::Manifest;
use super::plan::Plan;
use super::recipe::{Mode, Recipe};
use crate::error::CurateError;
use crate::extract::SpanKind;
use crate::io::{JsonlReader, JsonlWriter, OutputFile, OutputInfo};
use crate::math;
use crate::pack::{PARTS, part_of};
use crate::pii;
use crate::record::{Decision, Record, Reject};
use crate::stats::Funnel;
use crate::text::char_count;

/// The stage's name in funnels.
pub(super) const STAGE: &str = "dedup";

/// A document with fewer characters after its paragraphs were taken out goes.
const CHARS_MIN: usize = 300;

/// The part of a row that a reject needs.
#[derive(Deserialize)]
struct RowHead {
    id: String,
    url: String,
    warc_offset: u64,
    text: String,
}

/// The outputs of a shard.
struct Outputs {
    documents: JsonlWriter,
    rejects: OutputFile,
    datasets: Option<[JsonlWriter; 3]>,
}

impl Outputs {
    fn commit(self) -> Result<Vec<OutputInfo>, CurateError> {
        let mut files = vec![self.documents.commit()?, self.rejects.commit()?];
        for file in self.datasets.into_iter().flatten() {
            files.push(file.commit()?);
        }
        Ok(files)
    }
}

/// Runs the task for one shard.
pub(super) fn run(
    plan: &Plan,
    shard: usize,
    fates: &[Fate],
    inputs: &str,
    out: &Path,
    control: &Control<'_>,
) -> Result<Manifest, CurateError> {
    let recipe = &plan.recipe;
    let mut rows = JsonlReader::open(&out.join(format!("extracted/{shard:05}.jsonl.zst")))?;
    let dataset = |name: &str| JsonlWriter::create(out, &format!("{name}/{shard:05}.jsonl.zst"));
    let mut outputs = Outputs {
        documents: JsonlWriter::create(out, &format!("documents/{shard:05}.jsonl.zst"))?,
        rejects: OutputFile::create(out, &format!("rejects/{shard:05}.jsonl"))?,
        datasets: if recipe.datasets { Some([dataset("code")?, dataset("math")?, dataset("qa")?]) } else { None },
    };
    let mut earlier = JsonlReader::open(&out.join(format!("extracted/{shard:05}.rejects.jsonl.zst")))?;
    while let Some(line) = earlier.next_line()? {
        write_line(&mut outputs.rejects, line)?;
    }
    let mut funnel = Funnel::new(&[STAGE]);
    let (mut kept, mut text_bytes) = (0, 0);
    let mut part_bytes = vec![0; PARTS];
    // Where nothing is edited a row's bytes go through untouched.
    let is_edited = recipe.pii.is_some() || recipe.dedup.paragraphs || recipe.datasets || recipe.mode == Mode::Annotate;
    for (row, fate) in fates.iter().enumerate() {
        let row = row as u32;
        let Some(line) = rows.next_line()? else { break };
        let outcome = match (fate, is_edited) {
            (Fate::Keep { .. }, false) => Ok((parse::<RowHead>(line, shard, row, out)?.into(), None)),
            (_, true) => edit(parse::<Record>(line, shard, row, out)?, fate, recipe),
            (Fate::Repeats { .. }, false) => Err((parse::<RowHead>(line, shard, row, out)?, fate_reason(fate))),
        };
        match outcome {
            Ok((Size { id, length }, record)) => {
                match &record {
                    Some(record) => outputs.documents.push(record)?,
                    None => outputs.documents.push_line(line)?,
                }
                if let (Some(record), Some(datasets)) = (&record, &mut outputs.datasets) {
                    push_datasets(record, datasets)?;
                }
                funnel.pass(STAGE, length);
                kept += 1;
                text_bytes += length;
                part_bytes[part_of(&id)] += length;
            }
            Err((head, (reason, detail))) => {
                funnel.drop(STAGE, reason);
                write_reject(&mut outputs.rejects, row, head, reason, detail)?;
            }
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
        outputs: outputs.commit()?,
        funnel,
    };
    manifest.write(out)?;
    Ok(manifest)
}

struct Size {
    id: String,
    length: u64,
}

impl From<RowHead> for Size {
    fn from(head: RowHead) -> Size {
        Size { length: head.text.len() as u64, id: head.id }
    }
}

type Reason = (&'static str, Option<String>);

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8], shard: usize, row: u32, out: &Path) -> Result<T, CurateError> {
    serde_json::from_slice(line).map_err(|e| {
        let file = out.join(format!("extracted/{shard:05}.jsonl.zst"));
        FormatError::Malformed { file, format: "jsonl.zst", reason: format!("line {}: {e}", row + 1) }.into()
    })
}

fn fate_reason(fate: &Fate) -> Reason {
    match fate {
        Fate::Keep { .. } => ("", None),
        Fate::Repeats { reason, of, similarity } => {
            let near = if *similarity < 1.0 { format!(", similarity {similarity:.3}") } else { String::new() };
            (*reason, Some(format!("repeats row {} of extracted/{:05}{near}", of.row, of.shard)))
        }
    }
}

/// The row as it goes into the corpus, or why it does not.
fn edit(mut record: Record, fate: &Fate, recipe: &Recipe) -> Result<(Size, Option<Record>), (RowHead, Reason)> {
    let annotates = recipe.mode == Mode::Annotate;
    let mut reason = matches!(fate, Fate::Repeats { .. }).then(|| fate_reason(fate));
    if let Fate::Keep { without } = fate
        && !without.is_empty()
    {
        drop_paragraphs(&mut record, without);
        if char_count(&record.text) < CHARS_MIN {
            reason = Some(("short_without_repeated_paragraphs", None));
        }
    }
    if let Some((rule, _)) = reason
        && annotates
    {
        record.keep = false;
        let (rule, value) =
            (rule.to_owned(), if let Fate::Repeats { similarity, .. } = fate { *similarity } else { 0.0 });
        record.decisions.push(Decision { stage: STAGE.to_owned(), rule, value, threshold: 0.0, keep: false });
    } else if let Some(reason) = reason {
        let head = RowHead { id: record.id, url: record.url, warc_offset: record.warc_offset, text: record.text };
        return Err((head, reason));
    }
    if let Some(options) = recipe.pii {
        let (text, counts) = pii::mask(&record.text, &mut record.spans, options);
        record.text = text;
        record.pii = Some(counts);
    }
    Ok((Size { id: record.id.clone(), length: record.text.len() as u64 }, Some(record)))
}

/// Takes lines out of the text; spans behind move up, and a span that loses a line goes.
fn drop_paragraphs(record: &mut Record, without: &[u32]) {
    let mut kept = String::with_capacity(record.text.len());
    // Per kept line, where it was and where it is.
    let mut lines: Vec<(std::ops::Range<usize>, usize)> = Vec::new();
    let mut start = 0;
    for (at, line) in (0u32..).zip(record.text.split('\n')) {
        if without.binary_search(&at).is_err() {
            if !lines.is_empty() {
                kept.push('\n');
            }
            lines.push((start..start + line.len(), kept.len()));
            kept.push_str(line);
        }
        start += line.len() + 1;
    }
    let moved = |place: usize| {
        let (old, new) = lines.iter().find(|(old, _)| (old.start..=old.end).contains(&place))?;
        Some(new + place - old.start)
    };
    let text = &record.text;
    record.spans.retain_mut(|span| {
        let before = text[span.range()].len();
        let (Some(start), Some(end)) = (moved(span.start), moved(span.end)) else { return false };
        (span.start, span.end) = (start, end);
        end - start == before
    });
    record.text = kept;
}

fn push_datasets(record: &Record, [code, math_rows, qa]: &mut [JsonlWriter; 3]) -> Result<(), CurateError> {
    let row = |fields: serde_json::Value| {
        let mut row = serde_json::json!({"id": record.id, "url": record.url});
        if let (Some(row), serde_json::Value::Object(fields)) = (row.as_object_mut(), fields) {
            row.extend(fields);
        }
        row
    };
    for span in record.spans.iter().filter(|span| span.kind == SpanKind::Code) {
        let text = &record.text[span.range()];
        code.push(&row(serde_json::json!({"lang": span.lang, "text": text, "start": span.start, "end": span.end})))?;
    }
    for span in record.spans.iter().filter(|span| span.kind == SpanKind::Math) {
        let latex = math::delimited::strip(&record.text[span.range()]);
        math_rows.push(&row(
            serde_json::json!({"latex": latex, "display": span.display, "start": span.start, "end": span.end}),
        ))?;
    }
    for pair in &record.qa {
        qa.push(&row(serde_json::json!({"kind": "open", "question": pair.question, "answer": pair.answer, "source": pair.source})))?;
    }
    for choice in &record.mcq {
        qa.push(&row(serde_json::json!({
            "kind": "choice", "question": choice.stem, "options": choice.options, "answer_label": choice.answer,
            "explanation": choice.explanation,
        })))?;
    }
    Ok(())
}

fn write_reject(
    rejects: &mut OutputFile,
    row: u32,
    head: RowHead,
    reason: &str,
    detail: Option<String>,
) -> Result<(), CurateError> {
    let reject = Reject {
        id: Some(head.id),
        row,
        stage: STAGE.to_owned(),
        reason: reason.to_owned(),
        url: Some(head.url),
        warc_offset: Some(head.warc_offset),
        value: None,
        threshold: None,
        detail,
    };
    let line = serde_json::to_vec(&reject).expect("a reject has string keys");
    write_line(rejects, &line)
}

fn write_line(file: &mut OutputFile, line: &[u8]) -> Result<(), CurateError> {
    let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
    Ok(written.map_err(|e| FormatError::io(file.path(), "write", e))?)
}
