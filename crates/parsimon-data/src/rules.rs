//! Rule filters: numbers measured on a text, and bounds on them.
//!
//! The metrics have the names and the meaning of PAPER(redstone §3.1)'s general rules, and every decision carries its rule, value and
//! threshold, so that a row can say why it was kept. The bounds are data. Code and tables are masked: documentation dies by rules
//! that were made for news, so metrics are computed on the prose between the masked spans.

mod metrics;

use serde::{Deserialize, Serialize};

use crate::record::Decision;
pub use metrics::Metrics;

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

/// What the rules say of a document.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Whether it stays.
    pub keep: bool,
    /// One decision a bound; after the first that drops the document there are none.
    pub decisions: Vec<Decision>,
}

impl Verdict {
    /// The rule that dropped the document.
    pub fn reason(&self) -> Option<&str> {
        self.decisions.iter().find(|decision| !decision.keep).map(|decision| decision.rule.as_str())
    }
}

impl Rules {
    /// Bounds for technical documentation: those of PAPER(redstone §3.1) on the masked prose where documentation can pass them, wider where
    /// its form repeats (every method of an API has a line "Examples"), and at least 20 words of prose instead of 50.
    pub fn technical() -> Rules {
        let bound = |rule: &str, min, max| Bound { rule: rule.to_owned(), min, max };
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

    /// Checks a document. A bound on a metric that does not exist is never met.
    pub fn check(&self, metrics: &Metrics) -> Verdict {
        let mut decisions = Vec::with_capacity(self.bounds.len());
        for bound in &self.bounds {
            let value = metrics.get(&bound.rule).unwrap_or(f64::NAN);
            // Written so that NaN fails.
            let fits_min = bound.min.is_none_or(|min| value >= min);
            let fits_max = bound.max.is_none_or(|max| value <= max);
            let keep = fits_min && fits_max;
            let threshold = if fits_min { bound.max.or(bound.min) } else { bound.min };
            decisions.push(Decision {
                stage: STAGE.to_owned(),
                rule: bound.rule.clone(),
                value,
                threshold: threshold.unwrap_or(f64::NAN),
                keep,
            });
            if !keep {
                return Verdict { keep, decisions };
            }
        }
        Verdict { keep: true, decisions }
    }
}

#[cfg(test)]
mod tests;
