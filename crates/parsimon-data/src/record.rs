//! The row of the corpus: a text and everything that is known of where it came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::charset::CharsetSource;
use crate::extract::Span;
use crate::pii::PiiCounts;
use crate::qa::{Choice, Pair};

/// Why a document was kept or dropped.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Decision {
    /// The stage that decided.
    pub stage: String,
    /// The rule.
    pub rule: String,
    /// What was measured.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// Whether the document passed.
    pub keep: bool,
}

/// Who extracted the text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ExtractorInfo {
    /// The extractor.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its profile.
    pub profile: String,
}

/// A document of the corpus; the fields are the keys of a JSON line.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Record {
    /// 32 hexadecimal digits: xxh3-128 of the `WARC-Record-ID`, else of address, date and payload digest.
    pub id: String,
    /// `WARC-Target-URI`.
    pub url: String,
    /// Its host.
    pub host: String,
    /// Name of the archive file.
    pub warc_file: String,
    /// Byte offset in it.
    pub warc_offset: u64,
    /// Bytes there; 0 when the record lies in the middle of a large gzip member.
    pub warc_length: u64,
    /// Offset inside the gzip member, for a record that does not stand at its start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warc_stream_offset: Option<u64>,
    /// `WARC-Date`.
    pub warc_date: String,
    /// HTTP status.
    pub http_status: u16,
    /// Media type.
    pub mime: String,
    /// Encoding of the page.
    pub charset: String,
    /// How it was found.
    pub charset_source: CharsetSource,
    /// SHA-1 of the decoded payload.
    pub payload_sha1: String,
    /// Who extracted the text.
    pub extractor: ExtractorInfo,
    /// The page's title.
    pub title: Option<String>,
    /// The page's canonical address.
    pub canonical: Option<String>,
    /// Where the page links its licence.
    pub license: Option<String>,
    /// What the page tells robots.
    pub robots: Option<String>,
    /// The language that the page names.
    pub lang: Option<String>,
    /// The language that was found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub language: Option<String>,
    /// Its probability.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub language_score: Option<f32>,
    /// The text.
    pub text: String,
    /// Code, tables and formulas in it: byte offsets.
    pub spans: Vec<Span>,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// Open questions with answers that the page's structure shows, for the recipes that ask for them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub qa: Vec<Pair>,
    /// Multiple-choice questions of the text.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mcq: Vec<Choice>,
    /// Scores of quality models by label.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub quality: BTreeMap<String, f32>,
    /// What was masked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pii: Option<PiiCounts>,
    /// Whether the document passed every rule; only a run that annotates writes rows that did not.
    #[serde(skip_serializing_if = "Clone::clone", default = "kept")]
    pub keep: bool,
}

fn kept() -> bool {
    true
}

/// The id of a record.
pub(crate) fn record_id(warc_record_id: Option<&str>, fallback: impl FnOnce() -> String) -> String {
    let hash = match warc_record_id {
        Some(id) if !id.is_empty() => xxh3_128(id.as_bytes()),
        _ => xxh3_128(fallback().as_bytes()),
    };
    format!("{hash:032x}")
}

/// A record that was dropped: a line of the rejects.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Reject {
    /// The record's id, as a row of the corpus would have it; absent for what could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Its place among the items of its archive file.
    pub row: u32,
    /// The stage that dropped it.
    pub stage: String,
    /// The reason, as the funnel counts it.
    pub reason: String,
    /// `WARC-Target-URI`.
    pub url: Option<String>,
    /// Byte offset in the archive file.
    pub warc_offset: Option<u64>,
    /// What was measured, for a rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<f64>,
    /// What it was compared with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threshold: Option<f64>,
    /// More: an error's message, or the id of the document that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}
