//! Where pages keep their formulas.

use std::borrow::Cow;

use super::mathml::to_latex;
use super::validate::validate;
use crate::extract::Formula;
use crate::html::{Document, Event, NodeId};

/// Which delimiters of formulas count in the text of a page.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Delimiters {
    /// The page loads a renderer of formulas, so that a lone `$` is a delimiter too.
    pub(crate) has_renderer: bool,
}

impl Delimiters {
    /// What a page's scripts say.
    pub(crate) fn of(page: &Document) -> Delimiters {
        let names = |text: &str| {
            let lower = text.to_ascii_lowercase();
            lower.contains("mathjax") || lower.contains("katex")
        };
        let has_renderer = page.walk(page.root()).any(|event| {
            let Event::Enter(node) = event else { return false };
            match page.tag(node) {
                Some("script") => {
                    page.attribute(node, "src").is_some_and(names)
                        || page
                            .first_child(node)
                            .and_then(|text| page.text(text))
                            .is_some_and(|text| text.len() < 1 << 16 && names(text))
                }
                Some("link") => page.attribute(node, "href").is_some_and(names),
                _ => false,
            }
        });
        Delimiters { has_renderer }
    }
}

/// Whether the node holds one formula.
pub(crate) fn is_formula_node(page: &Document, node: NodeId) -> bool {
    let Some(tag) = page.tag(node) else { return false };
    match tag {
        "math" | "maths" | "mathjax" => true,
        "script" => page.attribute(node, "type").is_some_and(|kind| kind.trim_start().starts_with("math/")),
        "img" => image_source(page, node).is_some(),
        "span" | "div" => {
            page.attribute(node, "class").is_some_and(|class| {
                class.split_ascii_whitespace().any(|name| matches!(name, "math-formula" | "tex" | "wp-katex-eq"))
            }) && (page.attribute(node, "data-expr").is_some()
                || page.attribute(node, "data-display").is_some()
                || has_class(page, node, "math-formula"))
        }
        _ => false,
    }
}

/// Whether the node repeats a formula for the eye or for a reader of screens.
pub(crate) fn is_rendered_copy(page: &Document, node: NodeId) -> bool {
    const COPIES: [&str; 7] = [
        "katex-html",
        "MathJax_Preview",
        "MJX_Assistive_MathML",
        "MathJax",
        "MathJax_Display",
        "MathJax_SVG",
        "mwe-math-fallback-image-inline",
    ];
    page.attribute(node, "class").is_some_and(|class| class.split_ascii_whitespace().any(|name| COPIES.contains(&name)))
}

fn has_class(page: &Document, node: NodeId, name: &str) -> bool {
    page.attribute(node, "class").is_some_and(|class| class.split_ascii_whitespace().any(|known| known == name))
}

/// The formula of a node; `None` when it is not valid. `PAPER(redstone §3.7)`
pub(crate) fn formula_of_node(page: &Document, node: NodeId) -> Option<Formula> {
    let tag = page.tag(node)?;
    let (latex, display) = match tag {
        "math" => {
            let latex = match page.attribute(node, "alttext").filter(|text| text.contains('\\')) {
                Some(alternative) => alternative.to_owned(),
                None => to_latex(page, node)?,
            };
            (latex, page.attribute(node, "display") == Some("block"))
        }
        "script" => {
            let kind = page.attribute(node, "type").unwrap_or_default();
            let latex =
                if kind.contains("mml") { super::mathml_fragment(&page.text_of(node))? } else { page.text_of(node) };
            (latex, kind.replace(' ', "").contains("mode=display"))
        }
        "img" => (image_source(page, node)?.into_owned(), false),
        _ => {
            let data = page.attribute(node, "data-expr").map(str::to_owned);
            (data.unwrap_or_else(|| page.text_of(node)), page.attribute(node, "data-display") == Some("true"))
        }
    };
    let latex = latex.trim().trim_start_matches('\u{feff}').trim_matches('$').trim();
    let latex = latex.strip_prefix("\\displaystyle").unwrap_or(latex).trim();
    validate(latex).is_ok().then(|| Formula { latex: latex.to_owned(), display })
}

/// The formula of an image: its alternative text where the class says so, else the query of a service that draws formulas.
fn image_source(page: &Document, node: NodeId) -> Option<Cow<'_, str>> {
    let alternative = page.attribute(node, "alt").filter(|alt| !alt.trim().is_empty());
    if (has_class(page, node, "latex") || has_class(page, node, "tex")) && alternative.is_some() {
        return alternative.map(Cow::Borrowed);
    }
    const SERVICES: [&str; 4] = ["latex.php", "codecogs.com", "mimetex.cgi", "mathtex.cgi"];
    let source = page.attribute(node, "src")?;
    if !SERVICES.iter().any(|service| source.contains(service)) {
        return None;
    }
    let (_, query) = source.split_once('?')?;
    let value = query.split('&').next().unwrap_or_default();
    let value =
        value.split_once('=').filter(|(name, _)| name.chars().all(char::is_alphanumeric)).map_or(value, |(_, v)| v);
    let decoded = url::form_urlencoded::parse(value.as_bytes()).next().map(|(name, _)| name.into_owned())?;
    (!decoded.trim().is_empty()).then_some(Cow::Owned(decoded))
}
