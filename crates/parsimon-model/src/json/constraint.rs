//! Generation that stays within JSON.

use std::sync::Arc;

use super::JsonPrefix;
use crate::{TokenBytes, TokenConstraint};

/// A vocabulary prepared for [`JsonConstraint`]: its tokens by their first byte.
#[derive(Clone, Debug)]
pub struct JsonVocabulary {
    bytes: Arc<TokenBytes>,
    /// Tokens with at least one byte, by first byte.
    tokens: Vec<u32>,
    /// Where the tokens of each first byte begin in `tokens`, and the end of the last.
    starts: [usize; 257],
    /// Whether every continuation byte of UTF-8 is a token: then a token may end within a character.
    cuts_characters: bool,
}

impl JsonVocabulary {
    /// Prepares a vocabulary; `None` when a printable ASCII character is no token of its own, since a text could then get stuck.
    pub fn new(bytes: Arc<TokenBytes>) -> Option<Self> {
        let mut tokens: Vec<u32> = (0..bytes.len() as u32).filter(|&token| !bytes.get(token).is_empty()).collect();
        tokens.sort_by_key(|&token| bytes.get(token)[0]);
        let starts =
            std::array::from_fn(|first| tokens.partition_point(|&token| usize::from(bytes.get(token)[0]) < first));
        let mut single = [false; 256];
        for &token in &tokens {
            if let &[byte] = bytes.get(token) {
                single[usize::from(byte)] = true;
            }
        }
        let cuts_characters = single[0x80..=0xbf].iter().all(|&there| there);
        let printable = single[0x20..=0x7e].iter().all(|&there| there);
        printable.then_some(JsonVocabulary { bytes, tokens, starts, cuts_characters })
    }

    fn of(&self, first: u8) -> &[u32] {
        let first = usize::from(first);
        &self.tokens[self.starts[first]..self.starts[first + 1]]
    }
}

/// Lets only tokens through that keep the output the beginning of a JSON value, and ends it with the value.
///
/// What ends by it parses; what ends by a limit may be cut off.
#[derive(Clone, Debug)]
pub struct JsonConstraint {
    vocabulary: Arc<JsonVocabulary>,
    state: JsonPrefix,
    /// Which logits stay, as a buffer.
    allowed: Vec<bool>,
}

impl JsonConstraint {
    /// The output is one value as `start` says, [`JsonPrefix::object`] or [`JsonPrefix::value`].
    pub fn new(vocabulary: Arc<JsonVocabulary>, start: JsonPrefix) -> Self {
        JsonConstraint { vocabulary, state: start, allowed: Vec::new() }
    }

    /// Whether the tail of a token fits after its first byte.
    fn fits(&self, after_first: JsonPrefix, token: u32) -> bool {
        let mut state = after_first;
        state.push_all(&self.vocabulary.bytes.get(token)[1..])
            && (self.vocabulary.cuts_characters || !state.is_within_character())
    }
}

impl TokenConstraint for JsonConstraint {
    fn mask(&mut self, logits: &mut [f32]) {
        let mut allowed = std::mem::take(&mut self.allowed);
        allowed.clear();
        allowed.resize(logits.len(), false);
        for first in 0..=255 {
            let mut state = self.state;
            if !state.push(first) {
                continue;
            }
            for &token in self.vocabulary.of(first) {
                if let Some(slot) = allowed.get_mut(token as usize) {
                    *slot = self.fits(state, token);
                }
            }
        }
        for (logit, allowed) in logits.iter_mut().zip(&allowed) {
            if !allowed {
                *logit = f32::NEG_INFINITY;
            }
        }
        self.allowed = allowed;
    }

    fn accept(&mut self, token: u32) {
        let fits = self.state.push_all(self.vocabulary.bytes.get(token));
        debug_assert!(fits, "the mask lets only fitting tokens through");
    }

    fn is_complete(&self) -> bool {
        self.state.is_complete()
    }
}
