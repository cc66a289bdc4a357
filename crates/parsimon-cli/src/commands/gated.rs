//! Gated attention, as arguments.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use parsimon::attn::TopValues;
use parsimon::attn::gate::Rule;
use parsimon::model::{Gating, Model};

use crate::failure::BadInput;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Dense,
    Seer,
}

#[derive(Args)]
pub(super) struct AttentionArgs {
    /// Dense attention, or SeerAttention with the gates of `--gate`.
    #[arg(long, value_enum, default_value = "dense", requires_if("seer", "gate"))]
    attention: Kind,
    /// The gate folder.
    #[arg(long, value_name = "DIR")]
    gate: Option<PathBuf>,
    /// Select blocks with a score above this, instead of what the gate folder says.
    #[arg(long, value_name = "T", group = "rule", requires = "gate")]
    threshold: Option<f64>,
    /// Select this share of the blocks.
    #[arg(long, value_name = "R", group = "rule", requires = "gate")]
    nz_ratio: Option<f64>,
    /// Select the blocks of this many tokens, with a decode gate.
    #[arg(long, value_name = "N", group = "rule", requires = "gate")]
    budget: Option<usize>,
    /// Load the values of so many keys alone, those of the largest probabilities, for every token after the prompt.
    #[arg(long, value_name = "K", conflicts_with = "gate", value_parser = clap::value_parser!(u32).range(1..))]
    top_values: Option<u32>,
}

impl AttentionArgs {
    /// The model with the gates that were asked for.
    pub(super) fn apply(&self, model: Model) -> anyhow::Result<Model> {
        let gate = match (self.attention, &self.gate) {
            (Kind::Seer, Some(gate)) => gate,
            (Kind::Dense, None) => {
                let Some(k) = self.top_values else { return Ok(model) };
                let select = TopValues { k: k as usize, renormalize: true, union: false };
                return Ok(model.with_gating(Gating::TopValues(select))?);
            }
            // Leaving the gates out would look like gates that change nothing.
            _ => return Err(BadInput::new("`--gate DIR` and `--attention seer` belong together").into()),
        };
        let threshold = self.threshold.map(Rule::Threshold);
        let rule = threshold.or(self.nz_ratio.map(Rule::NzRatio)).or(self.budget.map(Rule::TokenBudget));
        let gating = Gating::open(gate, model.config(), rule)?;
        Ok(model.with_gating(gating)?)
    }
}
