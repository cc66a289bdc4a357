//! Rule filters: numbers measured on a text, and bounds on them.
//!
//! The metrics have the names and the meaning of PAPER(redstone §3.1)'s general rules, and every decision carries its rule, value and
//! threshold, so that a row can say why it was kept. The bounds are data. Code and tables are masked: documentation dies by rules
//! that were made for news, so metrics are computed on the prose between the masked spans.

mod c4;
mod dclm;
mod fineweb;
mod gopher;
mod metrics;
mod ngrams;
mod preset;
mod redstone;

use serde::{Deserialize, Serialize};

use crate::extract::Span;
use crate::record::Decision;
pub use c4::edit as c4_edit;
pub use dclm::edit as dclm_edit;
pub use fineweb::quality as fineweb_quality;
pub use gopher::{quality as gopher_quality, repetition as gopher_repetition};
pub use metrics::Metrics;
pub use preset::RulePreset;
pub use redstone::{LINE_RULES, LineVerdict, check_lines};

/// The stage's name in decisions and funnels.
pub const STAGE: &str = "rules";

/// A bound on a metric. A value outside `min..=max` drops the document.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Bound {
    /// The metric, which is the rule's name in decisions as well.
    pub rule: String,
    /// The least value that is kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min: Option<f64>,
    /// The largest value that is kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max: Option<f64>,
}

fn bound(rule: &str, min: Option<f64>, max: Option<f64>) -> Bound {
    Bound { rule: rule.to_owned(), min, max }
}

impl Bound {
    fn decide(&self, metrics: &Metrics) -> Decision {
        let value = metrics.get(&self.rule).unwrap_or(f64::NAN);
        // Written so that NaN fails.
        let fits_min = self.min.is_none_or(|min| value >= min);
        let fits_max = self.max.is_none_or(|max| value <= max);
        let threshold = if fits_min { self.max.or(self.min) } else { self.min };
        Decision {
            stage: STAGE.to_owned(),
            rule: self.rule.clone(),
            value,
            threshold: threshold.unwrap_or(f64::NAN),
            keep: fits_min && fits_max,
        }
    }
}

/// A list of bounds, checked in order.
///
/// ```
/// use parsimon_data::{Metrics, Rules};
///
/// let verdict = Rules::technical().check(&Metrics::compute("Redirecting to the new page...", &[]));
/// assert!(!verdict.keep);
/// assert_eq!(verdict.reason(), Some("doc_word_count"));
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Rules {
    /// The bounds.
    pub bounds: Vec<Bound>,
}

/// A rule that a text breaks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hit {
    /// The rule.
    pub rule: &'static str,
    /// What was measured.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
}

impl Hit {
    fn above(rule: &'static str, value: f64, threshold: f64) -> Result<(), Hit> {
        if value > threshold { Err(Hit { rule, value, threshold }) } else { Ok(()) }
    }

    fn below(rule: &'static str, value: f64, threshold: f64) -> Result<(), Hit> {
        if value < threshold { Err(Hit { rule, value, threshold }) } else { Ok(()) }
    }
}

/// What the rules say of a document.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Whether it stays.
    pub keep: bool,
    /// One decision a bound; after the first that drops the document there are none.
    pub decisions: Vec<Decision>,
    /// The text that is left, where rules on lines took some away.
    pub edited: Option<String>,
}

impl Verdict {
    fn of_hit(result: Result<Option<String>, Hit>) -> Verdict {
        match result {
            Ok(edited) => Verdict { keep: true, decisions: Vec::new(), edited },
            Err(Hit { rule, value, threshold }) => {
                let decision =
                    Decision { stage: STAGE.to_owned(), rule: rule.to_owned(), value, threshold, keep: false };
                Verdict { keep: false, decisions: vec![decision], edited: None }
            }
        }
    }

    /// The rule that dropped the document.
    pub fn reason(&self) -> Option<&str> {
        self.decisions.iter().find(|decision| !decision.keep).map(|decision| decision.rule.as_str())
    }
}

impl Rules {
    /// Bounds for technical documentation: those of PAPER(redstone §3.1) on the masked prose where documentation can pass them, wider where
    /// its form repeats (every method of an API has a line "Examples"), and at least 20 words of prose instead of 50.
    pub fn technical() -> Rules {
        Rules {
            bounds: vec![
                bound("doc_word_count", Some(20.0), Some(100_000.0)),
                bound("doc_mean_word_len", Some(3.0), Some(10.0)),
                bound("doc_gopher_symbol_to_word", None, Some(0.1)),
                bound("doc_alpha_word_rate", Some(0.7), None),
                bound("rr_para_frac", None, Some(0.8)),
                bound("rr_para_char_frac", None, Some(0.5)),
            ],
        }
    }

    /// The bounds of general web text, strict as published: a value on a threshold stays. `PAPER(redstone §3.2)`
    pub fn redstone() -> Rules {
        let mut bounds = Rules::repetition().bounds;
        bounds.extend([
            bound("doc_word_count", Some(50.0), Some(100_000.0)),
            bound("doc_mean_word_len", Some(3.0), Some(10.0)),
            bound("doc_gopher_symbol_to_word", None, Some(0.1)),
            bound("doc_alpha_word_rate", Some(0.8), None),
            bound("doc_el_end_line_rate", None, Some(0.3)),
            bound("doc_bullet_line_rate", None, Some(0.9)),
            bound("doc_gopher_stopword_count", Some(2.0), None),
        ]);
        Rules { bounds }
    }

    /// The bounds on repetition alone.
    pub fn repetition() -> Rules {
        let most = |rule: &str, max| bound(rule, None, Some(max));
        Rules {
            bounds: vec![
                most("rr_ngram_top_2", 0.20),
                most("rr_ngram_top_3", 0.18),
                most("rr_ngram_top_4", 0.16),
                most("rr_ngram_dup_5", 0.15),
                most("rr_ngram_dup_6", 0.14),
                most("rr_ngram_dup_7", 0.13),
                most("rr_ngram_dup_8", 0.12),
                most("rr_ngram_dup_9", 0.11),
                most("rr_ngram_dup_10", 0.10),
                most("rr_sent_frac", 0.30),
                most("rr_sent_char_frac", 0.20),
                most("rr_para_frac", 0.30),
                most("rr_para_char_frac", 0.20),
            ],
        }
    }

    /// Every bound that a document breaks, in order.
    pub fn violations<'a>(&'a self, metrics: &'a Metrics) -> impl Iterator<Item = &'a str> {
        let broken = self.bounds.iter().filter(|bound| !bound.decide(metrics).keep);
        broken.map(|bound| bound.rule.as_str())
    }

    /// Every bound's decision, without stopping at the first that drops the document.
    pub fn every<'a>(&'a self, metrics: &'a Metrics) -> impl Iterator<Item = Decision> + 'a {
        self.bounds.iter().map(|bound| bound.decide(metrics))
    }

    /// Checks a document. A bound on a metric that does not exist is never met.
    pub fn check(&self, metrics: &Metrics) -> Verdict {
        let mut decisions = Vec::with_capacity(self.bounds.len());
        for bound in &self.bounds {
            let decision = bound.decide(metrics);
            let keep = decision.keep;
            decisions.push(decision);
            if !keep {
                return Verdict { keep, decisions, edited: None };
            }
        }
        Verdict { keep: true, decisions, edited: None }
    }
}

#[cfg(test)]
mod tests;
