//! The published rule sets by name.

use serde::{Deserialize, Serialize};

use super::metrics::unmasked;
use super::{Metrics, Rules, Span, Verdict, c4, check_lines, dclm, fineweb, gopher};
use crate::text;

/// A published rule set, its thresholds as published.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum RulePreset {
    /// RedStone's general rules, then its rules on sentences.
    Redstone,
    /// RedStone's metrics on the prose of technical text, wider bounds.
    Technical,
    /// Gopher's rules on repetition.
    GopherRepetition,
    /// Gopher's rules on quality.
    GopherQuality,
    /// C4's rules on lines, without the one on marks.
    C4,
    /// All of C4's rules on lines.
    C4Strict,
    /// FineWeb's own rules.
    FinewebQuality,
    /// Gopher repetition, Gopher quality, C4, FineWeb quality, in this order.
    Fineweb,
    /// DCLM's heuristics.
    Dclm,
}

impl RulePreset {
    /// Every preset with its name.
    pub const ALL: [(&'static str, RulePreset); 9] = [
        ("redstone", RulePreset::Redstone),
        ("technical", RulePreset::Technical),
        ("gopher-repetition", RulePreset::GopherRepetition),
        ("gopher-quality", RulePreset::GopherQuality),
        ("c4", RulePreset::C4),
        ("c4-strict", RulePreset::C4Strict),
        ("fineweb-quality", RulePreset::FinewebQuality),
        ("fineweb", RulePreset::Fineweb),
        ("dclm", RulePreset::Dclm),
    ];

    /// The preset called `name`.
    pub fn from_name(name: &str) -> Option<RulePreset> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, preset)| preset)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|&&(_, preset)| preset == self).map_or("", |(name, _)| name)
    }

    /// Judges a text. Metrics are taken outside `mask`; a set that edits lines edits the whole text, so with a mask its verdict counts and
    /// its edit is left out: lines of code and tables are none of its business.
    ///
    /// ```
    /// use parsimon_data::rules::RulePreset;
    ///
    /// let verdict = RulePreset::GopherQuality.judge("Too short.", &[]);
    /// assert_eq!((verdict.keep, verdict.reason()), (false, Some("gopher_short_doc")));
    /// ```
    pub fn judge(self, text: &str, mask: &[Span]) -> Verdict {
        if mask.is_empty() {
            return self.judge_prose(text);
        }
        Verdict { edited: None, ..self.judge_prose(&unmasked(text, mask)) }
    }

    /// Every rule that a text breaks, where the set knows more than the first.
    pub fn violations(self, text: &str) -> Vec<String> {
        let of_bounds = |rules: Rules, text: &str| -> Vec<String> {
            rules.violations(&Metrics::compute(text, &[])).map(str::to_owned).collect()
        };
        match self {
            RulePreset::Redstone => {
                let mut violations = of_bounds(Rules::redstone(), text);
                let lines = check_lines(&text::sentences(text));
                violations.extend((!lines.decision.keep).then(|| lines.decision.rule.clone()));
                violations
            }
            RulePreset::Technical => of_bounds(Rules::technical(), text),
            _ => self.judge_prose(text).reason().map(str::to_owned).into_iter().collect(),
        }
    }

    fn judge_prose(self, text: &str) -> Verdict {
        match self {
            RulePreset::Redstone => redstone(text),
            RulePreset::Technical => Rules::technical().check(&Metrics::compute(text, &[])),
            RulePreset::GopherRepetition => Verdict::of_hit(gopher::repetition(text).map(|()| None)),
            RulePreset::GopherQuality => Verdict::of_hit(gopher::quality(text).map(|()| None)),
            RulePreset::C4 => Verdict::of_hit(c4::edit(text, false).map(Some)),
            RulePreset::C4Strict => Verdict::of_hit(c4::edit(text, true).map(Some)),
            RulePreset::FinewebQuality => Verdict::of_hit(fineweb::quality(text).map(|()| None)),
            RulePreset::Fineweb => {
                let chain = gopher::repetition(text).and_then(|()| gopher::quality(text));
                let edited = chain.and_then(|()| c4::edit(text, false));
                Verdict::of_hit(edited.and_then(|edited| fineweb::quality(&edited).map(|()| Some(edited))))
            }
            RulePreset::Dclm => Verdict::of_hit(dclm::edit(text).map(Some)),
        }
    }
}

fn redstone(text: &str) -> Verdict {
    if text.trim_matches(text::is_space).is_empty() {
        return Verdict::of_hit(Err(super::Hit { rule: "empty", value: 0.0, threshold: 0.0 }));
    }
    let sentences = text::sentences(text);
    let mut verdict = Rules::redstone().check(&Metrics::of_prose(text, &sentences));
    if verdict.keep {
        let lines = check_lines(&sentences);
        verdict.keep = lines.decision.keep;
        verdict.decisions.push(lines.decision);
        verdict.edited = verdict.keep.then_some(lines.text);
    }
    verdict
}
