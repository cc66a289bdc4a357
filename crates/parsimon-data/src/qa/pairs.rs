//! Open questions with answers, where a page's structure shows them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::html::{Document, Event, NodeId};

/// Where a pair was found.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum PairSource {
    /// JSON-LD of a page of questions.
    JsonLd,
    /// `details` with a `summary` that asks.
    Details,
    /// A list of terms and definitions.
    DefinitionList,
    /// A heading that asks, and the paragraphs below it.
    Heading,
    /// Lines `Q:` and `A:`.
    Lines,
}

/// A question with its answer, both as the page has them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Pair {
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
    /// Where it was found.
    pub source: PairSource,
}

/// The pairs of a page from the first source that has any: JSON-LD, `details`, `dl`, headings.
///
/// `is_content` says which nodes belong to the page's content; JSON-LD is taken wherever it stands. `PAPER(redstone §3.8)`
pub fn pairs_of_page(page: &Document, is_content: &dyn Fn(NodeId) -> bool) -> Vec<Pair> {
    let sources: [&dyn Fn() -> Vec<Pair>; 4] = [
        &|| json_ld(page),
        &|| of_elements(page, is_content, "details", details),
        &|| of_elements(page, is_content, "dl", definitions),
        &|| headings(page, is_content),
    ];
    sources.iter().map(|source| source()).find(|pairs| !pairs.is_empty()).unwrap_or_default()
}

fn json_ld(page: &Document) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for event in page.walk(page.root()) {
        let Event::Enter(node) = event else { continue };
        if page.tag(node) == Some("script")
            && page.attribute(node, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("application/ld+json"))
            && let Ok(value) = serde_json::from_str::<Value>(&page.text_of(node))
        {
            // serde_json refuses what is nested more than 128 deep, so the walk below is bounded.
            collect_questions(&value, &mut pairs);
        }
    }
    pairs
}

fn collect_questions(value: &Value, pairs: &mut Vec<Pair>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_questions(item, pairs)),
        Value::Object(fields) => {
            let is_question = fields.get("@type").is_some_and(|kind| match kind {
                Value::String(kind) => kind == "Question",
                Value::Array(kinds) => kinds.iter().any(|kind| kind == "Question"),
                _ => false,
            });
            if is_question {
                let answer = fields.get("acceptedAnswer").or(fields.get("suggestedAnswer"));
                let answer = match answer {
                    Some(Value::Array(answers)) => answers.first(),
                    answer => answer,
                };
                let question = fields.get("name").or(fields.get("text")).and_then(Value::as_str).map(flatten);
                let answer = answer.and_then(|answer| answer.get("text")).and_then(Value::as_str).map(flatten);
                pairs.extend(pair(question.unwrap_or_default(), answer.unwrap_or_default(), PairSource::JsonLd));
            } else {
                fields.values().for_each(|value| collect_questions(value, pairs));
            }
        }
        _ => {}
    }
}

/// The text of an answer that may be HTML.
fn flatten(text: &str) -> String {
    if !text.contains(['<', '&']) {
        return collapse(text);
    }
    let page = Document::parse(text.as_bytes(), Some("utf-8"));
    collapse(&page.text_of(page.root()))
}

fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn pair(question: String, answer: String, source: PairSource) -> Option<Pair> {
    (!question.is_empty() && !answer.is_empty()).then_some(Pair { question, answer, source })
}

fn text(page: &Document, node: NodeId) -> String {
    collapse(&page.text_of(node))
}

/// The pairs of every element `tag` of the content, kept only when all questions ask.
fn of_elements(
    page: &Document,
    is_content: &dyn Fn(NodeId) -> bool,
    tag: &str,
    of: impl Fn(&Document, NodeId) -> Vec<Pair>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut walk = page.walk(page.root());
    while let Some(event) = walk.next() {
        let Event::Enter(node) = event else { continue };
        if !is_content(node) {
            walk.skip_children(node);
        } else if page.tag(node) == Some(tag) {
            pairs.extend(of(page, node));
            walk.skip_children(node);
        }
    }
    pairs.retain(|pair: &Pair| pair.question.ends_with('?'));
    pairs
}

fn details(page: &Document, node: NodeId) -> Vec<Pair> {
    let (mut question, mut answer) = (String::new(), Vec::new());
    for child in page.children(node) {
        match page.tag(child) {
            Some("summary") => question = text(page, child),
            Some(_) => answer.push(text(page, child)),
            None => answer.push(page.text(child).map(collapse).unwrap_or_default()),
        }
    }
    answer.retain(|part| !part.is_empty());
    pair(question, answer.join("\n"), PairSource::Details).into_iter().collect()
}

fn definitions(page: &Document, node: NodeId) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut question = String::new();
    for child in page.children(node) {
        match page.tag(child) {
            Some("dt") => question = text(page, child),
            Some("dd") => {
                let question = std::mem::take(&mut question);
                pairs.extend(pair(question, text(page, child), PairSource::DefinitionList));
            }
            _ => {}
        }
    }
    pairs
}

fn headings(page: &Document, is_content: &dyn Fn(NodeId) -> bool) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    let mut close = |open: Option<(String, Vec<String>)>| {
        if let Some((question, answer)) = open {
            pairs.extend(pair(question, answer.join("\n"), PairSource::Heading));
        }
    };
    let mut walk = page.walk(page.root());
    while let Some(event) = walk.next() {
        let Event::Enter(node) = event else { continue };
        match page.tag(node) {
            _ if !is_content(node) => walk.skip_children(node),
            Some("h1" | "h2" | "h3" | "h4" | "h5" | "h6") => {
                close(open.take());
                let heading = text(page, node);
                open = heading.ends_with('?').then_some((heading, Vec::new()));
                walk.skip_children(node);
            }
            Some("p" | "li") => {
                if let Some((_, answer)) = &mut open {
                    let paragraph = text(page, node);
                    if !paragraph.is_empty() {
                        answer.push(paragraph);
                    }
                }
                walk.skip_children(node);
            }
            _ => {}
        }
    }
    close(open.take());
    pairs
}

/// The pairs of lines `Q: ...` and `A: ...`, with the lines that go on.
pub fn pairs_of_lines(content: &str) -> Vec<Pair> {
    let mark = |line: &str, names: [&str; 2]| {
        let (name, rest) = line.split_once(':')?;
        names.iter().any(|known| known.eq_ignore_ascii_case(name.trim())).then(|| rest.trim().to_owned())
    };
    let mut pairs = Vec::new();
    let mut question: Option<String> = None;
    let mut lines = content.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(asked) = mark(line, ["Q", "Question"]) {
            question = Some(asked);
        } else if let Some(answer) = mark(line, ["A", "Answer"]) {
            pairs.extend(question.take().and_then(|question| pair(question, answer, PairSource::Lines)));
        } else if question.is_some() && lines.peek().is_none_or(|next| mark(next, ["A", "Answer"]).is_none()) {
            question = None;
        }
    }
    pairs
}
