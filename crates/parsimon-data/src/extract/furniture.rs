//! Lines that belong to the page and not to its article, by how they start.

/// The longest line that is taken for furniture, in bytes.
const LENGTH_MAX: usize = 180;

/// How such lines start, in lower case.
const STARTS: [&str; 58] = [
    "about the author",
    "advert",
    "also on ",
    "also read",
    "also:",
    "back to gallery",
    "breaking news",
    "by clicking",
    "click here",
    "comments",
    "continue reading",
    "download ",
    "file photo",
    "filed under",
    "first published",
    "follow ",
    "get the latest",
    "have a tip",
    "image caption",
    "image copyright",
    "image:",
    "(image",
    "join our",
    "like loading",
    "like this",
    "listen to",
    "loading",
    "more:",
    "more on ",
    "more great ",
    "more stories",
    "most popular",
    "need more ",
    "next ",
    "our standards",
    "photo:",
    "photo by",
    "photograph:",
    "photos:",
    "please enable",
    "posted",
    "previous ",
    "published",
    "read more",
    "read:",
    "recommended",
    "related",
    "reporting by",
    "see also",
    "see more",
    "share ",
    "sign up",
    "source:",
    "subscribe",
    "tags:",
    "tell us",
    "updated",
    "you may also",
];

/// Whole lines, in lower case.
const WHOLE: [&str; 14] = [
    "ad",
    "caption",
    "close",
    "don't miss",
    "email",
    "facebook",
    "linkedin",
    "menu",
    "print",
    "share",
    "tweet",
    "twitter",
    "video",
    "whatsapp",
];

/// Whether a block is a line of furniture.
pub(super) fn is_furniture(block: &str) -> bool {
    if block.len() > LENGTH_MAX || block.contains('\n') {
        return false;
    }
    let lower = block.trim_start_matches(['-', ' ', '\u{2022}']).to_lowercase();
    // A sentence of the article may start with such a word: it ends like a sentence and is no short line.
    let is_sentence = lower.len() > 100 && lower.ends_with(['.', '!', '?', '"', '\u{201d}']);
    WHOLE.contains(&lower.as_str())
        || STARTS.iter().any(|start| lower.starts_with(start)) && !is_sentence
        || lower.contains("getty images") && lower.len() < 80
}
