//! `parsimon isa`: which instruction set was picked, and why.

use clap::Args;
use parsimon::simd::Selection;
use serde::Serialize;

use crate::context::Context;

/// Show which instruction set the kernels use on this machine, and why.
#[derive(Args)]
#[command(after_help = "Example: PARSIMON_ISA=avx2 parsimon isa")]
pub(crate) struct Isa {}

#[derive(Serialize)]
struct Report {
    detected: &'static str,
    requested: Option<&'static str>,
    level: &'static str,
    reason: String,
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
        let report = Report {
            detected: detected.name(),
            requested: requested.map(|level| level.name()),
            level: best.name(),
            reason,
        };
        cx.report(&report, |r| format!("level {} (detected {}): {}", r.level, r.detected, r.reason))
    }
}
