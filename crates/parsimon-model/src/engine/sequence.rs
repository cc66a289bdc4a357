//! A request on its way.

use parsimon_attn::{KvPool, KvSequence};

use super::draft::propose;
use super::{EngineStats, Event, FinishReason, NGramOptions, Request, RequestId, SampledToken, Usage};
use crate::batch::{Batch, Pass};
use crate::sample::log_probabilities;
use crate::{Model, ModelError, Sampler};

/// A request with its tokens, and how far the model has seen them.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: RequestId,
    /// Without its prompt, which `tokens` begins with.
    request: Request,
    sampler: Sampler,
    /// Prompt and output.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_len: usize,
    /// Positions of the prompt that were found in the cache when it first ran.
    pub(super) cached_tokens: usize,
    /// As many positions as the model has seen tokens.
    pub(super) kv: KvSequence,
    /// The length that the rotary table of the keys belongs to.
    pub(super) rotated_for: usize,
    /// The tokens of the pass that comes: some of `tokens`, then a draft.
    pub(super) feed: Vec<u32>,
    draft: Vec<u32>,
    /// How many of the last rows of the pass choose tokens: none while known tokens follow.
    pub(super) choices: usize,
}

impl Sequence {
    pub(super) fn new(id: RequestId, mut request: Request, mut sampler: Sampler) -> Self {
        let tokens = std::mem::take(&mut request.prompt);
        sampler.observe_prompt(&tokens);
        Sequence {
            id,
            request,
            sampler,
            prompt_len: tokens.len(),
            tokens,
            cached_tokens: 0,
            kv: KvSequence::default(),
            rotated_for: 0,
            feed: Vec::new(),
            draft: Vec::new(),
            choices: 0,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_len,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.tokens.len() - self.prompt_len,
        }
    }

    /// Whether the model has yet to see tokens of the prompt.
    pub(super) fn is_in_prompt(&self) -> bool {
        self.kv.len() < self.prompt_len
    }

    /// How the next tokens run. A prompt is cut at multiples of `chunk` whatever else runs, and the output goes row by row: what a sequence
    /// computes does not depend on the others, nor on whether it computes it again.
    pub(super) fn pass(&self) -> Pass {
        if self.is_in_prompt() { Pass::Fast } else { Pass::Exact }
    }

    /// Sets the tokens that run next.
    pub(super) fn plan(&mut self, chunk: usize, speculative: Option<&NGramOptions>, max_positions: usize) {
        let at = self.kv.len();
        self.rotated_for = self.tokens.len();
        self.draft.clear();
        let end = if self.is_in_prompt() {
            self.prompt_len.min((at / chunk + 1) * chunk)
        } else {
            self.tokens.len().min(at + Batch::EXACT_MAX)
        };
        if let Some(options) = speculative
            && at + 1 == self.tokens.len()
            && !self.is_in_prompt()
        {
            let left = self.request.max_tokens.saturating_sub(self.tokens.len() - self.prompt_len + 1);
            propose(options, &self.tokens, left.min(max_positions.saturating_sub(at + 1)), &mut self.draft);
        }
        self.feed.clear();
        self.feed.extend(&self.tokens[at..end]);
        self.feed.extend(&self.draft);
        self.choices = if end == self.tokens.len() { 1 + self.draft.len() } else { 0 };
    }

    /// Gives up the draft, where there is no room for it.
    pub(super) fn drop_draft(&mut self) {
        self.feed.truncate(self.feed.len() - self.draft.len());
        self.choices -= self.draft.len();
        self.draft.clear();
    }

    /// Chooses tokens from the logits `[choices, vocab]` after the pass, and takes back positions of a draft that failed.
    ///
    /// Each token is chosen as without a draft; a draft only says which logits are known already. After an error the sequence is of no use.
    pub(super) fn choose(
        &mut self,
        model: &Model,
        pool: &mut KvPool,
        logits: &mut [f32],
        stats: &mut EngineStats,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, ModelError> {
        stats.drafted_tokens += self.draft.len() as u64;
        let mut seen = self.tokens.len();
        let draft = std::mem::take(&mut self.draft);
        let mut expected = draft.iter();
        let mut reason = None;
        for logits in logits.chunks_exact_mut(model.config().vocab_size) {
            let Some(token) = self.choose_one(model, logits, events)? else {
                reason = Some(FinishReason::Stop);
                break;
            };
            stats.generated_tokens += 1;
            reason = self.end(model);
            let is_expected = expected.next() == Some(&token);
            stats.accepted_tokens += u64::from(is_expected);
            seen += usize::from(is_expected);
            if reason.is_some() || !is_expected {
                break;
            }
        }
        self.draft = draft;
        self.draft.clear();
        pool.truncate(&mut self.kv, seen);
        Ok(reason)
    }

    /// One token; none where the output stops.
    fn choose_one(
        &mut self,
        model: &Model,
        logits: &mut [f32],
        events: &mut Vec<Event>,
    ) -> Result<Option<u32>, ModelError> {
        let raw = self.request.logprobs.filter(|_| self.changes_logits()).map(|_| logits.to_vec());
        let id = match &mut self.request.constraint {
            Some(constraint) => self.sampler.next_token(logits, Some(constraint.as_mut()))?,
            None => self.sampler.next_token(logits, None)?,
        };
        let is_eos = !self.request.ignore_eos && model.config().eos_token_ids.contains(&id);
        if is_eos || self.request.stop_tokens.contains(&id) {
            return Ok(None);
        }
        self.sampler.accept(id);
        if let Some(constraint) = &mut self.request.constraint {
            constraint.accept(id);
        }
        self.tokens.push(id);
        let (logprob, top) = match self.request.logprobs {
            Some(n) => {
                let (logprob, top) = log_probabilities(raw.as_deref().unwrap_or(logits), id, n);
                (Some(logprob), top)
            }
            None => (None, Vec::new()),
        };
        events.push(Event::Token { request: self.id, token: SampledToken { id, logprob, top } });
        Ok(Some(id))
    }

    /// Whether the choice is made from other logits than the model's.
    fn changes_logits(&self) -> bool {
        self.sampler.adjusts() || self.request.constraint.is_some()
    }

    /// Whether the request ends with the token that it has just got.
    fn end(&self, model: &Model) -> Option<FinishReason> {
        if self.request.constraint.as_ref().is_some_and(|constraint| constraint.is_complete()) {
            Some(FinishReason::Stop)
        } else if self.tokens.len() - self.prompt_len >= self.request.max_tokens {
            Some(FinishReason::Length)
        } else if self.tokens.len() > model.config().context_length() {
            Some(FinishReason::Context)
        } else {
            None
        }
    }
}
