//! `parsimon grade`: whether predicted answers equal gold answers.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use parsimon::reason::Grader;
use parsimon::reason::answer::Method;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::failure::BadInput;

/// Compare answers: `{"gold", "pred"}` a line; with `"expect"` also how often the grader agrees.
#[derive(Args)]
#[command(after_help = "Example: parsimon grade --pairs answers.jsonl --json")]
pub(crate) struct Grade {
    /// The pairs.
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// Accept a relative difference of 1e-4 and other bracket kinds.
    #[arg(long)]
    lenient: bool,
    /// Fail (exit status 1) when the grader disagrees with an `expect`.
    #[arg(long)]
    check: bool,
}

#[derive(Deserialize)]
struct Pair {
    gold: String,
    pred: String,
    expect: Option<bool>,
}

#[derive(Serialize, Default)]
struct Report {
    n: usize,
    equal: usize,
    agree: usize,
    false_pos: usize,
    false_neg: usize,
    undecided: usize,
    median_us: f64,
    max_us: f64,
}

impl Grade {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.pairs)
            .map_err(|error| BadInput { file: Some(self.pairs.clone()), message: error.to_string() })?;
        let grader = if self.lenient { Grader::lenient() } else { Grader::strict() };
        let mut report = Report::default();
        let mut times = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let pair: Pair = serde_json::from_str(line).map_err(|error| BadInput {
                file: Some(self.pairs.clone()),
                message: format!("line {}: {error}", at + 1),
            })?;
            let start = Instant::now();
            let verdict = grader.verify(&pair.gold, &pair.pred);
            times.push(start.elapsed().as_secs_f64() * 1e6);
            report.n += 1;
            report.equal += usize::from(verdict.equal);
            report.undecided += usize::from(verdict.method == Method::Undecided);
            if let Some(expect) = pair.expect {
                report.agree += usize::from(verdict.equal == expect);
                report.false_pos += usize::from(verdict.equal && !expect);
                report.false_neg += usize::from(!verdict.equal && expect);
            }
        }
        times.sort_by(f64::total_cmp);
        report.median_us = times.get(times.len() / 2).copied().unwrap_or(0.0);
        report.max_us = times.last().copied().unwrap_or(0.0);
        let disagree = report.false_pos + report.false_neg;
        cx.report(&report, |report| {
            format!(
                "{} pairs, {} equal; {} agree with what was expected, {} false positives, {} false negatives, {} undecided; median {:.1} us, longest {:.0} us",
                report.n, report.equal, report.agree, report.false_pos, report.false_neg, report.undecided, report.median_us, report.max_us
            )
        })?;
        anyhow::ensure!(
            !self.check || disagree == 0,
            "the grader disagrees with {disagree} of {} expectations",
            report.n
        );
        Ok(())
    }
}
