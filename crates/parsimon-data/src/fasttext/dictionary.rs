//! From a text to features: words, character n-grams, word n-grams.

use std::collections::HashMap;

use super::{Args, LABEL_PREFIX};

/// The token that ends every line.
pub(super) const END: &str = "</s>";

/// The words and labels of a model.
#[derive(Clone, Default, Debug)]
pub(crate) struct Dictionary {
    words: HashMap<String, u32>,
    /// Words in the order of their rows, with counts.
    pub(super) entries: Vec<(String, i64)>,
    labels: Vec<String>,
    pub(super) label_counts: Vec<i64>,
    pub(super) n_tokens: i64,
    /// Where hashed features lie in a pruned model; `None` when nothing was pruned.
    pub(super) pruned: Option<HashMap<u32, u32>>,
}

impl Dictionary {
    pub(super) fn new(words: Vec<(String, i64)>, labels: Vec<(String, i64)>, n_tokens: i64) -> Dictionary {
        let (labels, label_counts) = labels.into_iter().unzip();
        let index = words.iter().zip(0u32..).map(|((word, _), at)| (word.clone(), at)).collect();
        Dictionary { words: index, entries: words, labels, label_counts, n_tokens, pruned: None }
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    pub(super) fn n_words(&self) -> usize {
        self.entries.len()
    }

    /// The rows of a text's features.
    pub(super) fn features(&self, text: &str, args: &Args, features: &mut Vec<u32>) {
        let mut hashes: Vec<u32> = Vec::new();
        for token in tokens(text).chain([END]) {
            let hash = fnv(token.as_bytes());
            match self.words.get(token) {
                Some(&row) => {
                    features.push(row);
                    if args.maxn > 0 && token != END {
                        self.subwords(token, args, features);
                    }
                }
                None if token.starts_with(LABEL_PREFIX) => continue,
                None if token == END => {}
                None => self.subwords(token, args, features),
            }
            if args.word_ngrams > 1 {
                hashes.push(hash);
            }
        }
        for (at, &first) in hashes.iter().enumerate() {
            // 32-bit hashes are signed there, and widen with their sign.
            let widen = |hash: u32| hash as i32 as i64 as u64;
            let mut hash = widen(first);
            for &next in hashes[at + 1..].iter().take(args.word_ngrams - 1) {
                hash = hash.wrapping_mul(116_049_371).wrapping_add(widen(next));
                self.push_hash((hash % args.bucket.max(1) as u64) as u32, features);
            }
        }
    }

    /// The character n-grams of `<token>`, without the brackets themselves.
    fn subwords(&self, token: &str, args: &Args, features: &mut Vec<u32>) {
        if args.maxn == 0 || args.bucket == 0 {
            return;
        }
        let mut word = Vec::with_capacity(token.len() + 2);
        word.push(b'<');
        word.extend_from_slice(token.as_bytes());
        word.push(b'>');
        let is_inside = |at: usize| word.get(at).is_some_and(|b| b & 0xc0 == 0x80);
        for start in (0..word.len()).filter(|&at| !is_inside(at)) {
            let (mut end, mut hash) = (start, FNV_START);
            for n in 1..=args.maxn {
                if end == word.len() {
                    break;
                }
                hash = fnv_step(hash, word[end]);
                end += 1;
                while is_inside(end) {
                    hash = fnv_step(hash, word[end]);
                    end += 1;
                }
                if n >= args.minn && !(n == 1 && (start == 0 || end == word.len())) {
                    self.push_hash(hash % args.bucket as u32, features);
                }
            }
        }
    }

    fn push_hash(&self, hash: u32, features: &mut Vec<u32>) {
        let hash = match &self.pruned {
            None => Some(hash),
            Some(pruned) => pruned.get(&hash).copied(),
        };
        features.extend(hash.map(|hash| self.n_words() as u32 + hash));
    }
}

/// Splits at the bytes that fastText splits at.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\n', '\r', '\t', '\u{b}', '\u{c}', '\0']).filter(|token| !token.is_empty())
}

const FNV_START: u32 = 2_166_136_261;

/// FNV-1a with the byte's sign extended, which is what the C++ came to do.
fn fnv_step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as i8 as i32 as u32).wrapping_mul(16_777_619)
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_START, |hash, &byte| fnv_step(hash, byte))
}
