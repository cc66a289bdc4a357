//! The section about the corpus: what went in, what each stage let through, and why the rest fell out.

use super::numbers::{bytes, escape, grouped, percent};
use super::page::{Tile, tiles};
use super::run::{Corpus, Pack, Stage};

pub(super) fn section(pack: Option<&Pack>, corpus: Option<&Corpus>) -> String {
    let mut html = String::new();
    let mut facts = Vec::new();
    if let Some(pack) = pack {
        facts.push(Tile::new("pages in", grouped(pack.pages), format!("{} of HTML", bytes(pack.html_bytes))));
        facts.push(Tile::new("web archives", bytes(pack.warc_bytes), "gzip, one member a record"));
    }
    if let Some(corpus) = corpus {
        let text = format!("{} of text", bytes(corpus.text_bytes));
        facts.push(Tile::new("documents kept", grouped(corpus.documents), text));
        let vocabulary = format!("vocabulary of {}", grouped(corpus.vocab_size));
        facts.push(Tile::new("training tokens", grouped(corpus.tokens), vocabulary));
        facts.push(Tile::new("held out", grouped(corpus.heldout.documents), "documents, by hash of their id"));
    }
    if facts.is_empty() {
        return html;
    }
    html.push_str("<section id=\"corpus\"><h2>Corpus</h2>\n");
    html.push_str(&tiles(&facts));
    if let Some(corpus) = corpus.filter(|corpus| !corpus.funnel.is_empty()) {
        html.push_str(&funnel(&corpus.funnel));
    }
    html.push_str("</section>\n");
    html
}

/// One row a stage: a bar of the documents that it let through, a pale one of those that it dropped, and the reasons.
fn funnel(stages: &[Stage]) -> String {
    let widest = stages.iter().map(|stage| stage.docs_in.max(stage.docs_out)).max().unwrap_or(0).max(1);
    let width = |docs: u64| docs as f64 / widest as f64 * 100.0;
    let mut html = String::from(
        "<h3>Funnel</h3>\n<p class=\"note\">Documents that each stage lets through (solid) and drops (pale), with the reasons.</p>\n\
         <div class=\"funnel\">\n",
    );
    for stage in stages {
        let dropped = stage.docs_in.saturating_sub(stage.docs_out);
        html.push_str(&format!(
            "<div class=\"stage\"><div class=\"name\">{}</div><div class=\"track\"><span class=\"kept\" style=\"width:{:.2}%\"></span>\
             <span class=\"dropped\" style=\"width:{:.2}%\"></span></div><div class=\"count\">{}</div>\
             <div class=\"why\">{}</div></div>\n",
            escape(&stage.stage),
            width(stage.docs_out),
            width(dropped),
            grouped(stage.docs_out),
            reasons(stage, dropped),
        ));
    }
    html.push_str("</div>\n");
    html
}

/// The reasons of a stage, the most frequent first.
fn reasons(stage: &Stage, dropped: u64) -> String {
    if dropped == 0 {
        return String::new();
    }
    let mut reasons: Vec<(&String, &u64)> = stage.reasons.iter().filter(|(_, count)| **count > 0).collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let chips = reasons.iter().map(|(reason, count)| {
        format!("<span class=\"chip\">{} <b>{}</b></span>", escape(&reason.replace('_', " ")), grouped(**count))
    });
    let chips: String = chips.collect();
    format!("<span class=\"lost\">\u{2212}{} ({})</span>{chips}", grouped(dropped), percent(dropped, stage.docs_in))
}
