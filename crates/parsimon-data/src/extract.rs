//! From a page to its text: what the page is about, without navigation, banners, buttons and footers.
//!
//! PAPER(redstone §3.1) extracts with a kept extractor; this is our own, in the spirit of its kind. Three steps, none of which looks at
//! anything but the page: [`prune`](self) marks what is never content (by tag, role, class and link density), the candidates for the
//! main content are tried from the surest (a known documentation generator, `article`, `main`) to the densest block of text, and the
//! winner is written as plain text with spans over its code and tables.

mod candidates;
mod features;
mod metadata;
mod prune;
mod serialize;

use serde::{Deserialize, Serialize};

use crate::html::Document;
pub use metadata::Metadata;
pub use serialize::{Span, SpanKind};

/// How much of a page is taken.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The main content.
    #[default]
    Balanced,
    /// All visible text.
    Raw,
}

impl Profile {
    /// The profile's name in rows and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Balanced => "balanced",
            Profile::Raw => "raw",
        }
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
    pub const VERSION: u32 = 1;

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
            let (text, spans) = serialize::serialize(page, &features, &[page.root()], None);
            return Extracted { text, spans, metadata, root: Root::Body };
        }
        prune::prune(page, &mut features, generator);
        let (roots, root) = candidates::find(page, &features, generator);
        let (mut text, mut spans) = serialize::serialize(page, &features, &roots, generator);
        let mut root = root;
        if root == Root::Density && text.len() < candidates::TEXT_BYTES_MIN {
            (text, spans) = serialize::serialize(page, &features, &[page.root()], generator);
            root = Root::Body;
        }
        Extracted { text, spans, metadata, root }
    }
}

#[cfg(test)]
mod tests;
