//! The language model on burn: weights, forward pass, loss.

mod folder;
mod init;
mod layout;

use std::path::Path;
use std::sync::Arc;

use burn::backend::{Autodiff, AutodiffBackend, Flex};
use parsimon_model::ModelConfig;

use self::layout::Layout;
use crate::kernel::Threads;
use crate::ops::{
    AttentionShape, Plain, RopeTable, Tape, Tracked, attention, cross_entropy, dims, embedding, linear, linear_add,
    rms_norm, slice, swiglu, untracked,
};
use crate::{Batch, TrainError};

/// A Sigma or Llama language model whose weights burn tensors hold.
///
/// Projections that read the same input are stored as one matrix (keys and values, gate and up); files hold them apart, under
/// Hugging Face's names.
#[derive(Clone, Debug)]
pub struct LmModel {
    config: ModelConfig,
    layout: Layout,
    /// In the layout's order.
    weights: Vec<Plain>,
}

impl LmModel {
    /// A model with random weights: a seed gives the same weights everywhere.
    ///
    /// Matrices are normal with deviation 0.02, and those that write into the residual stream with `0.02 / sqrt(2 layers)`;
    /// norms are 1.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] when `head_dim` is odd or the model is quantized.
    pub fn random(config: &ModelConfig, seed: u64) -> Result<Self, TrainError> {
        let layout = Layout::try_new(config)?;
        let weights = layout.slots().iter().map(|slot| init::random(slot, config, seed)).collect();
        Ok(LmModel { config: config.clone(), layout, weights })
    }

    /// Reads a model folder: `config.json`, and F32, F16 or BF16 weights under Hugging Face's names.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] and [`TrainError::Format`] with the file and the key or tensor; [`TrainError::Setting`] when
    /// `head_dim` is odd or the model is quantized.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let config = ModelConfig::open(folder)?;
        let layout = Layout::try_new(&config)?;
        let weights = folder::read(folder, &layout)?;
        Ok(LmModel { config, layout, weights })
    }

    /// Writes `config.json` and `model.safetensors` (F32), each beside its name and renamed.
    ///
    /// # Errors
    ///
    /// [`TrainError::Format`] when the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        folder::write(folder, &self.config, &self.layout, &self.weights)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Logits `[n, vocab]` of one sequence of `n` tokens.
    ///
    /// # Panics
    ///
    /// When `tokens` is empty or holds a token outside the vocabulary.
    pub fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let pass = Pass::new(&self.config, tokens.len(), Threads::Pool);
        let graph = self.graph(false);
        let hidden = self.hidden(&pass, &graph, &tokens.into());
        let logits = linear(&pass.tape, hidden, &graph[self.layout.output()]);
        slice(logits.primitive()).to_vec()
    }

    /// Mean cross-entropy in nats of a batch of sequences of `context` tokens, without gradients.
    ///
    /// # Panics
    ///
    /// As [`LmModel::logits`].
    pub fn loss(&self, batch: &Batch, context: usize) -> f32 {
        let pass = Pass::new(&self.config, context, Threads::Pool);
        let loss = self.loss_of(&pass, &self.graph(false), batch, batch.inputs.len());
        slice(loss.primitive())[0]
    }

    /// Loss and gradients of a part of a batch of `total` tokens, the gradients in the order of the weights.
    pub(crate) fn gradients(&self, pass: &Pass, batch: &Batch, total: usize) -> (f32, Vec<Plain>) {
        let graph = self.graph(true);
        let loss = self.loss_of(pass, &graph, batch, total);
        let value = slice(loss.primitive())[0];
        let mut gradients = <Autodiff<Flex> as AutodiffBackend>::backward(loss);
        let gradient = |weight: &Tracked| {
            let gradient = <Autodiff<Flex> as AutodiffBackend>::grad_remove(weight, &mut gradients);
            gradient.expect("the loss depends on every weight")
        };
        (value, graph.iter().map(gradient).collect())
    }

    /// The number of weight tensors.
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether weight decay acts on a tensor: on matrices, not on norms.
    pub(crate) fn decays(&self, idx: usize) -> bool {
        dims(&self.weights[idx])[0] > 1
    }

    /// The name of a tensor, for the state of a run.
    pub(crate) fn name(&self, idx: usize) -> &str {
        &self.layout.slots()[idx].name
    }

    pub(crate) fn weight(&self, idx: usize) -> &[f32] {
        slice(&self.weights[idx])
    }

    pub(crate) fn weight_mut(&mut self, idx: usize) -> &mut [f32] {
        self.weights[idx].storage_mut()
    }

    fn graph(&self, gradients: bool) -> Vec<Tracked> {
        let leaf = |weight: &Plain| {
            let leaf = untracked(weight.clone());
            if gradients { leaf.require_grad() } else { leaf }
        };
        self.weights.iter().map(leaf).collect()
    }

    fn loss_of(&self, pass: &Pass, graph: &[Tracked], batch: &Batch, total: usize) -> Tracked {
        let hidden = self.hidden(pass, graph, &batch.inputs);
        cross_entropy(&pass.tape, hidden, &graph[self.layout.output()], &batch.targets, total)
    }

    /// The rows that the output layer reads: `[n, hidden]`.
    fn hidden(&self, pass: &Pass, graph: &[Tracked], tokens: &Arc<[u32]>) -> Tracked {
        let (tape, eps) = (&pass.tape, self.config.rms_norm_eps);
        let mut x = embedding(tape, &graph[Layout::EMBED], tokens);
        for layer in self.layout.layers() {
            let normed = rms_norm(tape, &x, &graph[layer.input_norm], eps);
            let kv = linear(tape, normed.clone(), &graph[layer.kv]);
            let mut q = linear(tape, normed, &graph[layer.q]);
            if let Some(augmented) = layer.augmented_q {
                let gate_up = linear(tape, q, &graph[augmented.gate_up]);
                q = linear(tape, swiglu(tape, gate_up), &graph[augmented.down]);
            }
            x = linear_add(tape, x, attention(tape, &pass.attention, q, kv), &graph[layer.o]);
            let normed = rms_norm(tape, &x, &graph[layer.post_norm], eps);
            let gate_up = linear(tape, normed, &graph[layer.gate_up]);
            x = linear_add(tape, x, swiglu(tape, gate_up), &graph[layer.down]);
        }
        rms_norm(tape, &x, &graph[self.layout.final_norm()], eps)
    }
}

/// What passes through a model over sequences of one length share.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) tape: Tape,
    attention: AttentionShape,
}

impl Pass {
    pub(crate) fn new(config: &ModelConfig, context: usize, threads: Threads) -> Self {
        let rope = Arc::new(RopeTable::new(config, context));
        let attention = AttentionShape { heads: config.heads, head_dim: config.head_dim, context, rope };
        Pass { tape: Tape::new(threads), attention }
    }
}

#[cfg(test)]
mod tests;
