//! Extraction from real pages.

use std::io::Read;
use std::path::Path;

use parsimon_data::extract::Root;
use parsimon_data::{Document, Extracted, Extractor, Profile};

fn page(path: &str) -> Extracted {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rustdoc").join(path);
    let mut html = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut html).unwrap();
    Extractor::new(Profile::Balanced).extract(&Document::parse(&html, None))
}

#[track_caller]
fn check(path: &str, root: Root, title: &str, start: &str, contains: &[&str], absent: &[&str]) {
    let page = page(path);
    assert_eq!(page.root, root, "{path}");
    assert_eq!(page.metadata.title.as_deref(), Some(title), "{path}");
    assert!(page.text.starts_with(start), "{path}: {}", &page.text[..200.min(page.text.len())]);
    for part in contains {
        assert!(page.text.contains(part), "{path} lacks {part:?}");
    }
    for part in absent {
        assert!(!page.text.contains(part), "{path} has {part:?}");
    }
    for span in &page.spans {
        assert!(page.text.get(span.range()).is_some());
    }
}

#[test]
fn documentation_pages() {
    let noise =
        ["\u{a7}", "Copy item path", "Source", "Expand description", "Read more", "#![allow(unused)]", "Run code"];
    check(
        "std/option/index.html.gz",
        Root::Rustdoc,
        "std::option - Rust",
        "Module option\nOptional values.\nType Option represents an optional value",
        &["fn divide(numerator: f64, denominator: f64) -> Option<f64> {\n    if denominator == 0.0 {\n        None"],
        &noise,
    );
    check(
        "book/ch04-01-what-is-ownership.html.gz",
        Root::MdBook,
        "What is Ownership? - The Rust Programming Language",
        "What Is Ownership?\nOwnership is a set of rules",
        &["\nlet s = \"hello\";\n", "- When s comes into scope, it is valid."],
        &noise,
    );
}
