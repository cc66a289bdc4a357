//! Why a document is in the corpus, or is not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use parsimon_core::io::FormatError;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::recipe::Mode;
use super::stages::{Stages, Trace};
use crate::error::CurateError;
use crate::io::JsonlReader;
use crate::record::{Decision, Reject};
use crate::rules::{Metrics, RulePreset, Rules};
use crate::warc::{WarcOptions, WarcReader};

/// Everything that was measured on one document.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Explanation {
    /// Its id.
    pub id: String,
    /// Its address.
    pub url: String,
    /// The archive, ...
    pub file: PathBuf,
    /// ... and the byte offset in it.
    pub offset: u64,
    /// Whether it is in the corpus.
    pub kept: bool,
    /// The stage that dropped it.
    pub stage: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// More on the reason.
    pub detail: Option<String>,
    /// Bytes of its text.
    pub text_bytes: u64,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
    /// Every bound and rule with its value and threshold, whether it decided or not.
    pub decisions: Vec<Decision>,
}

/// Where a document stands.
struct Place {
    shard: usize,
    offset: u64,
    reject: Option<Reject>,
}

#[derive(Deserialize)]
struct RowPlace {
    id: String,
    url: String,
    warc_offset: u64,
}

/// Explains the document of the run in `out` whose id or address is `id`: its record is read once more, and every rule is measured.
///
/// # Errors
///
/// [`CurateError::NotFound`] when the run has no such document; files that cannot be read.
pub fn explain(out: &Path, id: &str) -> Result<Explanation, CurateError> {
    let plan = Plan::read(out)?;
    let not_found = || CurateError::NotFound { folder: out.to_owned(), what: "the document", id: id.to_owned() };
    let place = find(&plan, out, id)?.ok_or_else(not_found)?;
    let path = &plan.shards[place.shard].path;
    let mut records = WarcReader::open(path, WarcOptions::default())?.flatten();
    let record = records.find(|record| {
        let is_there = record.location().offset == place.offset;
        is_there && (place.reject.as_ref().is_none_or(|reject| reject.url.as_deref() == record.target_uri()))
    });
    let record = record.ok_or_else(not_found)?;
    let recipe = super::recipe::Recipe { mode: Mode::Annotate, ..plan.recipe.clone() };
    let stages = Stages::new(&recipe)?;
    let reject = place.reject;
    let mut explanation = Explanation {
        id: id.to_owned(),
        url: record.target_uri().unwrap_or_default().to_owned(),
        file: path.clone(),
        offset: place.offset,
        kept: reject.is_none(),
        stage: reject.as_ref().map(|reject| reject.stage.clone()),
        reason: reject.as_ref().map(|reject| reject.reason.clone()),
        detail: reject.and_then(|reject| reject.detail),
        text_bytes: 0,
        metrics: BTreeMap::new(),
        decisions: Vec::new(),
    };
    if let Ok(kept) = stages.run(&record, &plan.shards[place.shard].file_name(), &mut Trace::new()) {
        let row = kept.record;
        let mask = if recipe.mask { &row.spans[..] } else { &[] };
        let metrics = Metrics::compute(&row.text, mask);
        explanation.id = row.id;
        explanation.text_bytes = row.text.len() as u64;
        explanation.metrics = metrics.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        explanation.decisions =
            row.decisions.into_iter().filter(|decision| decision.stage != crate::rules::STAGE).collect();
        let bounds = if recipe.rules == Some(RulePreset::Technical) { Rules::technical() } else { Rules::redstone() };
        explanation.decisions.extend(bounds.every(&metrics));
        for (name, preset) in RulePreset::ALL {
            let verdict = preset.judge(&row.text, mask);
            let decisive = verdict.decisions.into_iter().find(|decision| !decision.keep);
            explanation.decisions.push(match decisive {
                Some(decision) => Decision { stage: name.to_owned(), ..decision },
                None => {
                    Decision { stage: name.to_owned(), rule: "all".to_owned(), value: 0.0, threshold: 0.0, keep: true }
                }
            });
        }
    }
    Ok(explanation)
}

fn find(plan: &Plan, out: &Path, id: &str) -> Result<Option<Place>, CurateError> {
    for shard in 0..plan.shards.len() {
        let path = out.join(format!("documents/{shard:05}.jsonl.zst"));
        let mut rows = JsonlReader::open(&path)?;
        while let Some(row) = rows.next_row::<RowPlace>()? {
            if row.id == id || row.url == id {
                return Ok(Some(Place { shard, offset: row.warc_offset, reject: None }));
            }
        }
        let path = out.join(format!("rejects/{shard:05}.jsonl"));
        let file = std::fs::File::open(&path).map_err(|e| FormatError::io(&path, "open", e))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| FormatError::io(&path, "read", e))?;
            let Ok(reject) = serde_json::from_str::<Reject>(&line) else { continue };
            if reject.id.as_deref() == Some(id) || reject.url.as_deref() == Some(id) {
                let Some(offset) = reject.warc_offset else { continue };
                return Ok(Some(Place { shard, offset, reject: Some(reject) }));
            }
        }
    }
    Ok(None)
}
