//! Many requests at once.

mod options;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;

pub use options::{EngineOptions, EngineStats, NGramOptions};
pub use request::{Event, FinishReason, Request, RequestId, SampledToken, TokenConstraint, Usage};

use crate::sample::log_probabilities;
use crate::{KvState, Model, ModelError, Sampler};

/// Runs requests in steps: no threads, no clock, the caller decides when a step is made.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    options: EngineOptions,
    next_id: u64,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    finished: Vec<Event>,
    stats: EngineStats,
}

#[derive(Debug)]
struct Sequence {
    id: RequestId,
    request: Request,
    sampler: Sampler,
    state: KvState,
    /// Tokens that the model has not seen.
    pending: Vec<u32>,
    usage: Usage,
}

impl Engine {
    /// An engine without requests.
    ///
    /// # Errors
    ///
    /// As [`EngineOptions::validate`].
    pub fn try_new(model: Arc<Model>, options: EngineOptions) -> Result<Self, ModelError> {
        options.validate()?;
        let stats = EngineStats { cache_positions: options.cache_positions, ..EngineStats::default() };
        Ok(Engine {
            model,
            options,
            next_id: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            finished: Vec::new(),
            stats,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Takes a request; it starts with the next step if there is room.
    ///
    /// # Errors
    ///
    /// [`ModelError::EmptyPrompt`], [`ModelError::TokenOutOfRange`], [`ModelError::ContextFull`], [`ModelError::Sampler`].
    pub fn submit(&mut self, request: Request) -> Result<RequestId, ModelError> {
        let mut sampler = Sampler::with_options(&request.sampling)?;
        self.model.check_tokens(&request.prompt, 0)?;
        if request.prompt.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        sampler.observe_prompt(&request.prompt);
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Sequence {
            id,
            sampler,
            state: self.model.new_state(),
            pending: request.prompt.clone(),
            usage: Usage { prompt_tokens: request.prompt.len(), ..Usage::default() },
            request,
        });
        Ok(id)
    }

    /// Ends a request: the next step tells so. Unknown and ended requests are ignored.
    pub fn cancel(&mut self, request: RequestId) {
        let waiting = self.waiting.iter().position(|s| s.id == request).and_then(|at| self.waiting.remove(at));
        let running = || self.running.iter().position(|s| s.id == request).map(|at| self.running.remove(at));
        if let Some(sequence) = waiting.or_else(running) {
            let (reason, usage) = (FinishReason::Cancelled, sequence.usage);
            self.finished.push(Event::Finished { request, reason, usage });
        }
    }

    /// Whether a step would do nothing.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.finished.is_empty()
    }

    /// Counts since the engine was made, and what it holds now.
    pub fn stats(&self) -> EngineStats {
        let used_positions = self.running.iter().map(|s| s.state.len()).sum();
        EngineStats { running: self.running.len(), waiting: self.waiting.len(), used_positions, ..self.stats }
    }

    /// Runs one step and adds what happened to `events`.
    ///
    /// # Errors
    ///
    /// None so far: what is wrong with one request is an [`Event::Failed`] of it.
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<(), ModelError> {
        events.append(&mut self.finished);
        while self.running.len() < self.options.max_sequences {
            let Some(sequence) = self.waiting.pop_front() else { break };
            self.running.push(sequence);
        }
        if self.running.is_empty() {
            return Ok(());
        }
        self.stats.steps += 1;
        let (model, stats) = (&self.model, &mut self.stats);
        self.running.retain_mut(|sequence| match sequence.advance(model, stats, events) {
            Ok(None) => true,
            Ok(Some(reason)) => {
                events.push(Event::Finished { request: sequence.id, reason, usage: sequence.usage });
                false
            }
            Err(error) => {
                events.push(Event::Failed { request: sequence.id, error });
                false
            }
        });
        Ok(())
    }
}

impl Sequence {
    fn advance(
        &mut self,
        model: &Model,
        stats: &mut EngineStats,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, ModelError> {
        if self.usage.completion_tokens >= self.request.max_tokens {
            return Ok(Some(FinishReason::Length));
        }
        let mut logits = model.last_logits(&self.pending, &mut self.state)?;
        if self.usage.completion_tokens == 0 {
            stats.prompt_tokens += self.pending.len() as u64;
        }
        let raw = self.request.logprobs.map(|_| logits.clone());
        self.sampler.adjust(&mut logits);
        if let Some(constraint) = &mut self.request.constraint {
            constraint.mask(&mut logits);
        }
        let id = self.sampler.sample(&logits);
        let is_eos = !self.request.ignore_eos && model.config().eos_token_ids.contains(&id);
        if is_eos || self.request.stop_tokens.contains(&id) {
            return Ok(Some(FinishReason::Stop));
        }
        self.sampler.accept(id);
        let (logprob, top) = match (raw, self.request.logprobs) {
            (Some(raw), Some(n)) => {
                let (logprob, top) = log_probabilities(&raw, id, n);
                (Some(logprob), top)
            }
            _ => (None, Vec::new()),
        };
        self.usage.completion_tokens += 1;
        stats.generated_tokens += 1;
        events.push(Event::Token { request: self.id, token: SampledToken { id, logprob, top } });
        self.pending.clear();
        self.pending.push(id);
        if let Some(constraint) = &mut self.request.constraint {
            constraint.accept(id);
            if constraint.is_complete() {
                return Ok(Some(FinishReason::Stop));
            }
        }
        let full = self.state.len() >= model.config().context_length();
        Ok(match () {
            _ if self.usage.completion_tokens >= self.request.max_tokens => Some(FinishReason::Length),
            _ if full => Some(FinishReason::Context),
            _ => None,
        })
    }
}
