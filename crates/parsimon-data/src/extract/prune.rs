//! Marking what is never content.

use super::features::{Features, INVISIBLE};
use super::{Kind, Profile, Root};
use crate::html::{Document, Event, NodeId};
use crate::math;

/// Elements that are dropped wherever they stand.
const TAGS: [&str; 21] = [
    "aside",
    "audio",
    "button",
    "canvas",
    "datalist",
    "dialog",
    "embed",
    "footer",
    "iframe",
    "input",
    "map",
    "menu",
    "nav",
    "object",
    "option",
    "rustdoc-toolbar",
    "select",
    "svg",
    "textarea",
    "video",
    "rustdoc-topbar",
];

/// ARIA roles of what is not content.
const ROLES: [&str; 9] =
    ["navigation", "banner", "contentinfo", "complementary", "search", "dialog", "alert", "tooltip", "menu"];

/// Words in class names and ids of what is not content. A name is split at `-`, `_`, blanks and capitals.
const CLASS_WORDS: [&str; 46] = [
    "ad",
    "ads",
    "advert",
    "advertisement",
    "banner",
    "breadcrumb",
    "breadcrumbs",
    "byline",
    "comments",
    "consent",
    "cookie",
    "cookies",
    "disqus",
    "footer",
    "masthead",
    "menu",
    "modal",
    "nav",
    "navbar",
    "navigation",
    "newsletter",
    "outbrain",
    "pager",
    "pagination",
    "paywall",
    "popup",
    "print",
    "promo",
    "promotion",
    "recirculation",
    "recommendation",
    "recommendations",
    "recommended",
    "related",
    "share",
    "sharing",
    "sidebar",
    "skip",
    "social",
    "sponsor",
    "sponsored",
    "subscribe",
    "subscription",
    "taboola",
    "tags",
    "toolbar",
];

/// Exact class names that rustdoc gives to what is not text: links to sources, anchors, buttons, version notes, hidden summaries.
const RUSTDOC_CLASSES: [&str; 19] = [
    "src",
    "srclink",
    "anchor",
    "doc-anchor",
    "since",
    "rightside",
    "hideme",
    "tooltip",
    "test-arrow",
    "rustdoc-breadcrumbs",
    "sub-heading",
    "out-of-band",
    "sidebar",
    "notable-traits",
    "collapse-toggle",
    "scraped-example-list",
    "example-links",
    "trait-impl",
    "emoji",
];

/// Ids of rustdoc's lists that repeat on every page: automatic and blanket implementations.
const RUSTDOC_IDS: [&str; 6] = [
    "synthetic-implementations",
    "synthetic-implementations-list",
    "blanket-implementations",
    "blanket-implementations-list",
    "copy-path",
    "implementors-list-auto",
];

/// The same for mdBook; `boring` are the lines of an example that readers do not see.
const MDBOOK_CLASSES: [&str; 9] = [
    "boring",
    "rule",
    "rule-link",
    "buttons",
    "nav-wrapper",
    "sidetoc",
    "toggle-railroad",
    "railroad-production",
    "fa-svg",
];

/// Whole texts of links that say nothing.
const LINK_TEXTS: [&str; 4] = ["Read more", "Read More", "Source", "\u{21a9}"];

/// More words that a strict extraction takes for the furniture of an article: who wrote it and when, captions, boxes between paragraphs.
const STRICT_WORDS: [&str; 44] = [
    "author",
    "authors",
    "avatar",
    "bio",
    "blurb",
    "caption",
    "captions",
    "categories",
    "category",
    "comment",
    "copyright",
    "credit",
    "credits",
    "cta",
    "date",
    "dateline",
    "datetime",
    "dek",
    "disclaimer",
    "gallery",
    "headline",
    "inline",
    "kicker",
    "meta",
    "metadata",
    "more",
    "player",
    "posted",
    "published",
    "pubdate",
    "rating",
    "readmore",
    "respond",
    "signup",
    "slideshow",
    "standfirst",
    "subhead",
    "subtitle",
    "teaser",
    "time",
    "timestamp",
    "trending",
    "video",
    "widget",
];

/// Elements of the same kind.
const STRICT_TAGS: [&str; 5] = ["figure", "figcaption", "time", "address", "cite"];

/// A node with more than two fifths of the page's prose is no furniture, whatever its name says.
fn holds_the_prose(features: &Features, node: NodeId, total_prose: u32) -> bool {
    u64::from(features.prose_of(node)) * 5 > u64::from(total_prose) * 2
}

/// Names of the layers that ask for consent: they may hold more prose than the page.
const CONSENT_WORDS: [&str; 6] = ["consent", "cookie", "cookies", "cookiebanner", "gdpr", "onetrust"];

fn is_consent(page: &Document, node: NodeId) -> bool {
    let is_word = |word: &[u8]| CONSENT_WORDS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word));
    matches!(page.tag(node), Some("div" | "section" | "aside" | "dialog"))
        && ["class", "id"].iter().filter_map(|name| page.attribute(node, name)).any(|names| has_word(names, is_word))
}

/// How much is pruned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// By tag, role, class and links.
    Full,
    /// Without the links: a page of links has nothing else.
    Names,
    /// By tag and role alone: what is left when everything else fails.
    Tags,
}

/// Marks what is not shown, for the profile that takes everything else.
pub(super) fn invisible(page: &Document, features: &mut Features) {
    mark(page, features, |_, node| is_invisible(page, node));
}

/// Marks everything that is not content, and counts what is left.
pub(super) fn prune(page: &Document, features: &mut Features, kind: Kind, reach: Reach) {
    let Kind { generator, profile, is_forum } = kind;
    let total = features.text_of(page.root());
    let total_prose = features.prose_of(page.root());
    let shows_noscript = reach == Reach::Tags;
    mark(page, features, |features, node| {
        let Some(tag) = page.tag(node) else { return false };
        let is_tag = TAGS.contains(&tag) || (profile == Profile::Article && STRICT_TAGS.contains(&tag));
        if shows_noscript && tag == "noscript" {
            return false;
        }
        if is_invisible(page, node) || is_tag || is_gutter(page, node, tag) || is_consent(page, node) {
            return true;
        }
        // Whatever its name is, a block that holds nearly everything is not decoration.
        let is_most = u64::from(features.text_of(node)) * 7 > u64::from(total) * 6;
        match generator {
            Some(generator) => is_generator_noise(page, node, generator),
            None if is_most || matches!(tag, "html" | "body" | "main" | "article") => false,
            None if holds_the_prose(features, node, total_prose) => false,
            None if reach == Reach::Tags => false,
            None => is_noise(page, features, node, tag, total, profile, is_forum),
        }
    });
    if generator.is_none() && profile != Profile::Recall && reach == Reach::Full {
        prune_link_lists(page, features);
    }
    features.shows_noscript = shows_noscript;
    features.recount(page);
}

fn mark(page: &Document, features: &mut Features, is_noise: impl Fn(&Features, NodeId) -> bool) {
    let mut walk = page.walk(page.root());
    while let Some(event) = walk.next() {
        if let Event::Enter(node) = event
            && is_noise(features, node)
        {
            features.is_pruned[node.index()] = true;
            walk.skip_children(node);
        }
    }
}

fn is_invisible(page: &Document, node: NodeId) -> bool {
    let Some(tag) = page.tag(node) else { return false };
    if tag == "script" && math::is_formula_node(page, node) {
        return false;
    }
    if math::is_rendered_copy(page, node) {
        return true;
    }
    let style = page.attribute(node, "style").unwrap_or_default();
    INVISIBLE.contains(&tag)
        || page.attribute(node, "hidden").is_some()
        || page.attribute(node, "aria-hidden") == Some("true")
        || style.split(';').any(|rule| {
            rule.split_once(':').is_some_and(|(name, value)| name.trim() == "display" && value.trim() == "none")
        })
}

/// Classes of the numbers beside lines of code.
const GUTTERS: [&str; 10] = [
    "gutter",
    "lineno",
    "linenos",
    "line-number",
    "line-numbers",
    "linenumber",
    "linenumbers",
    "blob-num",
    "linenodiv",
    "rouge-gutter",
];

fn is_gutter(page: &Document, node: NodeId, tag: &str) -> bool {
    // The class may also stand on a block that shows numbers and holds the code; so only what has no letter goes.
    matches!(tag, "td" | "th" | "span" | "pre" | "div" | "a")
        && has_class(page, node, &GUTTERS)
        && !page.walk(node).any(|event| {
            matches!(event, Event::Enter(node) if page.text(node).is_some_and(|text| text.contains(char::is_alphabetic)))
        })
}

fn has_class(page: &Document, node: NodeId, names: &[&str]) -> bool {
    let classes = page.attribute(node, "class").unwrap_or_default();
    classes.split_ascii_whitespace().any(|class| names.contains(&class))
}

fn is_generator_noise(page: &Document, node: NodeId, generator: Root) -> bool {
    match generator {
        Root::Rustdoc => {
            has_class(page, node, &RUSTDOC_CLASSES)
                || page.attribute(node, "id").is_some_and(|id| RUSTDOC_IDS.contains(&id))
                || (page.tag(node) == Some("span") && has_class(page, node, &["stab"]))
                || is_empty_link(page, node)
                || is_trait_method(page, node)
        }
        _ => has_class(page, node, &MDBOOK_CLASSES) || is_empty_link(page, node),
    }
}

/// A method of a trait's implementation: its signature and the trait's own words, which stand on the trait's page, on those of all
/// its implementors, and here.
fn is_trait_method(page: &Document, node: NodeId) -> bool {
    let first_element = |node| page.children(node).find(|&child| page.tag(child).is_some());
    page.tag(node) == Some("details")
        && first_element(node).and_then(first_element).is_some_and(|section| has_class(page, section, &["trait-impl"]))
}

fn is_empty_link(page: &Document, node: NodeId) -> bool {
    let only_child = page.first_child(node).filter(|&child| page.next_sibling(child).is_none());
    page.tag(node) == Some("a")
        && only_child.and_then(|child| page.text(child)).is_some_and(|text| LINK_TEXTS.contains(&text.trim()))
}

fn is_noise(
    page: &Document,
    features: &Features,
    node: NodeId,
    tag: &str,
    total: u32,
    profile: Profile,
    is_forum: bool,
) -> bool {
    if tag == "form" {
        // Some sites put the whole page into one form.
        return u64::from(features.text_of(node)) * 2 <= u64::from(total);
    }
    if tag == "header" {
        return profile == Profile::Article || !has_heading(page, node);
    }
    if page.attribute(node, "role").is_some_and(|role| ROLES.contains(&role)) {
        return true;
    }
    let is_word = |word: &[u8]| {
        let is = |known: &&str| known.as_bytes().eq_ignore_ascii_case(word);
        (CLASS_WORDS.iter().any(is) && !(is_forum && is(&"comments")))
            || (profile == Profile::Article && STRICT_WORDS.iter().any(is))
    };
    ["class", "id"].iter().filter_map(|name| page.attribute(node, name)).any(|names| has_word(names, is_word))
}

fn has_heading(page: &Document, node: NodeId) -> bool {
    page.walk(node).any(|event| matches!(event, Event::Enter(node) if matches!(page.tag(node), Some("h1" | "h2"))))
}

/// Whether one of the words in a list of names is wanted.
pub(super) fn has_word(names: &str, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    let bytes = names.as_bytes();
    let mut start = 0;
    for at in 0..=bytes.len() {
        let is_capital =
            at < bytes.len() && bytes[at].is_ascii_uppercase() && !bytes[at.saturating_sub(1)].is_ascii_uppercase();
        let is_separator = at == bytes.len() || matches!(bytes[at], b'-' | b'_' | b' ' | b'\t' | b'\n');
        if is_separator || is_capital {
            if is_wanted(&bytes[start..at]) {
                return true;
            }
            start = at + usize::from(is_separator);
        }
    }
    false
}

/// Blocks that are little but links: more than 80 % of the text, at least three of them, short ones.
fn prune_link_lists(page: &Document, features: &mut Features) {
    let mut walk = page.walk(page.root());
    while let Some(event) = walk.next() {
        let Event::Enter(node) = event else { continue };
        if features.is_pruned(node) {
            walk.skip_children(node);
        } else if page
            .tag(node)
            .is_some_and(|tag| matches!(tag, "div" | "ul" | "ol" | "section" | "table" | "p" | "dl"))
        {
            let links = features.links[node.index()];
            let mean = features.link_text[node.index()] / links.max(1);
            if links >= 3 && features.link_density(node) > 0.8 && mean < 60 {
                features.is_pruned[node.index()] = true;
                walk.skip_children(node);
            }
        }
    }
}
