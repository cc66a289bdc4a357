//! From a page to its text: what the page is about, without navigation, banners, buttons and footers.
//!
//! PAPER(redstone §3.1) extracts with a kept extractor; this is our own, in the spirit of its kind. Three steps, none of which looks at
//! anything but the page: [`prune`](self) marks what is never content (by tag, role, class and link density), the candidates for the
//! main content are tried from the surest (a known documentation generator, `article`, `main`) to the densest block of text, and the
//! winner is written as plain text with spans over its code and tables.

mod candidates;
mod features;
mod furniture;
mod metadata;
mod pagetype;
mod prune;
mod serialize;

use serde::{Deserialize, Serialize};

use crate::html::{Document, NodeId};
use crate::{math, qa};
pub use metadata::Metadata;
use prune::Reach;
pub use serialize::{Span, SpanKind};

/// How much of a page is taken.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The article alone: what is doubtful goes.
    Article,
    /// The main content.
    #[default]
    Balanced,
    /// The main content and what may belong to it.
    Recall,
    /// All visible text.
    Raw,
}

impl Profile {
    /// The profile's name in rows and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Article => "article",
            Profile::Balanced => "balanced",
            Profile::Recall => "recall",
            Profile::Raw => "raw",
        }
    }

    /// The profile called `name`.
    pub fn from_name(name: &str) -> Option<Profile> {
        [Profile::Article, Profile::Balanced, Profile::Recall, Profile::Raw]
            .into_iter()
            .find(|known| known.name() == name)
    }
}

/// Where the main content was found.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// A page of rustdoc: `#main-content`.
    Rustdoc,
    /// A page of mdBook: the `main` of `#mdbook-content` or `#content`.
    MdBook,
    /// `itemprop=articleBody`, `article`, `main` or the roles of these names.
    Semantic,
    /// The densest block of text.
    Density,
    /// The whole body.
    Body,
}

/// The text of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extracted {
    /// The text: one block a line, code verbatim.
    pub text: String,
    /// Code and tables in it, in order, without overlaps.
    pub spans: Vec<Span>,
    /// Title, language, address, licence.
    pub metadata: Metadata,
    /// Where the content was found.
    pub root: Root,
    /// Open questions with answers that the page's structure shows.
    pub qa: Vec<qa::Pair>,
    /// Formulas of the page that were dropped because they are not valid.
    pub invalid_formulas: usize,
}

/// A formula.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Formula {
    /// In TeX, without delimiters.
    pub latex: String,
    /// Whether it stands on lines of its own.
    pub display: bool,
}

/// A block of code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CodeBlock {
    /// Its language in lower case, where it is known.
    pub lang: Option<String>,
    /// The code.
    pub text: String,
}

impl Extracted {
    /// The blocks of code, in order, each text once.
    pub fn code(&self) -> Vec<CodeBlock> {
        let mut blocks: Vec<CodeBlock> = Vec::new();
        for span in self.spans.iter().filter(|span| span.kind == SpanKind::Code) {
            let text = &self.text[span.range()];
            if !blocks.iter().any(|block| block.text == text) {
                blocks.push(CodeBlock { lang: span.lang.clone(), text: text.to_owned() });
            }
        }
        blocks
    }

    /// The formulas, in order.
    pub fn formulas(&self) -> Vec<Formula> {
        let spans = self.spans.iter().filter(|span| span.kind == SpanKind::Math);
        spans
            .map(|span| Formula {
                latex: math::delimited::strip(&self.text[span.range()]).to_owned(),
                display: span.display.unwrap_or(false),
            })
            .collect()
    }

    /// The multiple-choice questions in the text.
    pub fn multiple_choice(&self) -> Vec<qa::Choice> {
        qa::multiple_choice(&self.text)
    }
}

/// Extracts the text of pages. It keeps nothing from page to page.
///
/// ```
/// use parsimon_data::{Document, Extractor, Profile};
///
/// let html = b"<nav>Home About</nav><main><h1>Bees</h1><p>Bees fly.<pre>let bee = 1;\n</pre></main><footer>2026</footer>";
/// let page = Extractor::new(Profile::Balanced).extract(&Document::parse(html, None));
/// assert_eq!(page.text, "Bees\nBees fly.\nlet bee = 1;");
/// assert_eq!(&page.text[page.spans[0].range()], "let bee = 1;");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Extractor {
    profile: Profile,
}

impl Extractor {
    /// Version of the behaviour; rows carry it.
    pub const VERSION: u32 = 2;

    /// An extractor.
    pub fn new(profile: Profile) -> Extractor {
        Extractor { profile }
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The text of a page; empty when it has none.
    pub fn extract(&self, page: &Document) -> Extracted {
        let metadata = Metadata::of(page);
        let generator = candidates::generator(page);
        let mut features = features::Features::of(page);
        if self.profile == Profile::Raw {
            prune::invisible(page, &mut features);
            let written = serialize::serialize(page, &features, &[page.root()], None, false);
            return finish(page, &features, written, metadata, Root::Body);
        }
        let visible = features.text_of(page.root()) as usize;
        let is_strict = self.profile == Profile::Article && generator.is_none();
        let is_forum = self.profile != Profile::Article && generator.is_none() && pagetype::is_forum(page);
        let kind = Kind { generator, profile: self.profile, is_forum };
        prune::prune(page, &mut features, kind, Reach::Full);
        let (mut roots, mut root) = candidates::find(page, &features, generator, is_forum);
        if self.profile != Profile::Article && generator.is_none() {
            // Outside articles a block that leaves most of the page behind is not its content.
            let least = if root == Root::Density { COVERAGE_DENSITY } else { COVERAGE_SEMANTIC };
            if candidates::coverage(page, &features, &roots) < least {
                (roots, root) = candidates::whole(page, &features);
            }
        }
        let mut written = serialize::serialize(page, &features, &roots, generator, is_strict);
        if root == Root::Density && written.text.len() < candidates::TEXT_BYTES_MIN {
            written = serialize::serialize(page, &features, &[page.root()], generator, is_strict);
            root = Root::Body;
        }
        // Too little of what can be seen: names or links misled the pruning.
        for reach in [Reach::Names, Reach::Tags] {
            let length = written.text.len();
            if generator.is_some()
                || page.len() < PAGE_NODES_MIN
                || length >= TEXT_BYTES_LOW
                || (length >= 100 && length * 5 >= visible)
            {
                break;
            }
            let mut again = features::Features::of(page);
            prune::prune(page, &mut again, kind, reach);
            let (roots, found) = match self.profile {
                Profile::Article => candidates::find(page, &again, generator, is_forum),
                _ => candidates::whole(page, &again),
            };
            let more = serialize::serialize(page, &again, &roots, generator, is_strict);
            if more.text.len() > 2 * length {
                (written, features, root) = (more, again, found);
            }
        }
        finish(page, &features, written, metadata, root)
    }
}

/// A page with fewer nodes is not looked at twice: there is nothing that could have been missed.
const PAGE_NODES_MIN: usize = 200;

/// The least share of a page's text that the densest block must hold to be its content, ...
const COVERAGE_DENSITY: f64 = 0.6;

/// ... and that an element must hold which the page itself calls its content.
const COVERAGE_SEMANTIC: f64 = 0.3;

/// What is known of a page before its content is looked for.
#[derive(Clone, Copy, Debug)]
struct Kind {
    generator: Option<Root>,
    profile: Profile,
    is_forum: bool,
}

/// A text below this length that is a small part of the page is looked for once more.
const TEXT_BYTES_LOW: usize = 1000;

/// What the text alone shows, once it is written: formulas between delimiters, questions and answers.
fn finish(
    page: &Document,
    features: &features::Features,
    written: serialize::Written,
    metadata: Metadata,
    root: Root,
) -> Extracted {
    let serialize::Written { text, mut spans, invalid_formulas } = written;
    if memchr::memchr3(b'$', b'\\', b'[', text.as_bytes()).is_some() {
        add_delimited(page, &text, &mut spans);
    }
    let is_content = |node: NodeId| !features.is_pruned(node);
    let mut qa = qa::pairs_of_page(page, &is_content);
    if qa.is_empty() {
        qa = qa::pairs_of_lines(&text);
    }
    Extracted { text, spans, metadata, root, qa, invalid_formulas }
}

fn add_delimited(page: &Document, text: &str, spans: &mut Vec<Span>) {
    let found = math::delimited::find(text, math::Delimiters::of(page));
    let taken = spans.clone();
    for formula in found {
        let is_free = taken.iter().all(|span| span.end <= formula.range.start || formula.range.end <= span.start);
        // A formula in a table is the table's.
        if is_free {
            let (start, end) = (formula.range.start, formula.range.end);
            spans.push(Span { kind: SpanKind::Math, start, end, lang: None, display: Some(formula.display) });
        }
    }
    spans.sort_by_key(|span| span.start);
}

#[cfg(test)]
mod tests;
