//! The first stage, per shard: archive records to rows that passed the rules, each with the key of its text.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parsimon_core::{Control, Diagnose};
use rayon::prelude::*;
use url::Url;

use super::manifest::{Manifest, extract_inputs};
use super::plan::Plan;
use super::recipe::Recipe;
use crate::dedup::TextKey;
use crate::error::CurateError;
use crate::extract::Extractor;
use crate::html::Document;
use crate::http::{HttpError, HttpMessage};
use crate::io::{JsonlWriter, OutputFile};
use crate::record::{ExtractorInfo, Record, Reject, record_id};
use crate::rules::{self, Metrics};
use crate::stats::Funnel;
use crate::warc::{WarcError, WarcOptions, WarcReader, WarcRecord, sha1_hex};

/// The stages that this file counts, in order.
pub(super) const STAGES: [&str; 3] = ["read", "extract", rules::STAGE];

/// Records that are processed together; bounds the memory, changes no byte.
const BATCH: usize = 32;

/// A dropped record, before it is known which row it is.
struct Dropped {
    stage: &'static str,
    reason: String,
    value: Option<f64>,
    threshold: Option<f64>,
    detail: Option<String>,
    /// Bytes that passed `read` and `extract` before.
    passed: Vec<(&'static str, u64)>,
}

/// A row that stays.
struct Kept {
    record: Record,
    key: TextKey,
    payload_bytes: u64,
}

/// Runs the stage for one shard.
pub(super) fn run(plan: &Plan, shard: usize, out: &Path, control: &Control<'_>) -> Result<Manifest, CurateError> {
    let input = &plan.shards[shard];
    let mut reader = WarcReader::open(&input.path, WarcOptions::default())?;
    let mut rows = JsonlWriter::create(out, &format!("extracted/{shard:05}.jsonl.zst"))?;
    let mut rejects = JsonlWriter::create(out, &format!("extracted/{shard:05}.rejects.jsonl.zst"))?;
    let mut keys = Vec::new();
    let mut funnel = Funnel::new(&STAGES);
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
        let outcomes: Vec<_> = batch.par_iter().map(|item| process(item, &plan.recipe, &file_name)).collect();
        for (item, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(kept) => {
                    let bytes = kept.record.text.len() as u64;
                    funnel.pass("read", kept.payload_bytes);
                    funnel.pass("extract", bytes);
                    funnel.pass(rules::STAGE, bytes);
                    text_bytes += bytes;
                    kept_rows += 1;
                    rows.push(&kept.record)?;
                    keys.extend(kept.key.0.to_le_bytes());
                }
                Err(dropped) => {
                    dropped.passed.iter().for_each(|&(stage, bytes)| funnel.pass(stage, bytes));
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
    let mut key_file = OutputFile::create(out, &format!("extracted/{shard:05}.keys"))?;
    key_file.write_all(&keys).map_err(|e| parsimon_core::io::FormatError::io(key_file.path(), "write", e))?;
    let manifest = Manifest {
        task: format!("extract-{shard:05}"),
        inputs: extract_inputs(plan, shard),
        rows: kept_rows,
        text_bytes,
        heldout: (0, 0),
        part_bytes: Vec::new(),
        outputs: vec![rows.commit()?, rejects.commit()?, key_file.commit()?],
        funnel,
    };
    manifest.write(out)?;
    Ok(manifest)
}

fn reject(row: u32, item: &Result<WarcRecord, WarcError>, dropped: Dropped) -> Reject {
    let record = item.as_ref().ok();
    Reject {
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

fn process(item: &Result<WarcRecord, WarcError>, recipe: &Recipe, file_name: &str) -> Result<Kept, Dropped> {
    let record = match item {
        Ok(record) => record,
        Err(error) => return Err(unread(&snake_case(&error.variant()), Some(error.to_string()))),
    };
    // A defect in our code costs the record that met it, not the run.
    let guarded = catch_unwind(AssertUnwindSafe(|| process_record(record, recipe, file_name)));
    guarded.unwrap_or_else(|_| Err(unread("internal", None)))
}

fn unread(reason: &str, detail: Option<String>) -> Dropped {
    let (value, threshold, passed) = (None, None, Vec::new());
    Dropped { stage: "read", reason: reason.to_owned(), value, threshold, detail, passed }
}

fn process_record(record: &WarcRecord, recipe: &Recipe, file_name: &str) -> Result<Kept, Dropped> {
    if record.record_type() != "response" {
        return Err(unread("not_a_response", Some(record.record_type())));
    }
    if record.is_partial {
        return Err(unread("partial", None));
    }
    let http = record.http().ok_or_else(|| unread("no_http", None))?;
    let status = http.status.ok_or_else(|| unread("http_status", None))?;
    if status != 200 {
        return Err(unread("http_status", Some(status.to_string())));
    }
    let mime = http.mime().unwrap_or_default();
    if !recipe.mimes.contains(&mime) {
        return Err(unread("mime", Some(mime)));
    }
    let payload = http.payload(recipe.payload_bytes_max).map_err(|error| {
        let reason = match &error {
            HttpError::PayloadTooLarge { .. } => "payload_too_large",
            HttpError::RatioTooHigh { .. } => "payload_ratio",
            HttpError::BadEncoding { .. } => "payload_encoding",
            HttpError::Unsupported { .. } => "payload_unsupported",
        };
        unread(reason, Some(error.to_string()))
    })?;
    let payload_bytes = payload.len() as u64;
    let mut row = row_of(record, &http, &payload, &mime, status, recipe, file_name);
    if row.text.is_empty() {
        return Err(Dropped {
            stage: "extract",
            reason: "empty".into(),
            passed: vec![("read", payload_bytes)],
            ..unread("", None)
        });
    }
    let metrics = Metrics::compute(&row.text, &row.spans);
    let verdict = recipe.rules.check(&metrics);
    if let Some(decision) = verdict.decisions.iter().find(|decision| !decision.keep) {
        return Err(Dropped {
            stage: rules::STAGE,
            reason: decision.rule.clone(),
            value: Some(decision.value),
            threshold: Some(decision.threshold),
            detail: None,
            passed: vec![("read", payload_bytes), ("extract", row.text.len() as u64)],
        });
    }
    row.metrics = metrics.iter().map(|(name, value)| (name.to_owned(), value)).collect();
    row.decisions = verdict.decisions;
    let key = TextKey::of(&row.text);
    Ok(Kept { record: row, key, payload_bytes })
}

fn row_of(
    record: &WarcRecord,
    http: &HttpMessage<'_>,
    payload: &[u8],
    mime: &str,
    status: u16,
    recipe: &Recipe,
    file_name: &str,
) -> Record {
    let page = Document::parse(payload, http.charset().as_deref());
    let extractor = Extractor::new(recipe.profile);
    let extracted = extractor.extract(&page);
    let url = record.target_uri().unwrap_or_default().to_owned();
    let warc_date = record.fields.get("WARC-Date").unwrap_or_default().to_owned();
    let payload_sha1 = sha1_hex(payload);
    let location = record.location();
    Record {
        id: record_id(record.record_id(), || format!("{url}|{warc_date}|{payload_sha1}")),
        host: Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default(),
        url,
        warc_file: file_name.to_owned(),
        warc_offset: location.offset,
        warc_length: location.length.unwrap_or(0),
        warc_stream_offset: location.stream_offset,
        warc_date,
        http_status: status,
        mime: mime.to_owned(),
        charset: page.charset().to_owned(),
        charset_source: page.charset_source(),
        payload_sha1,
        extractor: ExtractorInfo {
            name: "parsimon".to_owned(),
            version: Extractor::VERSION,
            profile: extractor.profile().name().to_owned(),
        },
        title: extracted.metadata.title,
        canonical: extracted.metadata.canonical,
        license: extracted.metadata.license,
        robots: extracted.metadata.robots,
        lang: extracted.metadata.lang,
        text: extracted.text,
        spans: extracted.spans,
        metrics: BTreeMap::new(),
        decisions: Vec::new(),
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
