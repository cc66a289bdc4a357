//! The settings of a search, and the presets of the paper and of the release.

use serde::{Deserialize, Serialize};

use crate::policy::Sampling;
use crate::search::GuidedConfig;
use crate::tree::Rule;

/// Where the values of a search come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Answers are graded; steps start at 0. PAPER(rstar-math §3.2), rounds 1 and 2.
    TerminalGuided,
    /// Answers are graded; steps start at the value model's score. PAPER(rstar-math §3.2), rounds 3 and 4.
    PpmAugmented,
    /// Nothing is graded: the value model scores answers too.
    TestTime,
}

/// The settings of a search of code-augmented steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MathConfig {
    /// Where values come from.
    pub mode: Mode,
    /// Rollouts, depth, score, wave.
    pub search: GuidedConfig,
    /// Samples an expansion.
    pub candidates: usize,
    /// Consecutive failing steps that end a branch.
    pub errors_max: u8,
    /// How steps are sampled.
    pub sampling: Sampling,
    /// What ends a step.
    pub stops: Vec<String>,
    /// As released: only the first finished answer of an expansion, "error" anywhere in an output is an error, failing output is
    /// wrapped twice.
    pub compat: bool,
}

impl Default for MathConfig {
    fn default() -> Self {
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, repetition_penalty: 1.0, max_tokens: 512 };
        MathConfig {
            mode: Mode::TestTime,
            search: GuidedConfig::default(),
            candidates: 8,
            errors_max: 1,
            sampling,
            stops: ["<end_of_step>", "<end_of_code>", "<end_of_answer>"].map(String::from).to_vec(),
            compat: false,
        }
    }
}

impl MathConfig {
    /// The paper's round `1` to `4` of self-evolution: PAPER(rstar-math §3.4).
    ///
    /// Returns `None` for another round.
    pub fn paper_round(round: usize) -> Option<MathConfig> {
        let base = MathConfig::default();
        let (temperature, candidates, rollouts, errors_max, mode) = match round {
            1 => (0.7, 5, 8, 2, Mode::TerminalGuided),
            2 => (1.0, 8, 16, 1, Mode::TerminalGuided),
            3 | 4 => (1.0, 8, 16, 1, Mode::PpmAugmented),
            _ => return None,
        };
        let mut stops = base.stops.clone();
        if round == 1 {
            stops.push("<end_of_output>".into());
        }
        Some(MathConfig {
            mode,
            candidates,
            errors_max,
            stops,
            sampling: Sampling { temperature, ..base.sampling },
            search: GuidedConfig { rollouts, ..base.search },
            ..base
        })
    }

    pub(crate) fn guided(&self) -> GuidedConfig {
        if self.compat {
            GuidedConfig { rule: Rule::RStarMath, exhaustion: false, compat: true, ..self.search }
        } else {
            self.search
        }
    }
}
