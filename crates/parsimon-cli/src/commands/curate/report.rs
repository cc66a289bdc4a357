//! `parsimon curate report` and `explain`.

use std::path::PathBuf;

use clap::Args;
use parsimon::data::Report;
use parsimon::data::pipeline::{Explanation, explain};
use parsimon::tensor::io::read_json;

use crate::context::Context;

/// Draw what a run took in, dropped and kept: a page with the funnel and the reasons.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate report --out corpus --html funnel.html")]
pub(super) struct ReportArgs {
    /// The folder of the corpus.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where the page goes.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl ReportArgs {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let report: Report = read_json(&self.out.join("stats.json"))?;
        if let Some(path) = &self.html {
            let mut file = parsimon::tensor::io::AtomicFile::create(path)?;
            std::io::Write::write_all(&mut file, page(&report).as_bytes())?;
            file.commit()?;
        }
        cx.report(&report, super::run::table)
    }
}

/// A page of its own: one bar a stage, one a reason.
fn page(report: &Report) -> String {
    let first = report.funnel.first().map_or(1, |stage| stage.docs_in.max(1)) as f64;
    let mut rows = String::new();
    for stage in &report.funnel {
        rows.push_str(&bar(&stage.stage, stage.docs_out, stage.docs_out as f64 / first, "#3a7"));
        let mut reasons: Vec<_> = stage.reasons.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
        for (reason, &count) in reasons {
            rows.push_str(&bar(&format!("  dropped: {reason}"), count, count as f64 / first, "#c64"));
        }
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{preset}: funnel</title>\
         <style>body{{font:14px sans-serif;max-width:60em;margin:2em auto}}td{{padding:2px 8px;white-space:pre}}</style>\
         <h1>{preset}</h1><p>{documents} documents, {megabytes:.1} MB of text, {tokens} tokens.</p><table>{rows}</table></html>\n",
        preset = escape(&report.preset),
        documents = report.documents,
        megabytes = report.text_bytes as f64 / 1e6,
        tokens = report.tokens,
    )
}

fn bar(name: &str, count: u64, share: f64, color: &str) -> String {
    let width = (share.clamp(0.0, 1.0) * 400.0).ceil();
    format!(
        "<tr><td>{}<td align=right>{count}<td><svg width=400 height=12><rect width=\"{width}\" height=12 fill=\"{color}\"/></svg>\
         <td align=right>{:.1} %</tr>",
        escape(name),
        share * 100.0
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Show why a document is in the corpus or is not: every rule with its value and threshold.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate explain --out corpus https://doc.rust-lang.org/book/print.html")]
pub(super) struct Explain {
    /// The folder of the corpus.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The document's id or address.
    id: String,
}

impl Explain {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        cx.report(&explain(&self.out, &self.id)?, text)
    }
}

fn text(e: &Explanation) -> String {
    let fate = match (&e.stage, &e.reason) {
        (Some(stage), Some(reason)) => {
            format!("dropped by {stage}: {reason} {}", e.detail.as_deref().unwrap_or_default())
        }
        _ => "kept".to_owned(),
    };
    let mut lines = vec![format!("{} {}", e.id, e.url), format!("{} at byte {}", e.file.display(), e.offset), fate];
    for decision in &e.decisions {
        lines.push(format!(
            "{:<20} {:<28} {:>12.4} {:>12.4} {}",
            decision.stage,
            decision.rule,
            decision.value,
            decision.threshold,
            if decision.keep { "keep" } else { "drop" }
        ));
    }
    lines.join("\n")
}
