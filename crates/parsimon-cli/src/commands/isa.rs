//! `parsimon isa`: which instruction set was picked, and which kernels a matrix gets.

mod plan;

use clap::Args;
use parsimon::simd::Selection;
use serde::Serialize;

use crate::context::Context;

/// Show which instruction set the kernels use on this machine, and why; with `--plan`, which kernel a matrix gets and what it costs.
#[derive(Args)]
#[command(
    after_help = "Example: PARSIMON_ISA=avx2 parsimon isa\nExample: parsimon isa --plan 11008 4096 1 ternary --group 64"
)]
pub(crate) struct Isa {
    /// The kernels for weights [M, K] of BITS bits (1 to 8, or `ternary`) times N tokens, at this machine's level and every lower one.
    #[arg(long, num_args = 4, value_names = ["M", "K", "N", "BITS"])]
    plan: Option<Vec<String>>,
    /// Columns that share a scale: 16, a multiple of 32, or at least K.
    #[arg(long, value_name = "G", default_value_t = 128, requires = "plan")]
    group: usize,
}

#[derive(Serialize)]
struct Report {
    detected: &'static str,
    requested: Option<&'static str>,
    level: &'static str,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<plan::PlanReport>,
}

impl Isa {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let Selection { detected, requested, best } = Selection::current();
        let requested = requested.as_ref().and_then(|level| level.as_ref().ok());
        let reason = match requested {
            None => "the best that this processor and system offer".to_owned(),
            Some(level) if level == best => format!("PARSIMON_ISA={level} lowers it"),
            Some(level) => format!("PARSIMON_ISA={level} is not available here and is ignored: it only lowers"),
        };
        let plan = self.plan.as_deref().map(|words| plan::PlanReport::new(words, self.group, *best)).transpose()?;
        let report = Report {
            detected: detected.name(),
            requested: requested.map(|level| level.name()),
            level: best.name(),
            reason,
            plan,
        };
        cx.report(&report, |r| {
            let level = format!("level {} (detected {}): {}", r.level, r.detected, r.reason);
            r.plan.as_ref().map_or_else(|| level.clone(), |plan| format!("{level}\n{}", plan.render()))
        })
    }
}
