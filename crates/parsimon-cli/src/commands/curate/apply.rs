//! `parsimon curate apply`: one operation on the rows of a file.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use parsimon::data::io::JsonlReader;
use parsimon::data::ops::{Op, OpOptions};
use parsimon::data::url_filter::{UrlLists, entries};
use parsimon::tensor::io::AtomicFile;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::context::Context;

/// Apply one operation to rows of JSON; the order is kept and every line gives one line.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon curate apply rules --preset gopher-quality --in texts.jsonl --out verdicts.jsonl"
)]
pub(super) struct Apply {
    /// extract, rules, sentences, words, simplify, preprocess, minhash, lid, fasttext, mathml, math-candidates, qa-candidates, qa,
    /// code-detect, code-gutter, pii, decontam, url-filter.
    op: String,
    /// The rows: .jsonl, .jsonl.gz or .jsonl.zst.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Where the rows go.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of extract: article, balanced, recall or raw.
    #[arg(long)]
    profile: Option<String>,
    /// Of rules and minhash.
    #[arg(long)]
    preset: Option<String>,
    /// Of fasttext, and of lid in place of the bundled one.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Labels of fasttext.
    #[arg(long)]
    k: Option<usize>,
    /// Of url-filter: a file of domains.
    #[arg(long, value_name = "FILE")]
    domains: Option<PathBuf>,
    /// Of decontam: rows with task, prompt and answer.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
}

#[derive(Serialize)]
struct Applied {
    op: String,
    rows: u64,
    errors: u64,
}

impl Apply {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let domains = match &self.domains {
            Some(path) => entries(&std::fs::read_to_string(path).with_context(|| path.display().to_string())?),
            None => Vec::new(),
        };
        let options = OpOptions {
            profile: self.profile,
            preset: self.preset,
            model: self.model,
            k: self.k,
            lists: UrlLists { domains, ..UrlLists::default() },
            questions: self.questions,
        };
        let op = Op::new(&self.op, &options)?;
        let mut rows = JsonlReader::open(&self.input)?;
        let mut out = std::io::BufWriter::new(AtomicFile::create(&self.out)?);
        let mut applied = Applied { op: self.op, rows: 0, errors: 0 };
        while let Some(line) = rows.next_line()? {
            cx.cancel().check()?;
            let mut row = serde_json::from_slice::<Map<String, Value>>(line)
                .unwrap_or_else(|e| Map::from_iter([("error".to_owned(), Value::String(e.to_string()))]));
            if !row.contains_key("error") {
                op.apply(&mut row);
            }
            applied.rows += 1;
            applied.errors += u64::from(row.contains_key("error"));
            serde_json::to_writer(&mut out, &row)?;
            out.write_all(b"\n")?;
        }
        out.into_inner().map_err(|e| e.into_error())?.commit()?;
        cx.report(&applied, |a| format!("{}: {} rows, {} with an error", a.op, a.rows, a.errors))
    }
}
