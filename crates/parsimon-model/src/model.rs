//! The model and its forward pass.

use std::sync::Arc;

use parsimon_attn::gate::Recall;
use parsimon_attn::{Attention, KvDtype, KvPool, KvSequence};

use crate::batch::{Batch, Gate, Lesson, Pass, Segment};
use crate::block::{Block, norm_rows};
use crate::embedding::Embedding;
use crate::gates::{GatePass, GateState, Gating};
use crate::linear::ActivationBuffers;
use crate::rope::RopePhase;
use crate::workspace::Workspace;
use crate::{Activations, Linear, ModelConfig, ModelError, PackCacheReport, RopeFrequencies};

/// A model ready to run.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) embed: Embedding,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Vec<f32>,
    /// `None` when the embedding table is the output layer.
    pub(crate) lm_head: Option<Linear>,
    /// One a layer: windows differ.
    pub(crate) attention: Vec<Attention>,
    pub(crate) rope: RopeFrequencies,
    pub(crate) pack_cache: Option<PackCacheReport>,
    pub(crate) gating: Option<Arc<Gating>>,
}

/// The keys and values of one sequence, in every layer: a pool of its own that grows.
#[derive(Clone, Debug)]
pub struct KvState {
    pub(crate) pool: KvPool,
    pub(crate) sequence: KvSequence,
    /// The tokens of all positions, where the rotation depends on their number; else empty.
    tokens: Vec<u32>,
    /// What the keys were rotated with.
    phase: RopePhase,
    work: Workspace,
    gates: GateState,
}

impl KvState {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    /// Bytes of the keys and values held.
    pub fn bytes(&self) -> usize {
        self.len() * self.pool.shape().position_bytes()
    }

    /// Takes note of tokens that were run.
    fn note(&mut self, tokens: &[u32], phase: RopePhase, keep: bool) {
        self.phase = phase;
        if keep {
            self.tokens.extend(tokens);
        }
    }

    /// Forgets all positions from `len` on. A gated sequence can only be forgotten whole; cut, it gives [`GateError::Positions`](crate::GateError) when it goes on.
    pub fn truncate(&mut self, len: usize) {
        self.pool.truncate(&mut self.sequence, len);
        self.tokens.truncate(len);
        if len == 0 {
            self.gates.clear();
        }
    }

    /// Compares the blocks that gates choose for prompts with the oracle from now on, which costs attention to everything.
    pub(crate) fn measure_recall(&mut self) {
        self.gates.measure_recall();
    }

    /// The mean of what was compared.
    pub(crate) fn recall(&self) -> Option<Recall> {
        self.gates.recall()
    }

    /// Of the blocks that gated passes could have attended to, the share that they did; `None` before the first.
    pub fn density(&self) -> Option<f64> {
        self.gates.density()
    }
}

impl Model {
    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How many layers came from the folder of packed weights when the model was opened; `None` without one.
    pub fn pack_cache(&self) -> Option<PackCacheReport> {
        self.pack_cache
    }

    /// An empty cache for a new sequence.
    pub fn new_state(&self) -> KvState {
        KvState {
            pool: KvPool::new(self.config.kv_shape(KvDtype::F32), None),
            sequence: KvSequence::default(),
            tokens: Vec::new(),
            phase: RopePhase::default(),
            work: Workspace::default(),
            gates: GateState::default(),
        }
    }

    /// Every linear layer inside the blocks.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(Block::linears)
    }

    /// Bytes of weights that decoding one token reads: all linear layers and the output layer.
    pub fn bytes_per_token(&self) -> usize {
        self.linears().map(Linear::bytes).sum::<usize>() + self.output_bytes()
    }

    /// Logits `[n, vocab]` of `tokens`, which continue the sequence in `state`.
    ///
    /// # Errors
    ///
    /// [`ModelError::TokenOutOfRange`] and [`ModelError::ContextFull`] before anything changes; [`ModelError::Activation`] when a
    /// low-bit layer meets a number that is not finite.
    pub fn logits(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        let (hidden, buffers) = self.hidden(tokens, state)?;
        let n = tokens.len();
        let mut logits = vec![0.0; n * self.config.vocab_size];
        self.project_into(hidden, n, &mut logits, buffers)?;
        Ok(logits)
    }

    /// Logits `[vocab]` after the last of `tokens`; the output layer runs for that position alone.
    ///
    /// # Errors
    ///
    /// As [`Model::logits`]; [`ModelError::EmptyPrompt`] without tokens.
    pub fn last_logits(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        let mut logits = vec![0.0; self.config.vocab_size];
        self.last_logits_into(tokens, state, &mut logits)?;
        Ok(logits)
    }

    /// As [`Model::last_logits`], into the caller's buffer. A token after others allocates nothing, but a page of keys and values when
    /// the last one is full; the buffers are kept in `state`.
    ///
    /// # Errors
    ///
    /// As [`Model::last_logits`].
    ///
    /// # Panics
    ///
    /// When `logits.len() != vocab_size`.
    pub fn last_logits_into(&self, tokens: &[u32], state: &mut KvState, logits: &mut [f32]) -> Result<(), ModelError> {
        assert_eq!(logits.len(), self.config.vocab_size, "the logits must be [vocab]");
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let (hidden, buffers) = self.hidden(tokens, state)?;
        self.project_into(&hidden[hidden.len() - self.config.hidden_size..], 1, logits, buffers)
    }

    /// The embedding of a text: the mean of the normalized outputs of the last block over all positions, scaled to length 1.
    ///
    /// # Errors
    ///
    /// As [`Model::last_logits`].
    pub fn embed_text(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let mut state = self.new_state();
        let (hidden, _) = self.hidden(tokens, &mut state)?;
        let mut sums = vec![0.0f64; self.config.hidden_size];
        for row in hidden.chunks_exact(self.config.hidden_size) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let norm = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
        Ok(sums.iter().map(|x| if norm > 0.0 { (x / norm) as f32 } else { 0.0 }).collect())
    }

    /// The normalized output of the last block, `[n, hidden]`, and the buffers for what comes after it.
    fn hidden<'s>(
        &self,
        tokens: &[u32],
        state: &'s mut KvState,
    ) -> Result<(&'s [f32], &'s mut ActivationBuffers), ModelError> {
        self.check_tokens(tokens, state.len())?;
        let held = state.len();
        let phase = self.rope.phase(held + tokens.len());
        let first = if tokens.is_empty() {
            state.work.restart(self.config.hidden_size);
            0
        } else if held > 0 && phase != state.phase {
            self.renew(tokens, state)?;
            held
        } else {
            let KvState { pool, sequence, work, gates, .. } = state;
            let segments = &mut [Segment { tokens, sequence, len: held + tokens.len() }];
            let gate = self.gating().map(|gating| Gate::Select(GatePass { gating, state: gates }));
            self.run(Batch { pool, segments, pass: Pass::Fast, gate }, work)?;
            state.note(tokens, phase, self.rope.depends_on_length());
            0
        };
        let Workspace { x, activations, .. } = &mut state.work;
        Ok((&x[first * self.config.hidden_size..], activations))
    }

    /// Runs all tokens again, where the keys of `state` were rotated with a table that does not hold any more.
    fn renew(&self, tokens: &[u32], state: &mut KvState) -> Result<(), ModelError> {
        let all = [&*state.tokens, tokens].concat();
        let mut sequence = KvSequence::default();
        let segments = &mut [Segment { tokens: &all, sequence: &mut sequence, len: all.len() }];
        state.gates.clear();
        let gate = self.gating().map(|gating| Gate::Select(GatePass { gating, state: &mut state.gates }));
        let result = self.run(Batch { pool: &mut state.pool, segments, pass: Pass::Fast, gate }, &mut state.work);
        if result.is_ok() {
            std::mem::swap(&mut state.sequence, &mut sequence);
            state.note(tokens, self.rope.phase(all.len()), true);
        }
        state.pool.truncate(&mut sequence, 0);
        result
    }

    /// A pass that teaches gates: the residual stream of all layers, with a lesson in each.
    pub(crate) fn teach<'a>(
        &self,
        (pool, segments): (&'a mut KvPool, &'a mut [Segment<'a>]),
        lesson: Lesson<'a>,
    ) -> Result<(), ModelError> {
        let gate = Some(Gate::Teach { lesson, q: Vec::new(), k: Vec::new() });
        self.run(Batch { pool, segments, pass: Pass::Fast, gate }, &mut Workspace::default())
    }

    /// Whether the keys of a sequence of `held` tokens are of no use when it grows to `len`, because another rotary table holds then: the
    /// sequence has to be run again from its first token. Prefixes of such models cannot be shared either.
    pub fn is_stale(&self, held: usize, len: usize) -> bool {
        held > 0 && self.rope.phase(held) != self.rope.phase(len)
    }

    /// Leaves the normalized output of the last block in the stream of `work`, `[n, hidden]` for the tokens of all segments; no segment is empty,
    /// and all tokens are checked.
    ///
    /// The sequences grow by the tokens, or stay as they are when there is an error.
    pub(crate) fn run(&self, mut batch: Batch<'_, '_>, work: &mut Workspace) -> Result<(), ModelError> {
        self.stream(&mut batch, work)?;
        norm_rows(&mut work.x, &self.norm, self.config.rms_norm_eps);
        work.finish_pass(batch.n());
        Ok(())
    }

    /// The residual stream behind the last block.
    fn stream(&self, batch: &mut Batch<'_, '_>, work: &mut Workspace) -> Result<(), ModelError> {
        batch.reserve()?;
        let x = work.restart(self.config.hidden_size);
        for &token in batch.segments.iter().flat_map(|segment| segment.tokens) {
            self.embed.push_row(token as usize, x);
        }
        if let Some(scale) = self.config.block.embed_scale {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        batch.angles_into(&self.rope, &mut work.angles);
        for (layer, (block, attention)) in self.blocks.iter().zip(&self.attention).enumerate() {
            block.forward((&self.config, attention), (batch, layer), work)?;
        }
        batch.advance();
        Ok(())
    }

    /// Whether `tokens` may stand from position `start` on.
    pub(crate) fn check_tokens(&self, tokens: &[u32], start: usize) -> Result<(), ModelError> {
        let vocab_size = self.config.vocab_size;
        if let Some(i) = tokens.iter().position(|&token| token as usize >= vocab_size) {
            return Err(ModelError::TokenOutOfRange { token: tokens[i], position: start + i, vocab_size });
        }
        let (needed, limit) = (start + tokens.len(), self.config.context_length());
        if needed > limit {
            return Err(ModelError::ContextFull { needed, limit });
        }
        Ok(())
    }

    /// Writes the logits `[n, vocab]` of normalized outputs.
    pub(crate) fn project_into(
        &self,
        hidden: &[f32],
        n: usize,
        logits: &mut [f32],
        buffers: &mut ActivationBuffers,
    ) -> Result<(), ModelError> {
        match &self.lm_head {
            _ if n == 0 => {}
            Some(linear) => {
                let mut inputs = Activations::new(hidden, n).reusing(buffers);
                linear.apply_into(&mut inputs, logits)?;
                inputs.finish(buffers);
            }
            None => self.embed.project_into(hidden, n, logits),
        }
        if let Some(cap) = self.config.block.logit_soft_cap {
            logits.iter_mut().for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        Ok(())
    }

    fn output_bytes(&self) -> usize {
        self.lm_head.as_ref().map_or_else(|| self.embed.bytes(), Linear::bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests;
