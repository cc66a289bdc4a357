//! The model and its forward pass.

use parsimon_attn::{Attention, KvCache};

use crate::batch::{Batch, Segment};
use crate::block::{Block, rms_norm};
use crate::embedding::Embedding;
use crate::rope::RopePhase;
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
}

/// The keys and values of one sequence, in every layer.
#[derive(Clone, Debug)]
pub struct KvState {
    layers: Vec<KvCache>,
    /// The tokens of all positions, where the rotation depends on their number; else empty.
    tokens: Vec<u32>,
    /// What the keys were rotated with.
    phase: RopePhase,
}

impl KvState {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KvCache::len)
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the keys and values held.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(KvCache::bytes).sum()
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut KvCache {
        &mut self.layers[layer]
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
        self.tokens.truncate(len);
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
        let cache = KvCache::new(self.config.heads, self.config.head_dim, self.config.head_dim);
        KvState { layers: vec![cache; self.config.num_layers], tokens: Vec::new(), phase: RopePhase::default() }
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
        let hidden = self.hidden(tokens, state)?;
        self.project(&hidden, tokens.len())
    }

    /// Logits `[vocab]` after the last of `tokens`; the output layer runs for that position alone.
    ///
    /// # Errors
    ///
    /// As [`Model::logits`]; [`ModelError::EmptyPrompt`] without tokens.
    pub fn last_logits(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let hidden = self.hidden(tokens, state)?;
        self.project(&hidden[hidden.len() - self.config.hidden_size..], 1)
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
        let hidden = self.hidden(tokens, &mut self.new_state())?;
        let mut sums = vec![0.0f64; self.config.hidden_size];
        for row in hidden.chunks_exact(self.config.hidden_size) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let norm = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
        Ok(sums.iter().map(|x| if norm > 0.0 { (x / norm) as f32 } else { 0.0 }).collect())
    }

    /// The normalized output of the last block, `[n, hidden]`.
    fn hidden(&self, tokens: &[u32], state: &mut KvState) -> Result<Vec<f32>, ModelError> {
        self.check_tokens(tokens, state.len())?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        self.run(Batch { segments: vec![Segment { tokens, state }] })
    }

    /// The normalized output of the last block for the tokens of all segments, `[n, hidden]`; no segment is empty, and all tokens are checked.
    ///
    /// Where the rotation depends on the length of a sequence and this pass changes it, the sequence is computed again from its first token.
    pub(crate) fn run(&self, batch: Batch<'_>) -> Result<Vec<f32>, ModelError> {
        if !self.rope.depends_on_length() {
            return self.forward(batch);
        }
        let mut segments = batch.segments;
        // What a segment runs: its tokens, after all before them where those are stale.
        let runs: Vec<Vec<u32>> = segments.iter_mut().map(|segment| self.renew(segment)).collect();
        let parts =
            segments.iter_mut().zip(&runs).map(|(segment, tokens)| Segment { tokens, state: &mut *segment.state });
        let hidden = self.forward(Batch { segments: parts.collect() })?;
        let (mut rest, mut wanted) = (&*hidden, Vec::new());
        for (segment, run) in segments.iter_mut().zip(&runs) {
            let (rows, others) = rest.split_at(run.len() * self.config.hidden_size);
            wanted.extend(&rows[(run.len() - segment.tokens.len()) * self.config.hidden_size..]);
            segment.state.tokens.extend(segment.tokens);
            rest = others;
        }
        Ok(wanted)
    }

    /// The tokens to run for a segment; empties the cache where its keys are of another phase.
    fn renew(&self, segment: &mut Segment<'_>) -> Vec<u32> {
        let state = &mut *segment.state;
        let phase = self.rope.phase(state.len() + segment.tokens.len());
        let mut run = Vec::new();
        if phase != state.phase {
            run.clone_from(&state.tokens);
            state.layers.iter_mut().for_each(|layer| layer.truncate(0));
            state.phase = phase;
        }
        run.extend(segment.tokens);
        run
    }

    fn forward(&self, mut batch: Batch<'_>) -> Result<Vec<f32>, ModelError> {
        let mut x = Vec::new();
        for &token in batch.segments.iter().flat_map(|segment| segment.tokens) {
            self.embed.push_row(token as usize, &mut x);
        }
        if let Some(scale) = self.config.block.embed_scale {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        let angles = batch.angles(&self.rope);
        let mut buffers = Vec::new();
        for (layer, (block, attention)) in self.blocks.iter().zip(&self.attention).enumerate() {
            let shared = (&self.config, attention);
            block.forward(shared, &angles, (&mut batch, layer), &mut x, &mut buffers)?;
        }
        Ok(rms_norm(&x, &self.norm, self.config.rms_norm_eps))
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

    /// Logits `[n, vocab]` of normalized outputs.
    pub(crate) fn project(&self, hidden: &[f32], n: usize) -> Result<Vec<f32>, ModelError> {
        let mut logits = match &self.lm_head {
            _ if n == 0 => Vec::new(),
            Some(linear) => linear.apply(&mut Activations::new(hidden, n))?,
            None => self.embed.project(hidden, n),
        };
        if let Some(cap) = self.config.block.logit_soft_cap {
            logits.iter_mut().for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        Ok(logits)
    }

    fn output_bytes(&self) -> usize {
        self.lm_head.as_ref().map_or_else(|| self.embed.bytes(), Linear::bytes)
    }
}

#[cfg(test)]
mod tests;
