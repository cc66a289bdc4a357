//! Finding the main content.

use super::Root;
use super::features::Features;
use super::prune::has_word;
use crate::html::{Document, Event, NodeId};

/// A densest block with less text than this loses to the whole body.
pub(super) const TEXT_BYTES_MIN: usize = 250;

/// The generator of a documentation page, where we know its habits.
pub(super) fn generator(page: &Document) -> Option<Root> {
    let mut book = None;
    for node in elements(page) {
        match (page.tag(node), page.attribute(node, "id")) {
            (Some("meta"), _) if page.attribute(node, "name") == Some("generator") => {
                return (page.attribute(node, "content") == Some("rustdoc")).then_some(Root::Rustdoc).or(book);
            }
            (Some("section"), Some("main-content")) => return Some(Root::Rustdoc),
            (_, Some("mdbook-content" | "mdbook-page-wrapper" | "mdbook-sidebar")) => book = Some(Root::MdBook),
            (Some("html"), _)
                if page.attribute(node, "class").is_some_and(|class| class.contains("sidebar-visible")) =>
            {
                book = Some(Root::MdBook);
            }
            _ => {}
        }
    }
    book
}

/// The nodes to take, in document order, and what they are.
pub(super) fn find(
    page: &Document,
    features: &Features,
    generator: Option<Root>,
    is_forum: bool,
) -> (Vec<NodeId>, Root) {
    if let Some(generator) = generator {
        let wanted = |node: &NodeId| match generator {
            Root::Rustdoc => page.attribute(*node, "id") == Some("main-content"),
            _ => page.tag(*node) == Some("main"),
        };
        if let Some(node) = unpruned(page, features).find(wanted) {
            return (vec![node], generator);
        }
    }
    if is_forum {
        // Every post is content, and they have no parent of their own that is sure.
        return whole(page, features);
    }
    if let Some(node) = semantic(page, features) {
        return (vec![node], Root::Semantic);
    }
    match densest(page, features) {
        Some(roots) => (roots, Root::Density),
        None => (vec![page.root()], Root::Body),
    }
}

/// Everything that is not pruned, in `main` when that holds most of it.
pub(super) fn whole(page: &Document, features: &Features) -> (Vec<NodeId>, Root) {
    let is_main = |node: &NodeId| page.tag(*node) == Some("main") || page.attribute(*node, "role") == Some("main");
    let main = unpruned(page, features).filter(is_main).max_by_key(|&node| features.text_of(node));
    let is_most = |node: &NodeId| features.text_of(*node) * 2 > features.text_of(page.root());
    main.filter(is_most).map_or((vec![page.root()], Root::Body), |node| (vec![node], Root::Semantic))
}

/// Share of the text that is not pruned which stands below `roots`.
pub(super) fn coverage(page: &Document, features: &Features, roots: &[NodeId]) -> f64 {
    let text: u32 = roots.iter().map(|&root| features.text_of(root)).sum();
    f64::from(text) / f64::from(features.text_of(page.root()).max(1))
}

/// Names of what holds the text of an article: one of the first with one of the second.
const BODY_SUBJECTS: [&str; 4] = ["article", "entry", "post", "story"];
const BODY_NOUNS: [&str; 4] = ["body", "content", "text", "copy"];

type Wanted<'a> = &'a dyn Fn(&NodeId) -> bool;

/// The element that the page itself calls its content: the surest kind of which one holds most of the prose.
fn semantic(page: &Document, features: &Features) -> Option<NodeId> {
    let total = features.prose_of(page.root());
    let is_body =
        |node: &NodeId| page.attribute(*node, "itemprop").is_some_and(|prop| prop.eq_ignore_ascii_case("articleBody"));
    let is_named = |node: &NodeId| {
        ["class", "id"].iter().filter_map(|name| page.attribute(*node, name)).any(|names| {
            names.split_ascii_whitespace().any(|name| {
                let is =
                    |word: &[u8], list: &[&str]| list.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word));
                has_word(name, |word| is(word, &BODY_SUBJECTS)) && has_word(name, |word| is(word, &BODY_NOUNS))
            })
        })
    };
    let is_article =
        |node: &NodeId| page.tag(*node) == Some("article") || page.attribute(*node, "role") == Some("article");
    let is_main = |node: &NodeId| page.tag(*node) == Some("main") || page.attribute(*node, "role") == Some("main");
    // A name may stand on each part of an article that is cut by boxes, so it must hold more than the others.
    let kinds: [(Wanted<'_>, f64); 4] = [(&is_body, 0.5), (&is_named, 0.75), (&is_article, 0.5), (&is_main, 0.5)];
    kinds.into_iter().find_map(|(wanted, least)| {
        let found: Vec<NodeId> = unpruned(page, features).filter(wanted).collect();
        // Of elements inside each other with the same prose the innermost is the one that is meant.
        let best = found.into_iter().max_by_key(|&node| (features.prose_of(node), node))?;
        let prose = features.prose_of(best);
        (prose as usize >= TEXT_BYTES_MIN && f64::from(prose) > least * f64::from(total)).then_some(best)
    })
}

fn elements(page: &Document) -> impl Iterator<Item = NodeId> {
    page.walk(page.root()).filter_map(|event| match event {
        Event::Enter(node) => page.tag(node).map(|_| node),
        Event::Leave(_) => None,
    })
}

/// The elements that are not pruned, nor below something that is.
fn unpruned<'a>(page: &'a Document, features: &'a Features) -> impl Iterator<Item = NodeId> + 'a {
    let mut walk = page.walk(page.root());
    std::iter::from_fn(move || {
        while let Some(event) = walk.next() {
            if let Event::Enter(node) = event {
                if features.is_pruned(node) {
                    walk.skip_children(node);
                } else if page.tag(node).is_some() {
                    return Some(node);
                }
            }
        }
        None
    })
}

/// The block whose paragraphs score highest, with the siblings that score a fifth of it.
///
/// A paragraph of at least 25 bytes scores 1, a point a comma and up to three for its length; its parent takes the score, its
/// grandparent half of it, and link text takes away its share.
fn densest(page: &Document, features: &Features) -> Option<Vec<NodeId>> {
    let mut scores = vec![0.0f64; page.len()];
    for node in unpruned(page, features) {
        if !matches!(page.tag(node), Some("p" | "td" | "pre" | "blockquote" | "h2" | "h3" | "h4" | "section" | "li")) {
            continue;
        }
        let own: String = page.children(node).filter_map(|child| page.text(child)).collect();
        let length = features.text_of(node);
        if length < 25 {
            continue;
        }
        let commas = own.bytes().filter(|&b| b == b',').count() as f64;
        let score = 1.0 + commas + (f64::from(length) / 100.0).min(3.0);
        let Some(parent) = page.parent(node) else { continue };
        scores[parent.index()] += score;
        if let Some(grandparent) = page.parent(parent) {
            scores[grandparent.index()] += score / 2.0;
        }
    }
    let score = |node: NodeId| scores[node.index()] * (1.0 - features.link_density(node));
    let top = unpruned(page, features)
        .filter(|&node| scores[node.index()] > 0.0)
        .max_by(|&a, &b| score(a).total_cmp(&score(b)).then(b.cmp(&a)))?;
    let bar = (score(top) * 0.2).max(10.0);
    let siblings = page.parent(top).map(|parent| page.children(parent).collect()).unwrap_or_else(|| vec![top]);
    Some(
        siblings.into_iter().filter(|&node| node == top || (!features.is_pruned(node) && score(node) >= bar)).collect(),
    )
}
