//! What kind of page it is, where that changes what counts as content.

use serde_json::Value;

use crate::html::{Document, Event};

/// Programs that run forums, as `meta generator` and the page's classes name them.
const FORUM_PROGRAMS: [&str; 12] = [
    "discourse",
    "phpbb",
    "vbulletin",
    "xenforo",
    "invision",
    "nodebb",
    "flarum",
    "mybb",
    "smf",
    "vanilla",
    "lemmy",
    "fluxbb",
];

/// Types of JSON-LD and microdata that stand for discussions.
const FORUM_TYPES: [&str; 3] = ["DiscussionForumPosting", "QAPage", "Comment"];

/// Whether the page is a discussion, whose comments are its content.
pub(super) fn is_forum(page: &Document) -> bool {
    let mut posts = 0;
    for event in page.walk(page.root()) {
        let Event::Enter(node) = event else { continue };
        let Some(tag) = page.tag(node) else { continue };
        let has = |name: &str, words: &[&str]| {
            page.attribute(node, name).is_some_and(|value| {
                let value = value.to_ascii_lowercase();
                words.iter().any(|word| value.contains(&word.to_ascii_lowercase()))
            })
        };
        let is_named = match tag {
            "meta" => page.attribute(node, "name") == Some("generator") && has("content", &FORUM_PROGRAMS),
            "html" | "body" => has("class", &FORUM_PROGRAMS) || has("id", &FORUM_PROGRAMS),
            "script" if page.attribute(node, "type") == Some("application/ld+json") => {
                serde_json::from_str::<Value>(&page.text_of(node)).is_ok_and(|value| is_forum_type(&value, 0))
            }
            _ => has("itemtype", &FORUM_TYPES[..2]),
        };
        if is_named {
            return true;
        }
        let is_post =
            |name: &str| matches!(name, "post" | "message" | "comment" | "reply" | "postbody" | "post-content");
        posts += u32::from(
            matches!(tag, "div" | "article" | "li" | "section" | "tr")
                && page.attribute(node, "class").is_some_and(|class| class.split_ascii_whitespace().any(is_post))
                && page.attribute(node, "id").is_some_and(|id| id.contains(|c: char| c.is_ascii_digit())),
        );
    }
    // A blog has comments too, but its article is one of them to nobody.
    posts >= 3 && !has_article(page)
}

fn has_article(page: &Document) -> bool {
    page.walk(page.root()).any(|event| {
        matches!(event, Event::Enter(node) if page.attribute(node, "itemprop").is_some_and(|prop| prop.eq_ignore_ascii_case("articleBody"))
            || page.tag(node) == Some("meta")
                && page.attribute(node, "property") == Some("og:type")
                && page.attribute(node, "content") == Some("article"))
    })
}

fn is_forum_type(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth > 4 => false,
        Value::Array(items) => items.iter().any(|item| is_forum_type(item, depth + 1)),
        Value::Object(fields) => {
            fields.get("@type").and_then(Value::as_str).is_some_and(|kind| FORUM_TYPES[..2].contains(&kind))
                || fields.get("@graph").is_some_and(|graph| is_forum_type(graph, depth + 1))
        }
        _ => false,
    }
}
