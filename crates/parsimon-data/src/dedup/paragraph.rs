//! CCNet's paragraphs: a line that stood on an earlier page goes.

use std::collections::HashSet;

use sha1::{Digest, Sha1};
use unicode_normalization::UnicodeNormalization;

use crate::text::{self, Class, classes_of};

/// The key of a paragraph: eight bytes of SHA-1, little-endian, of the paragraph stripped, in NFKC, lower case, digits as 0, without
/// punctuation and control characters. `PAPER(redstone §3.5)`
pub fn paragraph_key(paragraph: &str) -> u64 {
    let stripped = paragraph.trim_matches(text::is_space);
    let mut hash = Sha1::new();
    let mut buffer = [0; 4];
    let lower = stripped.nfkc().collect::<String>().to_lowercase();
    for c in lower.chars() {
        let class = classes_of(c);
        if class.has(Class::DIGIT) {
            hash.update(b"0");
        } else if !class.has(Class::PUNCTUATION.or(Class::OTHER)) {
            hash.update(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"))
}

/// The paragraphs that were seen.
#[derive(Clone, Default, Debug)]
pub struct ParagraphIndex {
    seen: HashSet<u64>,
}

impl ParagraphIndex {
    /// The paragraphs of `text` that were not seen before, one a line; and how many went. Of a document that comes later nothing that
    /// stands here is kept.
    pub fn keep_new(&mut self, text: &str) -> (String, usize) {
        let mut dropped = 0;
        let kept: Vec<&str> = text
            .split('\n')
            .filter(|paragraph| {
                let is_new = self.seen.insert(paragraph_key(paragraph));
                dropped += usize::from(!is_new);
                is_new
            })
            .collect();
        (kept.join("\n"), dropped)
    }
}
