//! The page: head, style, the sections that have data, and a line for what is missing.

use super::numbers::{duration, escape, short};
use super::run::{About, Run};
use super::{corpus, models, training};

const STYLE: &str = include_str!("style.css");

/// A number with its name.
pub(super) struct Tile {
    name: &'static str,
    value: String,
    detail: String,
}

impl Tile {
    pub(super) fn new(name: &'static str, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Tile { name, value: value.into(), detail: detail.into() }
    }
}

/// A row of tiles.
pub(super) fn tiles(tiles: &[Tile]) -> String {
    let tiles = tiles.iter().map(|tile| {
        let (value, detail) = (escape(&tile.value), escape(&tile.detail));
        format!("<div class=\"tile\"><span>{}</span><b>{value}</b><small>{detail}</small></div>\n", tile.name)
    });
    format!("<div class=\"tiles\">\n{}</div>\n", tiles.collect::<String>())
}

/// Draws the whole page.
pub(crate) fn page(run: &Run) -> String {
    let mut body = String::new();
    if let Some(about) = &run.about {
        body.push_str(&origin(about));
    }
    body.push_str(&corpus::section(run.pack.as_ref(), run.corpus.as_ref()));
    if let Some(training) = &run.training {
        body.push_str(&training::section(training));
    }
    body.push_str(&models::section(&run.models));
    body.push_str(&models::samples(&run.models));
    if body.is_empty() {
        body.push_str("<p>The run folder holds no results yet.</p>\n");
    }
    if let Some(about) = run.about.as_ref().filter(|about| !about.steps.is_empty()) {
        body.push_str(&steps(about));
    }
    if !run.missing.is_empty() {
        let names: Vec<String> = run.missing.iter().map(|name| format!("<code>{}</code>", escape(name))).collect();
        body.push_str(&format!(
            "<p class=\"missing\">Not in the run folder, so left out here: {}.</p>\n",
            names.join(", ")
        ));
    }
    document("Parsimon run", &headline(run), &body)
}

/// A page that needs nothing else. `headline` and `body` are HTML.
pub(super) fn document(title: &str, headline: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header><h1>{title}</h1>\n<p>{headline}</p></header>\n<main>\n{body}</main>\n\
         </body>\n</html>\n"
    )
}

/// One sentence with the numbers that matter most.
fn headline(run: &Run) -> String {
    let mut parts = Vec::new();
    if let Some(corpus) = &run.corpus {
        parts.push(format!("{} tokens of text", short(corpus.tokens as f64)));
    }
    if let Some(training) = &run.training {
        parts.push(format!("a model of {} parameters", short(training.parameters as f64)));
    }
    let bits: Vec<f64> =
        run.models.iter().filter(|model| model.is_quantized()).map(|model| model.bits_per_weight()).collect();
    if let Some(fewest) = bits.iter().copied().filter(|bits| bits.is_finite()).min_by(f64::total_cmp) {
        parts.push(format!("quantized down to {fewest:.2} bits per weight"));
    }
    let line = parts.join(", ");
    let mut letters = line.chars();
    letters.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), escape(letters.as_str())))
}

fn origin(about: &About) -> String {
    let mut html = String::new();
    if !about.input.is_empty() {
        html.push_str(&format!("<p class=\"note\">Input: {}.</p>\n", escape(&about.input)));
    }
    if !about.comparable {
        let why = if about.smoke {
            "a smoke run on a small selection with few training steps"
        } else {
            "a run on a small sample"
        };
        html.push_str(&format!(
            "<p class=\"warning\">This is {why}: its quality is not comparable with other runs.</p>\n"
        ));
    }
    html
}

/// Seconds of each step as bars.
fn steps(about: &About) -> String {
    let longest = about.steps.iter().map(|step| step.seconds).fold(1e-9, f64::max);
    let total: f64 = about.steps.iter().map(|step| step.seconds).sum();
    let mut html = format!(
        "<section id=\"time\"><h2>Time</h2>\n<p class=\"note\">{} together.</p>\n<div class=\"bars\">\n",
        duration(total)
    );
    for step in &about.steps {
        html.push_str(&format!(
            "<div class=\"bar\"><div class=\"name\">{}</div><div class=\"track\"><span class=\"fill main\" style=\"width:{:.2}%\"></span></div>\
             <div class=\"count\">{}</div></div>\n",
            escape(&step.name),
            (step.seconds / longest * 100.0).clamp(0.0, 100.0),
            duration(step.seconds)
        ));
    }
    html.push_str("</div>\n</section>\n");
    html
}
