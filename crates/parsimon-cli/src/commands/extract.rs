//! `parsimon extract`: training rows from finished trees.

use std::path::PathBuf;

use clap::Args;
use parsimon::reason::rstar_math::extract::{Ends, Follow, Leaf, clear_pairs};
use parsimon::reason::rstar_math::step;
use parsimon::reason::tree::{NodeRecord, TreeRecord, tree_from_record};
use parsimon::tensor::io::write_json;
use serde::Serialize;

use crate::context::Context;
use crate::failure::BadInput;

/// Make rows for supervised training and preference pairs from trees in rStar-Math's shape, one a line.
#[derive(Args)]
#[command(after_help = "Example: parsimon extract --trees trees.jsonl --sft sft.json --pairs pairs.json")]
pub(crate) struct Extract {
    /// The trees.
    #[arg(long, value_name = "FILE")]
    trees: PathBuf,
    /// Where the rows go.
    #[arg(long, value_name = "FILE")]
    sft: PathBuf,
    /// Where the pairs go.
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// Right trajectories of a problem.
    #[arg(long, default_value_t = 2)]
    best: usize,
}

#[derive(Serialize)]
struct Report {
    problems: usize,
    sft_rows: usize,
    pair_rows: usize,
}

impl Extract {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let bad = |message: String| BadInput { file: Some(self.trees.clone()), message };
        let text = std::fs::read_to_string(&self.trees).map_err(|error| bad(error.to_string()))?;
        let (mut problems, mut sft, mut pairs) = (0, Vec::new(), Vec::new());
        let describe = |node: &NodeRecord| Leaf { text: node.text.clone(), final_answer: node.final_answer.clone() };
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let record: TreeRecord =
                serde_json::from_str(line).map_err(|error| bad(format!("line {}: {error}", at + 1)))?;
            let tree = tree_from_record(&record).map_err(|error| bad(format!("line {}: {error}", at + 1)))?;
            let ends = Ends::new(&tree, &describe);
            sft.extend(ends.sft_rows(&record.question, self.best));
            pairs.extend(clear_pairs(&ends.step_pairs(&step::prompt(&record.question), Follow::All)));
            problems += 1;
        }
        write_json(&self.sft, &sft)?;
        write_json(&self.pairs, &pairs)?;
        let report = Report { problems, sft_rows: sft.len(), pair_rows: pairs.len() };
        cx.report(&report, |report| {
            format!("{} problems: {} rows, {} pairs", report.problems, report.sft_rows, report.pair_rows)
        })
    }
}
