//! Writing a tree as plain text.
//!
//! One line a block, white space inside a block collapsed, `br` a line end. A list item starts with `- ` or its number, two blanks in a
//! level. A table is one line a row, its cells joined by ` | `; a table that lays out a page is written as the blocks in it. `pre` is
//! verbatim. A block that repeats the one before it is left out when it is longer than 50 bytes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Root;
use super::features::Features;
use super::furniture;
use crate::html::{Document, Event, NodeId};
use crate::{code, math};

/// Adjacent equal blocks longer than this are written once.
const REPEAT_BYTES_MIN: usize = 50;

/// Elements that separate the text around them even where they are dropped, besides the ordinary blocks.
const PRUNED_BLOCKS: [&str; 11] = ["aside", "dd", "dialog", "dl", "dt", "li", "nav", "ol", "pre", "table", "ul"];

/// What a span covers.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Preformatted code, or a signature of an API.
    Code,
    /// A table of data.
    Table,
    /// A formula, with its delimiters.
    Math,
}

/// A part of a text that is not prose.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Span {
    /// What it is.
    pub kind: SpanKind,
    /// Byte offset of its start.
    pub start: usize,
    /// Byte offset of its end.
    pub end: usize,
    /// The language of code, where the page names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lang: Option<String>,
    /// Whether a formula stands on lines of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub display: Option<bool>,
}

impl Span {
    /// The bytes it covers.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// What is written.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) spans: Vec<Span>,
    /// Formulas that are left out.
    pub(super) invalid_formulas: usize,
}

/// The text of `roots` and its spans.
pub(super) fn serialize(
    page: &Document,
    features: &Features,
    roots: &[NodeId],
    generator: Option<Root>,
    is_strict: bool,
) -> Written {
    let total = roots.iter().map(|&root| features.text_of(root) as usize).sum();
    let mut writer = Writer { is_strict, total, is_rustdoc: generator == Some(Root::Rustdoc), ..Writer::default() };
    for &root in roots {
        let mut walk = page.walk(root);
        while let Some(event) = walk.next() {
            match event {
                Event::Enter(node) if features.is_pruned(node) => {
                    walk.skip_children(node);
                    if page.tag(node).is_some_and(|tag| is_block(tag) || PRUNED_BLOCKS.contains(&tag)) {
                        writer.break_block();
                    }
                    writer.skipped = Some(node);
                }
                Event::Enter(node) => {
                    if writer.enter(page, features, node) {
                        walk.skip_children(node);
                    }
                }
                Event::Leave(node) if writer.skipped == Some(node) => writer.skipped = None,
                Event::Leave(node) => writer.leave(page, node),
            }
        }
        writer.break_block();
    }
    writer.finish()
}

struct List {
    /// The next number of an `ol`.
    number: Option<u64>,
    /// What the numbers are written with: `1`, `a`, `A`.
    style: u8,
}

impl List {
    /// The mark of the next item of a numbered list.
    fn next(&mut self) -> Option<String> {
        let number = self.number?;
        self.number = Some(number.saturating_add(1));
        let letter = |first: u8| char::from(first + (number.saturating_sub(1) % 26) as u8);
        Some(match self.style {
            first @ (b'a' | b'A') => format!("{}. ", letter(first)),
            _ => format!("{number}. "),
        })
    }
}

struct Table {
    start: usize,
    is_layout: bool,
    cells: usize,
}

#[derive(Default)]
struct Writer {
    text: String,
    spans: Vec<Span>,
    /// Start of the current block.
    block: usize,
    /// The block before it.
    previous: Range<usize>,
    /// What the next text of a block is preceded by, such as the mark of a list item.
    prefix: String,
    needs_space: bool,
    lists: Vec<List>,
    tables: Vec<Table>,
    /// Start of a signature that rustdoc sets as a heading.
    signature: Option<usize>,
    skipped: Option<NodeId>,
    is_rustdoc: bool,
    invalid_formulas: usize,
    /// Whether links on lines of their own and phrases of the furniture are left out.
    is_strict: bool,
    /// Bytes of text that are to come.
    total: usize,
    /// Whether the text comes from a link, and how much of the block did.
    is_in_link: bool,
    link_bytes: usize,
}

impl Writer {
    /// Returns whether the node is done, children and all.
    fn enter(&mut self, page: &Document, features: &Features, node: NodeId) -> bool {
        if let Some(text) = page.text(node) {
            self.push_text(text);
            return false;
        }
        let Some(tag) = page.tag(node) else { return false };
        if math::is_formula_node(page, node) {
            self.push_formula(page, node);
            return true;
        }
        match tag {
            "a" => self.is_in_link = page.attribute(node, "href").is_some(),
            "br" => self.line_end(),
            "pre" if self.is_in_data_table() => {}
            "pre" => {
                self.push_code(page, features, node);
                return true;
            }
            "ul" | "ol" | "menu" => {
                self.break_block();
                let start = page.attribute(node, "start").and_then(|start| start.parse().ok()).unwrap_or(1);
                let style = page.attribute(node, "type").and_then(|style| style.bytes().next()).unwrap_or(b'1');
                self.lists.push(List { number: (tag == "ol").then_some(start), style });
            }
            "li" => {
                self.break_block();
                let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(16));
                self.prefix = indent + &self.lists.last_mut().and_then(List::next).unwrap_or_else(|| "- ".to_owned());
            }
            "table" if is_code_table(page, features, node) => {
                self.push_code(page, features, node);
                return true;
            }
            "table" => {
                self.break_block();
                self.tables.push(Table { start: self.text.len(), is_layout: is_layout(page, node), cells: 0 });
            }
            "tr" if self.is_in_data_table() => self.end_row(),
            "td" | "th" if self.is_in_data_table() => {
                let table = self.tables.last_mut().expect("the guard has seen it");
                table.cells += 1;
                if table.cells > 1 {
                    self.trim_block();
                    self.text.push_str(" |");
                    self.needs_space = true;
                }
            }
            "dt" | "dd" => self.break_block(),
            _ if self.is_signature(page, node) => {
                self.break_block();
                self.signature = Some(self.text.len());
            }
            _ if is_block(tag) => self.break_block(),
            _ => {}
        }
        false
    }

    fn leave(&mut self, page: &Document, node: NodeId) {
        let Some(tag) = page.tag(node) else { return };
        match tag {
            "a" => self.is_in_link = false,
            "h1" if self.is_strict && self.text.len() * 2 < self.total => self.start_anew(),
            "ul" | "ol" | "menu" => {
                self.break_block();
                self.lists.pop();
            }
            "li" => {
                self.break_block();
                self.prefix.clear();
            }
            "table" => {
                self.end_row();
                if let Some(table) = self.tables.pop()
                    && !table.is_layout
                    && self.tables.iter().all(|outer| outer.is_layout)
                {
                    self.push_span(SpanKind::Table, table.start, None);
                }
            }
            "tr" if self.is_in_data_table() => self.end_row(),
            _ if self.signature.is_some() && self.is_signature(page, node) => {
                let start = self.signature.take().expect("the guard has seen it");
                self.end_block();
                self.push_span(SpanKind::Code, start, Some("rust".to_owned()));
            }
            _ if is_block(tag) => self.break_block(),
            _ => {}
        }
    }

    fn is_in_data_table(&self) -> bool {
        self.tables.last().is_some_and(|table| !table.is_layout)
    }

    fn is_signature(&self, page: &Document, node: NodeId) -> bool {
        self.is_rustdoc
            && page.attribute(node, "class").is_some_and(|class| class.split(' ').any(|name| name == "code-header"))
    }

    fn push_text(&mut self, text: &str) {
        let mut words = text.split(is_white_space);
        let first = words.next().unwrap_or_default();
        self.push_word(first);
        for word in words {
            self.needs_space = true;
            self.push_word(word);
        }
    }

    fn push_word(&mut self, word: &str) {
        if word.is_empty() {
            return;
        }
        if self.text.len() == self.block {
            self.text.push_str(&self.prefix);
            self.prefix.clear();
        } else if self.needs_space && !self.text.ends_with(['\n', ' ']) {
            self.text.push(' ');
        }
        self.needs_space = false;
        self.text.push_str(word);
        self.link_bytes += if self.is_in_link { word.len() } else { 0 };
    }

    /// A formula as a word of its own, between dollars.
    fn push_formula(&mut self, page: &Document, node: NodeId) {
        let Some(formula) = math::formula_of_node(page, node) else {
            self.invalid_formulas += 1;
            return;
        };
        let mark = if formula.display { "$$" } else { "$" };
        let latex = formula.latex.split_whitespace().collect::<Vec<_>>().join(" ");
        self.push_word(&format!("{mark}{latex}{mark}"));
        let end = self.text.len();
        let start = end - latex.len() - 2 * mark.len();
        self.spans.push(Span { kind: SpanKind::Math, start, end, lang: None, display: Some(formula.display) });
    }

    fn line_end(&mut self) {
        if self.is_in_data_table() || self.signature.is_some() {
            self.needs_space = true;
        } else if self.text.len() > self.block && !self.text.ends_with('\n') {
            self.trim_block();
            self.text.push('\n');
            self.needs_space = false;
        }
    }

    fn trim_block(&mut self) {
        let kept = self.text[self.block..].trim_end_matches([' ', '\n']).len();
        self.text.truncate(self.block + kept);
    }

    /// Ends the current block, except inside a row or a signature, which are blocks of their own.
    fn break_block(&mut self) {
        if self.signature.is_some() || self.tables.last().is_some_and(|table| !table.is_layout && table.cells > 0) {
            self.needs_space = true;
        } else {
            self.end_block();
        }
    }

    /// Drops what came before the title, and the title: a strict extraction is the text of the article.
    fn start_anew(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.block = 0;
        self.previous = 0..0;
        self.link_bytes = 0;
        self.needs_space = false;
    }

    fn end_row(&mut self) {
        self.end_block();
        if let Some(table) = self.tables.last_mut() {
            table.cells = 0;
        }
    }

    fn end_block(&mut self) {
        self.trim_block();
        self.needs_space = false;
        let link_bytes = std::mem::take(&mut self.link_bytes);
        if self.text.len() == self.block {
            return;
        }
        let current = &self.text[self.block..];
        let letters = current.bytes().filter(|b| !b.is_ascii_whitespace()).count();
        if self.is_strict && (link_bytes * 10 > letters * 9 || furniture::is_furniture(current)) {
            self.text.truncate(self.block);
            self.spans.retain(|span| span.end <= self.block);
            return;
        }
        if current.len() > REPEAT_BYTES_MIN && *current == self.text[self.previous.clone()] {
            self.text.truncate(self.block);
            self.spans.retain(|span| span.end <= self.block);
            return;
        }
        self.previous = self.block..self.text.len();
        self.text.push('\n');
        self.block = self.text.len();
    }

    fn push_code(&mut self, page: &Document, features: &Features, node: NodeId) {
        self.break_block();
        self.prefix.clear();
        let start = self.text.len();
        let mut lang = None;
        let mut walk = page.walk(node);
        let mut code = String::new();
        while let Some(event) = walk.next() {
            let node = match event {
                Event::Enter(node) | Event::Leave(node) => node,
            };
            // A block inside code is set on lines of its own.
            if matches!(page.tag(node), Some("div" | "tr" | "li" | "p")) && !code.is_empty() && !code.ends_with('\n') {
                code.push('\n');
            }
            if event == Event::Leave(node) {
                continue;
            }
            if features.is_pruned(node) {
                walk.skip_children(node);
            } else if let Some(text) = page.text(node) {
                code.push_str(text);
            } else if page.tag(node) == Some("br") {
                code.push('\n');
            }
            lang = lang.or_else(|| code_language(page, node));
        }
        let around = page.parent(node).into_iter().chain(page.parent(node).and_then(|parent| page.parent(parent)));
        let lang = lang.or_else(|| around.into_iter().find_map(|node| code_language(page, node)));
        let code = code.trim_end().trim_start_matches(['\n', '\r']);
        // A first line that is indented keeps its blanks: they are part of the code.
        self.text.push_str(code);
        if !code.is_empty() {
            self.text.push('\n');
            self.previous = start..start;
        }
        self.block = self.text.len();
        let lang = lang.or_else(|| code::detect_language(code).map(str::to_owned));
        self.push_span(SpanKind::Code, start, lang);
    }

    /// A span from `start` to the end of the last block; it takes the place of spans inside it.
    fn push_span(&mut self, kind: SpanKind, start: usize, lang: Option<String>) {
        let end = self.text.trim_end_matches('\n').len();
        if end > start {
            let outside = self.spans.iter().rposition(|span| span.start < start).map_or(0, |at| at + 1);
            self.spans.truncate(outside);
            self.spans.push(Span { kind, start, end, lang, display: None });
        }
    }

    fn finish(mut self) -> Written {
        self.tables.clear();
        self.end_block();
        self.text.truncate(self.text.trim_end_matches('\n').len());
        Written { text: self.text, spans: self.spans, invalid_formulas: self.invalid_formulas }
    }
}

/// White space that collapses; the no-break space is one for a reader as well.
fn is_white_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{a0}'
}

fn is_block(tag: &str) -> bool {
    matches!(
        tag,
        "address"
            | "article"
            | "blockquote"
            | "body"
            | "caption"
            | "center"
            | "details"
            | "div"
            | "dl"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hgroup"
            | "hr"
            | "html"
            | "legend"
            | "main"
            | "p"
            | "section"
            | "summary"
            | "tbody"
            | "td"
            | "tfoot"
            | "th"
            | "thead"
            | "tr"
    )
}

/// Whether a table lays out blocks rather than holding data.
fn is_layout(page: &Document, table: NodeId) -> bool {
    page.walk(table).any(|event| {
        matches!(event, Event::Enter(node) if node != table
            && matches!(page.tag(node), Some("table" | "pre" | "h1" | "h2" | "h3" | "h4" | "article" | "form" | "ul" | "ol")))
    })
}

/// The language that an element's class names; `rust` alone is rustdoc's.
fn code_language(page: &Document, node: NodeId) -> Option<String> {
    let data = page.attribute(node, "data-lang").or(page.attribute(node, "data-language"));
    code::language_of_class(page.attribute(node, "class").unwrap_or_default())
        .or_else(|| data.and_then(|name| code::language_of_class(&format!("lang-{name}"))))
}

/// Whether all that a table shows is code: a listing with a row a line.
fn is_code_table(page: &Document, features: &Features, table: NodeId) -> bool {
    let mut walk = page.walk(table);
    let mut has_code = false;
    while let Some(event) = walk.next() {
        let Event::Enter(node) = event else { continue };
        if features.is_pruned(node) {
            walk.skip_children(node);
        } else if page.tag(node) == Some("code") {
            has_code = true;
            walk.skip_children(node);
        } else if page.tag(node) == Some("pre") || page.text(node).is_some_and(|text| !text.trim().is_empty()) {
            return false;
        }
    }
    has_code && features.links[table.index()] == 0
}
