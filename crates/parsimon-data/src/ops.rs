//! Single operations on rows of JSON: what `parsimon curate apply` does to each line, and what golden files are compared with.
//!
//! A row has `text`, or `html` (or `html_path`) for `extract`, or `mathml`; an operation adds its keys. A row that an operation cannot
//! work on gets `error` and goes on.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::decontam::Decontaminator;
use crate::dedup::{MinHashParams, Signer};
use crate::error::CurateError;
use crate::extract::{Extractor, Profile};
use crate::fasttext::FastText;
use crate::html::Document;
use crate::lid::Lid;
use crate::pii::{PiiOptions, mask};
use crate::rules::{Metrics, RulePreset};
use crate::url_filter::{UrlFilter, UrlLists};
use crate::{code, math, qa, text};

/// The largest page that `html_path` reads.
const HTML_BYTES_MAX: u64 = 64 << 20;

/// An operation, ready.
pub enum Op {
    /// `extract`: text, title, spans, code, math, qa, mcq.
    Extract(Extractor),
    /// `rules`: keep, reason, violations, metrics, text.
    Rules(RulePreset),
    /// `sentences`.
    Sentences,
    /// `words`: web words.
    Words,
    /// `simplify`.
    Simplify,
    /// `preprocess`: the tokens of text classifiers.
    Preprocess,
    /// `minhash`: sig.
    MinHash(Signer),
    /// `lid`: lang, score.
    Lid(Lid),
    /// `fasttext`: labels, probs.
    FastText(FastText, usize),
    /// `mathml`: latex.
    MathMl,
    /// `math-candidates`.
    MathCandidates,
    /// `qa-candidates`.
    QaCandidates,
    /// `qa`: qa of lines, mcq.
    Qa,
    /// `code-detect`: is_code.
    CodeDetect,
    /// `code-gutter`: text.
    CodeGutter,
    /// `pii`: text, pii.
    Pii(PiiOptions),
    /// `decontam`: keep, task.
    Decontam(Decontaminator),
    /// `url-filter`: keep, reason, by the row's `url`.
    UrlFilter(UrlFilter),
}

/// The options of all operations; each takes its own.
#[derive(Clone, Default, Debug)]
pub struct OpOptions {
    /// Of `extract`; balanced by default.
    pub profile: Option<String>,
    /// Of `rules` and `minhash`.
    pub preset: Option<String>,
    /// Of `fasttext`, and of `lid` in place of the bundled one.
    pub model: Option<PathBuf>,
    /// Labels of `fasttext`; 1 by default.
    pub k: Option<usize>,
    /// Lists of `url-filter`.
    pub lists: UrlLists,
    /// Questions of `decontam`: JSON lines with `task`, `prompt`, `answer`.
    pub questions: Option<PathBuf>,
}

/// The names of the operations.
pub const NAMES: [&str; 18] = [
    "extract",
    "rules",
    "sentences",
    "words",
    "simplify",
    "preprocess",
    "minhash",
    "lid",
    "fasttext",
    "mathml",
    "math-candidates",
    "qa-candidates",
    "qa",
    "code-detect",
    "code-gutter",
    "pii",
    "decontam",
    "url-filter",
];

impl Op {
    /// Prepares the operation called `name`.
    ///
    /// # Errors
    ///
    /// [`CurateError`]: no such operation or preset, an option that is missing, a file that cannot be read.
    pub fn new(name: &str, options: &OpOptions) -> Result<Op, CurateError> {
        let bad =
            |what, given: &str, reason: String| CurateError::BadArgument { what, given: given.to_owned(), reason };
        let preset = |default: &'static str| options.preset.as_deref().unwrap_or(default).to_owned();
        Ok(match name {
            "extract" => {
                let given = options.profile.as_deref().unwrap_or("balanced");
                let profile = Profile::from_name(given);
                Op::Extract(Extractor::new(profile.ok_or_else(|| {
                    bad("the profile", given, "there are article, balanced, recall and raw".to_owned())
                })?))
            }
            "rules" => {
                let given = preset("redstone");
                let names = RulePreset::ALL.map(|(name, _)| name).join(", ");
                Op::Rules(
                    RulePreset::from_name(&given)
                        .ok_or_else(|| bad("the preset", &given, format!("there are {names}")))?,
                )
            }
            "minhash" => {
                let given = preset("native");
                let names = "there are native, fineweb-sha1, fineweb-sha1-32, fineweb-xxh64 and redstone";
                let params = MinHashParams::from_name(&given);
                Op::MinHash(Signer::new(params.ok_or_else(|| bad("the preset", &given, names.to_owned()))?))
            }
            "lid" => Op::Lid(match &options.model {
                Some(path) => Lid::open(path)?,
                None => Lid::builtin(),
            }),
            "fasttext" => {
                let path = options.model.as_ref().ok_or_else(|| bad("the model", "", "--model names it".to_owned()))?;
                Op::FastText(FastText::open(path)?, options.k.unwrap_or(1))
            }
            "decontam" => Op::Decontam(questions(options.questions.as_deref())?),
            "url-filter" => Op::UrlFilter(UrlFilter::new(&options.lists)?),
            "sentences" => Op::Sentences,
            "words" => Op::Words,
            "simplify" => Op::Simplify,
            "preprocess" => Op::Preprocess,
            "mathml" => Op::MathMl,
            "math-candidates" => Op::MathCandidates,
            "qa-candidates" => Op::QaCandidates,
            "qa" => Op::Qa,
            "code-detect" => Op::CodeDetect,
            "code-gutter" => Op::CodeGutter,
            "pii" => Op::Pii(PiiOptions::default()),
            _ => return Err(bad("the operation", name, format!("there are {}", NAMES.join(", ")))),
        })
    }

    /// Works on one row.
    pub fn apply(&self, row: &mut Map<String, Value>) {
        match self.results(row) {
            Ok(Value::Object(results)) => row.extend(results),
            Ok(_) => {}
            Err(error) => {
                row.insert("error".to_owned(), Value::String(error));
            }
        }
    }

    fn results(&self, row: &Map<String, Value>) -> Result<Value, String> {
        let string =
            |key: &str| row.get(key).and_then(Value::as_str).ok_or_else(|| format!("the row has no string `{key}`"));
        Ok(match self {
            Op::Extract(extractor) => return extract(*extractor, row),
            Op::MathMl => {
                let latex = math::mathml_fragment(string("mathml")?).ok_or("no formula, or one too deep")?;
                json!({"latex": latex})
            }
            Op::UrlFilter(filter) => {
                let reason = filter.check(string("url")?);
                json!({"keep": reason.is_none(), "reason": reason})
            }
            _ => self.text_results(string("text")?),
        })
    }

    fn text_results(&self, given: &str) -> Value {
        match self {
            Op::Rules(preset) => {
                let verdict = preset.judge(given, &[]);
                let metrics: Map<String, Value> =
                    Metrics::compute(given, &[]).iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
                let violations = preset.violations(given);
                let mut results = json!({
                    "keep": verdict.keep, "reason": verdict.reason(), "violations": violations, "metrics": metrics,
                });
                if let (Some(results), Some(edited)) = (results.as_object_mut(), verdict.edited) {
                    results.insert("text".to_owned(), Value::String(edited));
                }
                results
            }
            Op::Sentences => json!({"sentences": text::sentences(given)}),
            Op::Words => json!({"tokens": text::web_words(given).collect::<Vec<_>>()}),
            Op::Simplify => json!({"text": text::simplify(given)}),
            Op::Preprocess => json!({"tokens": text::preprocess(given)}),
            Op::MinHash(signer) => json!({"sig": signer.sign(given)}),
            Op::Lid(lid) => match lid.detect(given) {
                Some(found) => json!({"lang": found.code, "score": found.score}),
                None => json!({"lang": "und", "score": 0.0}),
            },
            Op::FastText(model, k) => {
                let found = model.predict(&given.replace('\n', " "), *k);
                let labels: Vec<&str> = found.iter().map(|found| found.label).collect();
                json!({"labels": labels, "probs": found.iter().map(|found| found.probability).collect::<Vec<_>>()})
            }
            Op::MathCandidates => {
                let found = math::math_candidate(given);
                json!({"math_p0": found.commands, "math_s1": found.known, "math_s2_any": found.has_operator})
            }
            Op::QaCandidates => {
                let found = qa::qa_candidate(given);
                json!({
                    "mcq_rule": found.mcq_rule, "q_hits": found.q_hits, "a_hits": found.a_hits, "quality": found.quality,
                    "fill_in": found.fill_in,
                })
            }
            Op::Qa => json!({"qa": qa::pairs_of_lines(given), "mcq": qa::multiple_choice(given)}),
            Op::CodeDetect => json!({"is_code": code::is_code(given)}),
            Op::CodeGutter => json!({"text": code::remove_gutters(given)}),
            Op::Pii(options) => {
                let (masked, counts) = mask(given, &mut [], *options);
                json!({"text": masked, "pii": counts})
            }
            Op::Decontam(index) => {
                let task = index.check(given);
                json!({"keep": task.is_none(), "task": task})
            }
            Op::Extract(_) | Op::MathMl | Op::UrlFilter(_) => Value::Null,
        }
    }
}

fn extract(extractor: Extractor, row: &Map<String, Value>) -> Result<Value, String> {
    let html = match (row.get("html").and_then(Value::as_str), row.get("html_path").and_then(Value::as_str)) {
        (Some(html), _) => html.as_bytes().to_vec(),
        (None, Some(path)) => read_page(Path::new(path)).map_err(|e| format!("{path}: {e}"))?,
        (None, None) => return Err("the row has no string `html` or `html_path`".to_owned()),
    };
    let found = extractor.extract(&Document::parse(&html, None));
    let mcq = found.multiple_choice();
    Ok(json!({
        "text": found.text, "title": found.metadata.title, "spans": found.spans, "code": found.code(), "math": found.formulas(),
        "qa": found.qa, "mcq": mcq.iter().map(|choice| json!({"stem": choice.stem, "options": choice.options, "answer": choice.answer})).collect::<Vec<_>>(),
        "root": found.root,
    }))
}

fn read_page(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut html = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::MultiGzDecoder::new(file).take(HTML_BYTES_MAX).read_to_end(&mut html)?;
    } else {
        file.take(HTML_BYTES_MAX).read_to_end(&mut html)?;
    }
    Ok(html)
}

fn questions(path: Option<&Path>) -> Result<Decontaminator, CurateError> {
    let missing = || CurateError::BadArgument {
        what: "the questions",
        given: String::new(),
        reason: "--questions names their file".to_owned(),
    };
    let mut lines = crate::io::JsonlReader::open(path.ok_or_else(missing)?)?;
    let mut index = Decontaminator::default();
    while let Some(row) = lines.next_row::<Map<String, Value>>()? {
        let string = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        index.add(string("task"), string("prompt"), string("answer"));
    }
    Ok(index)
}

#[cfg(test)]
mod tests;
