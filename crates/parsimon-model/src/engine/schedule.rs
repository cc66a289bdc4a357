//! What runs in a step, and who gets pages.

use parsimon_attn::KvPool;

use super::sequence::Sequence;
use super::{Engine, Event, FinishReason, RequestId};
use crate::batch::{Batch, Pass, Segment};
use crate::workspace::Workspace;
use crate::{Model, ModelError};

impl Engine {
    /// Runs one step and adds what happened to `events`.
    ///
    /// # Errors
    ///
    /// None so far: what is wrong with one request is an [`Event::Failed`] of it, and the others go on.
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<(), ModelError> {
        events.append(&mut self.pending);
        self.admit();
        if self.running.is_empty() {
            return Ok(());
        }
        self.stats.steps += 1;
        let max_positions = self.model.config().context_length();
        let chunk = self.options.step_tokens;
        // A draft would be rotated for a longer sequence.
        let speculative = self.options.speculative.filter(|_| !self.model.rope.depends_on_length());
        for sequence in &mut self.running {
            if self.model.is_stale(sequence.rotated_for, sequence.tokens.len()) {
                self.pool.truncate(&mut sequence.kv, 0);
            }
            sequence.plan(chunk, speculative.as_ref(), max_positions);
        }
        let tokens = self.run_outputs(events);
        self.run_prompts(chunk.saturating_sub(tokens), events);
        Ok(())
    }

    /// Starts waiting requests while there is room for what they hold already.
    fn admit(&mut self) {
        while self.running.len() < self.options.max_sequences {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let known = if self.shares_prefixes() { self.prefix.find(&sequence.tokens) } else { Vec::new() };
            sequence.kv = self.pool.share(&known);
            // At least one token must run to give logits.
            self.pool.truncate(&mut sequence.kv, sequence.tokens.len() - 1);
            let mut has_room = self.has_room(&sequence);
            if !has_room && self.running.is_empty() {
                // The copy of a shared page may be the one page too many.
                self.pool.truncate(&mut sequence.kv, 0);
                has_room = self.has_room(&sequence);
            }
            if !has_room {
                self.pool.truncate(&mut sequence.kv, 0);
                self.waiting.push_front(sequence);
                return;
            }
            if sequence.tokens.len() == sequence.prompt_len {
                sequence.cached_tokens = sequence.kv.len();
                self.stats.cached_tokens += sequence.kv.len() as u64;
            }
            self.running.push(sequence);
        }
    }

    /// Whether there are pages for all tokens that are known, once pages that only the prefix cache holds are given up.
    fn has_room(&mut self, sequence: &Sequence) -> bool {
        let needed = self.pool.pages_needed(&sequence.kv, sequence.tokens.len() - sequence.kv.len());
        let free = self.pool.free_pages();
        if free < needed && free + self.prefix.evictable(&self.pool) < needed {
            return false;
        }
        self.prefix.evict(needed, &mut self.pool);
        true
    }

    /// One token or several of every sequence that has its prompt behind it; returns how many tokens ran.
    fn run_outputs(&mut self, events: &mut Vec<Event>) -> usize {
        let ids: Vec<RequestId> =
            self.running.iter().filter(|sequence| sequence.pass() == Pass::Exact).map(|sequence| sequence.id).collect();
        let (mut total, mut group, mut tokens) = (0, Vec::new(), 0);
        for id in ids {
            let Some(n) = self.make_room(id, events) else { continue };
            if tokens + n > Batch::EXACT_MAX {
                self.run_group(&std::mem::take(&mut group), Pass::Exact, events);
                tokens = 0;
            }
            group.push(id);
            tokens += n;
            total += n;
        }
        self.run_group(&group, Pass::Exact, events);
        total
    }

    /// Chunks of prompts, the oldest first: at least one, and more while they fit into `budget` tokens.
    fn run_prompts(&mut self, mut budget: usize, events: &mut Vec<Event>) {
        let ids: Vec<RequestId> =
            self.running.iter().filter(|sequence| sequence.is_in_prompt()).map(|sequence| sequence.id).collect();
        let mut is_first = true;
        for id in ids {
            let Some(n) = self.planned(id) else { continue };
            if !is_first && n > budget {
                return;
            }
            if self.make_room(id, events).is_none() {
                continue;
            }
            self.stats.prompt_tokens += n as u64;
            self.run_group(&[id], Pass::Fast, events);
            budget = budget.saturating_sub(n);
            is_first = false;
        }
    }

    fn position(&self, id: RequestId) -> Option<usize> {
        self.running.iter().position(|sequence| sequence.id == id)
    }

    /// How many tokens of a sequence run next.
    fn planned(&self, id: RequestId) -> Option<usize> {
        self.position(id).map(|at| self.running[at].feed.len())
    }

    /// Reserves pages for the tokens that run next and returns how many they are; `None` when the sequence does not run in this step.
    fn make_room(&mut self, id: RequestId, events: &mut Vec<Event>) -> Option<usize> {
        loop {
            let at = self.position(id)?;
            let sequence = &mut self.running[at];
            let n = sequence.feed.len();
            let needed = self.pool.pages_needed(&sequence.kv, n);
            self.prefix.evict(needed, &mut self.pool);
            if self.pool.reserve(&mut sequence.kv, n).is_ok() {
                return Some(n);
            }
            sequence.drop_draft();
            if sequence.feed.len() < n {
                continue;
            }
            let youngest = self.running.len() - 1;
            if youngest == 0 {
                self.finish(at, FinishReason::Context, events);
            } else {
                self.preempt(youngest);
            }
        }
    }

    /// The youngest sequence gives up its pages and waits, before all others.
    fn preempt(&mut self, at: usize) {
        let mut sequence = self.running.remove(at);
        self.keep_prefix(&sequence);
        self.pool.truncate(&mut sequence.kv, 0);
        self.stats.preemptions += 1;
        self.waiting.push_front(sequence);
    }

    /// Keys that were rotated for a length are of no use to sequences of another.
    fn shares_prefixes(&self) -> bool {
        self.options.prefix_cache && !self.model.rope.depends_on_length()
    }

    /// Keeps the whole pages of a sequence for those that begin alike.
    fn keep_prefix(&mut self, sequence: &Sequence) {
        if self.shares_prefixes() {
            let seen = &sequence.tokens[..sequence.kv.len()];
            self.prefix.insert(seen, sequence.kv.pages(), &mut self.pool);
        }
    }

    pub(super) fn finish(&mut self, at: usize, reason: FinishReason, events: &mut Vec<Event>) {
        let mut sequence = self.running.remove(at);
        self.keep_prefix(&sequence);
        self.pool.truncate(&mut sequence.kv, 0);
        events.push(Event::Finished { request: sequence.id, reason, usage: sequence.usage() });
    }

    fn fail(&mut self, at: usize, error: ModelError, events: &mut Vec<Event>) {
        let mut sequence = self.running.remove(at);
        self.pool.truncate(&mut sequence.kv, 0);
        events.push(Event::Failed { request: sequence.id, error });
    }

    /// One pass of some sequences, which have room, and the choice of their tokens.
    fn run_group(&mut self, ids: &[RequestId], pass: Pass, events: &mut Vec<Event>) {
        // A younger sequence may have been preempted after it was taken into the group.
        let members: Vec<usize> = ids.iter().filter_map(|&id| self.position(id)).collect();
        if members.is_empty() {
            return;
        }
        let mut sequences: Vec<&mut Sequence> =
            self.running.iter_mut().filter(|sequence| ids.contains(&sequence.id)).collect();
        let Engine { model, pool, work, logits, .. } = self;
        match logits_into(model, (pool, work), &mut sequences, pass, logits) {
            Ok(()) => self.choose(ids, events),
            Err(error) if members.len() == 1 => self.fail(members[0], error, events),
            // The pass changed nothing: each alone shows whose it was.
            Err(_) => ids.iter().for_each(|id| self.run_group(&[*id], pass, events)),
        }
    }

    /// Gives every sequence its rows of the logits, and ends those that are done.
    fn choose(&mut self, ids: &[RequestId], events: &mut Vec<Event>) {
        let vocab_size = self.model.config().vocab_size;
        let mut logits = std::mem::take(&mut self.logits);
        let mut rest = logits.as_mut_slice();
        for &id in ids {
            let Some(at) = self.position(id) else { continue };
            let sequence = &mut self.running[at];
            let had_prompt = sequence.tokens.len() > sequence.prompt_len;
            let rows = sequence.choices;
            let own = rest.split_off_mut(..rows * vocab_size).unwrap_or_default();
            let reason = match rows {
                0 => Ok(None),
                _ => sequence.choose(&self.model, &mut self.pool, own, &mut self.stats, events),
            };
            match reason {
                Err(error) => self.fail(at, error, events),
                Ok(Some(reason)) => self.finish(at, reason, events),
                Ok(None) if !had_prompt && !self.running[at].is_in_prompt() => self.keep_prompt(at),
                Ok(None) => {}
            }
        }
        self.logits = logits;
    }

    /// Lets others begin like a prompt that has just been seen.
    fn keep_prompt(&mut self, at: usize) {
        if self.shares_prefixes() {
            let sequence = &self.running[at];
            let pages = sequence.prompt_len / KvPool::PAGE;
            let (tokens, pages) = (&sequence.tokens[..pages * KvPool::PAGE], &sequence.kv.pages()[..pages]);
            self.prefix.insert(tokens, pages, &mut self.pool);
        }
    }
}

/// Logits of all rows that choose tokens, in the order of the sequences, which stay as they were when there is an error.
fn logits_into(
    model: &Model,
    (pool, work): (&mut KvPool, &mut Workspace),
    sequences: &mut [&mut Sequence],
    pass: Pass,
    logits: &mut Vec<f32>,
) -> Result<(), ModelError> {
    let (hidden_size, vocab_size) = (model.config().hidden_size, model.config().vocab_size);
    let mut segments: Vec<Segment<'_>> = sequences
        .iter_mut()
        .map(|sequence| {
            let (tokens, len) = (&sequence.feed, sequence.rotated_for);
            Segment { tokens, sequence: &mut sequence.kv, len }
        })
        .collect();
    model.run(Batch { pool, segments: &mut segments, pass, gate: None }, work)?;
    let Workspace { x, activations, .. } = work;
    let (mut chosen, mut at) = (0, 0);
    for sequence in &*sequences {
        at += sequence.feed.len();
        x.copy_within((at - sequence.choices) * hidden_size..at * hidden_size, chosen * hidden_size);
        chosen += sequence.choices;
    }
    logits.resize(chosen * vocab_size, 0.0);
    let result = model.project_into(&x[..chosen * hidden_size], chosen, logits, activations);
    if result.is_err() {
        for sequence in sequences {
            let before = sequence.kv.len() - sequence.feed.len();
            pool.truncate(&mut sequence.kv, before);
        }
    }
    result
}
