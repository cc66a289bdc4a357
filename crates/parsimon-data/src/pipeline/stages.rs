//! The stages of a recipe over one record, ready to run: models loaded, lists prepared.

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;

use super::recipe::{Mode, Recipe, Select};
use crate::dedup::{Signer, TextKey, paragraph_key, url_key};
use crate::error::CurateError;
use crate::extract::{Extracted, Extractor, SpanKind};
use crate::fasttext::{FastText, LABEL_PREFIX};
use crate::html::Document;
use crate::http::{HttpError, HttpMessage};
use crate::lid::Lid;
use crate::math::math_candidate;
use crate::qa::qa_candidate;
use crate::record::{Decision, ExtractorInfo, Record, record_id};
use crate::rules::{self, Metrics};
use crate::url_filter::UrlFilter;
use crate::warc::{WarcRecord, sha1_hex};

/// What runs over a record.
pub(super) struct Stages<'a> {
    recipe: &'a Recipe,
    url_filter: Option<UrlFilter>,
    lid: Option<Lid>,
    quality: Option<FastText>,
    signer: Option<Signer>,
}

/// A dropped record, before it is known which row it is.
pub(super) struct Dropped {
    pub(super) stage: &'static str,
    pub(super) reason: String,
    pub(super) value: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) detail: Option<String>,
}

impl Dropped {
    pub(super) fn new(stage: &'static str, reason: &str, detail: Option<String>) -> Dropped {
        Dropped { stage, reason: reason.to_owned(), value: None, threshold: None, detail }
    }

    fn by(stage: &'static str, decision: &Decision) -> Dropped {
        let (value, threshold) = (Some(decision.value), Some(decision.threshold));
        Dropped { value, threshold, ..Dropped::new(stage, &decision.rule, None) }
    }
}

/// A row that stays, with what the deduplication needs of it.
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) key: TextKey,
    pub(super) url_key: Option<u128>,
    pub(super) signature: Option<Vec<u64>>,
    pub(super) paragraphs: Option<Vec<u64>>,
}

/// What passed which stage with how many bytes.
pub(super) type Trace = Vec<(&'static str, u64)>;

impl<'a> Stages<'a> {
    pub(super) fn new(recipe: &'a Recipe) -> Result<Stages<'a>, CurateError> {
        let lid = match &recipe.lid {
            None => None,
            Some(stage) if stage.model == "builtin" => Some(Lid::builtin()),
            Some(stage) => Some(Lid::open(Path::new(&stage.model))?),
        };
        Ok(Stages {
            recipe,
            url_filter: recipe.url_filter.as_ref().map(UrlFilter::new).transpose()?,
            lid,
            quality: recipe.quality.as_ref().map(|stage| FastText::open(Path::new(&stage.model))).transpose()?,
            signer: recipe.dedup.near.map(|near| Signer::new(near.params)),
        })
    }

    /// The stages' names in the order of the funnel.
    pub(super) fn names(recipe: &Recipe) -> Vec<&'static str> {
        let optional = |name, is_there: bool| is_there.then_some(name);
        let names = [
            Some("read"),
            optional("url_filter", recipe.url_filter.is_some()),
            Some("extract"),
            optional("select", recipe.select.is_some()),
            optional("lid", recipe.lid.is_some()),
            optional(rules::STAGE, recipe.rules.is_some()),
            optional("quality", recipe.quality.is_some()),
        ];
        names.into_iter().flatten().collect()
    }

    /// Takes a record through all stages; `trace` gets those that it passed.
    pub(super) fn run(&self, record: &WarcRecord, file_name: &str, trace: &mut Trace) -> Result<Kept, Dropped> {
        let (http, payload) = self.read(record)?;
        trace.push(("read", payload.len() as u64));
        if let Some(filter) = &self.url_filter {
            if let Some(reason) = filter.check(record.target_uri().unwrap_or_default()) {
                return Err(Dropped::new("url_filter", reason, None));
            }
            trace.push(("url_filter", payload.len() as u64));
        }
        let (mut row, extracted) = self.row(record, &http, &payload, file_name);
        if row.text.is_empty() {
            return Err(Dropped::new("extract", "empty", None));
        }
        trace.push(("extract", row.text.len() as u64));
        self.select(&row, &extracted, trace)?;
        self.judge(&mut row, trace)?;
        let dedup = &self.recipe.dedup;
        Ok(Kept {
            key: TextKey::of(&row.text),
            url_key: dedup.url.then(|| url_key(row.canonical.as_deref().unwrap_or(&row.url))),
            signature: self
                .signer
                .as_ref()
                .map(|signer| signer.sign(&row.text).unwrap_or_else(|| vec![u64::MAX; signer.params().n()])),
            paragraphs: dedup.paragraphs.then(|| row.text.split('\n').map(paragraph_key).collect()),
            record: row,
        })
    }

    fn read<'r>(&self, record: &'r WarcRecord) -> Result<(HttpMessage<'r>, std::borrow::Cow<'r, [u8]>), Dropped> {
        let unread = |reason: &str, detail| Dropped::new("read", reason, detail);
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
        if !self.recipe.mimes.contains(&mime) {
            return Err(unread("mime", Some(mime)));
        }
        let payload = http.payload(self.recipe.payload_bytes_max).map_err(|error| {
            let reason = match &error {
                HttpError::PayloadTooLarge { .. } => "payload_too_large",
                HttpError::RatioTooHigh { .. } => "payload_ratio",
                HttpError::BadEncoding { .. } => "payload_encoding",
                HttpError::Unsupported { .. } => "payload_unsupported",
            };
            unread(reason, Some(error.to_string()))
        })?;
        Ok((http, payload))
    }

    fn select(&self, row: &Record, extracted: &Extracted, trace: &mut Trace) -> Result<(), Dropped> {
        let Some(select) = self.recipe.select else { return Ok(()) };
        let has = |kind| row.spans.iter().any(|span| span.kind == kind);
        let (is_selected, reason) = match select {
            Select::Code => (has(SpanKind::Code), "no_code"),
            Select::Math => (has(SpanKind::Math) || math_candidate(&row.text).is_certain(), "no_math"),
            Select::Qa => {
                let candidate = qa_candidate(&row.text);
                let is_marked = !extracted.qa.is_empty() || !row.mcq.is_empty();
                (is_marked || candidate.mcq_rule || candidate.is_open_question(), "no_questions")
            }
        };
        if !is_selected {
            return Err(Dropped::new("select", reason, None));
        }
        trace.push(("select", row.text.len() as u64));
        Ok(())
    }

    /// Languages, rules, quality: decisions that a row may be marked with instead of being dropped.
    fn judge(&self, row: &mut Record, trace: &mut Trace) -> Result<(), Dropped> {
        let annotates = self.recipe.mode == Mode::Annotate;
        let mut decide = |row: &mut Record, stage: &'static str, decisions: Vec<Decision>| {
            if let Some(broken) = decisions.iter().find(|decision| !decision.keep) {
                if !annotates {
                    return Err(Dropped::by(stage, broken));
                }
                row.keep = false;
            }
            row.decisions.extend(decisions);
            trace.push((stage, row.text.len() as u64));
            Ok(())
        };
        if let (Some(lid), Some(stage)) = (&self.lid, &self.recipe.lid) {
            let (found, keep) = lid.keeps(&row.text, &stage.keep, stage.min);
            let value = found.as_ref().map_or(0.0, |language| f64::from(language.score));
            let code = found.map_or("und".to_owned(), |language| language.code);
            let rule =
                if stage.keep.contains(&code) { "language_score".to_owned() } else { format!("language_{code}") };
            (row.language, row.language_score) = (Some(code), Some(value as f32));
            let decision = Decision { stage: "lid".into(), rule, value, threshold: f64::from(stage.min), keep };
            decide(row, "lid", vec![decision])?;
        }
        if let Some(preset) = self.recipe.rules {
            let mask = if self.recipe.mask { &row.spans[..] } else { &[] };
            let metrics = Metrics::compute(&row.text, mask);
            row.metrics = metrics.iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let verdict = preset.judge(&row.text, mask);
            if let Some(edited) = verdict.edited.filter(|edited| *edited != row.text) {
                // Places in the old text say nothing of the new one.
                row.text = edited;
                row.spans.clear();
            }
            decide(row, rules::STAGE, verdict.decisions)?;
            if row.text.is_empty() {
                return Err(Dropped::new(rules::STAGE, "empty", None));
            }
        }
        if let (Some(model), Some(stage)) = (&self.quality, &self.recipe.quality) {
            let line = row.text.replace('\n', " ");
            let scores = model.predict(&line, usize::MAX);
            let score = scores.iter().find(|found| found.label.strip_prefix(LABEL_PREFIX) == Some(&stage.label));
            let value = score.map_or(0.0, |found| found.probability);
            row.quality.insert(stage.label.clone(), value);
            let (value, threshold) = (f64::from(value), f64::from(stage.min));
            let rule = format!("quality_{}", stage.label);
            decide(
                row,
                "quality",
                vec![Decision { stage: "quality".into(), rule, value, threshold, keep: value >= threshold }],
            )?;
        }
        Ok(())
    }

    fn row(&self, record: &WarcRecord, http: &HttpMessage<'_>, payload: &[u8], file_name: &str) -> (Record, Extracted) {
        let page = Document::parse(payload, http.charset().as_deref());
        let extractor = Extractor::new(self.recipe.profile);
        let mut extracted = extractor.extract(&page);
        let url = record.target_uri().unwrap_or_default().to_owned();
        let warc_date = record.fields.get("WARC-Date").unwrap_or_default().to_owned();
        let payload_sha1 = sha1_hex(payload);
        let location = record.location();
        let metadata = std::mem::take(&mut extracted.metadata);
        let row = Record {
            id: record_id(record.record_id(), || format!("{url}|{warc_date}|{payload_sha1}")),
            host: Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default(),
            url,
            warc_file: file_name.to_owned(),
            warc_offset: location.offset,
            warc_length: location.length.unwrap_or(0),
            warc_stream_offset: location.stream_offset,
            warc_date,
            http_status: http.status.unwrap_or(0),
            mime: http.mime().unwrap_or_default(),
            charset: page.charset().to_owned(),
            charset_source: page.charset_source(),
            payload_sha1,
            extractor: ExtractorInfo {
                name: "parsimon".to_owned(),
                version: Extractor::VERSION,
                profile: extractor.profile().name().to_owned(),
            },
            title: metadata.title,
            canonical: metadata.canonical,
            license: metadata.license,
            robots: metadata.robots,
            lang: metadata.lang,
            language: None,
            language_score: None,
            mcq: if self.recipe.datasets || self.recipe.select == Some(Select::Qa) {
                extracted.multiple_choice()
            } else {
                Vec::new()
            },
            qa: if self.recipe.datasets { extracted.qa.clone() } else { Vec::new() },
            text: std::mem::take(&mut extracted.text),
            spans: std::mem::take(&mut extracted.spans),
            metrics: BTreeMap::new(),
            decisions: Vec::new(),
            quality: BTreeMap::new(),
            pii: None,
            keep: true,
        };
        (row, extracted)
    }
}
