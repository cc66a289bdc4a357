//! How an engine is set up.

use parsimon_attn::KvDtype;

use crate::ModelError;

/// How many sequences, how much cache, how large a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineOptions {
    /// The most sequences that run at once; others wait.
    pub max_sequences: usize,
    /// About how many tokens a step runs: long prompts are cut so that the other sequences need not wait for them.
    pub step_tokens: usize,
    /// Positions of the cache of keys and values, over all sequences.
    pub cache_positions: usize,
    /// How keys and values are kept.
    pub cache_dtype: KvDtype,
    /// Whether prompts that begin alike share keys and values.
    pub prefix_cache: bool,
    /// Draft tokens from the text so far and check several in one step.
    pub speculative: Option<NGramOptions>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            max_sequences: 8,
            step_tokens: 256,
            cache_positions: 8192,
            cache_dtype: KvDtype::F32,
            prefix_cache: true,
            speculative: None,
        }
    }
}

/// Drafts by n-grams: when the last `n` tokens occurred before, what followed them then is the draft.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NGramOptions {
    /// The most tokens of a draft, 1 to 15.
    pub max_draft: usize,
    /// The fewest tokens that must match.
    pub min_match: usize,
    /// The most tokens that are matched; longer matches are tried first.
    pub max_match: usize,
}

impl Default for NGramOptions {
    fn default() -> Self {
        NGramOptions { max_draft: 3, min_match: 2, max_match: 5 }
    }
}

impl EngineOptions {
    /// Checks every option.
    ///
    /// # Errors
    ///
    /// [`ModelError::Option`] for the first that is out of range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let draft = self.speculative.unwrap_or_default();
        let checks = [
            ("max_sequences", self.max_sequences, self.max_sequences > 0, "at least 1"),
            ("step_tokens", self.step_tokens, self.step_tokens > 0, "at least 1"),
            ("cache_positions", self.cache_positions, self.cache_positions > 0, "at least 1"),
            ("max_draft", draft.max_draft, (1..=15).contains(&draft.max_draft), "1 to 15"),
            ("min_match", draft.min_match, draft.min_match > 0, "at least 1"),
            ("max_match", draft.max_match, draft.max_match >= draft.min_match, "at least min_match"),
        ];
        match checks.into_iter().find(|(_, _, sound, _)| !sound) {
            Some((what, given, _, expected)) => {
                Err(ModelError::Option { what, given: given.to_string(), expected: expected.to_owned() })
            }
            None => Ok(()),
        }
    }
}

/// Counts since an engine was made, and what it holds now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EngineStats {
    /// Sequences that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Positions of the cache.
    pub cache_positions: usize,
    /// Positions of the cache that sequences hold.
    pub used_positions: usize,
    /// Positions that are kept for prompts that begin alike, and given up when sequences need them.
    pub kept_positions: usize,
    /// Steps that ran tokens.
    pub steps: u64,
    /// Tokens of prompts that ran.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were found in the cache.
    pub cached_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Tokens that were drafted.
    pub drafted_tokens: u64,
    /// Drafted tokens that were the ones chosen.
    pub accepted_tokens: u64,
    /// Times that a sequence gave its place in the cache to another and was computed again.
    pub preemptions: u64,
}
