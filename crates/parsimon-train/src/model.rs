//! The language model on burn: weights, forward pass, loss.

mod folder;
mod init;
mod layout;

use std::path::Path;
use std::sync::Arc;

use burn::backend::{Autodiff, AutodiffBackend, Flex};
use parsimon_model::ModelConfig;

use self::layout::Layout;
use crate::ops::{
    AttentionShape, Plain, RopeTable, Tracked, attention, cross_entropy, dims, embedding, linear, linear_add, rms_norm,
    slice, swiglu, untracked,
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

    /// Reads a model folder: `config.json`, and F32, F16 or BF16 weights under the names of specs/attention.md §4.1.
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
        let rope = Arc::new(RopeTable::new(&self.config, tokens.len()));
        let graph = self.graph(false);
        let hidden = self.hidden(&graph, &tokens.into(), tokens.len(), rope);
        let logits = linear(hidden, &graph[self.layout.output()]);
        slice(logits.primitive()).to_vec()
    }

    /// Mean cross-entropy in nats of a batch of sequences of `context` tokens, without gradients.
    ///
    /// # Panics
    ///
    /// As [`LmModel::logits`].
    pub fn loss(&self, batch: &Batch, context: usize) -> f32 {
        let rope = Arc::new(RopeTable::new(&self.config, context));
        let loss = self.loss_of(&self.graph(false), batch, context, rope);
        slice(loss.primitive())[0]
    }

    /// Loss and gradients, which are in the order of [`LmModel::weights_mut`].
    pub(crate) fn gradients(&self, batch: &Batch, context: usize, rope: Arc<RopeTable>) -> (f32, Vec<Plain>) {
        let graph = self.graph(true);
        let loss = self.loss_of(&graph, batch, context, rope);
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

    fn loss_of(&self, graph: &[Tracked], batch: &Batch, context: usize, rope: Arc<RopeTable>) -> Tracked {
        let hidden = self.hidden(graph, &batch.inputs, context, rope);
        cross_entropy(hidden, &graph[self.layout.output()], &batch.targets)
    }

    /// The rows that the output layer reads: `[n, hidden]`.
    fn hidden(&self, graph: &[Tracked], tokens: &Arc<[u32]>, context: usize, rope: Arc<RopeTable>) -> Tracked {
        let config = &self.config;
        let shape = AttentionShape { heads: config.heads, head_dim: config.head_dim, context, rope };
        let eps = config.rms_norm_eps;
        let mut x = embedding(&graph[Layout::EMBED], tokens);
        for layer in self.layout.layers() {
            let normed = rms_norm(&x, &graph[layer.input_norm], eps);
            let kv = linear(normed.clone(), &graph[layer.kv]);
            let mut q = linear(normed, &graph[layer.q]);
            if let Some(augmented) = layer.augmented_q {
                q = linear(swiglu(linear(q, &graph[augmented.gate_up])), &graph[augmented.down]);
            }
            x = linear_add(x, attention(&shape, q, kv), &graph[layer.o]);
            let normed = rms_norm(&x, &graph[layer.post_norm], eps);
            x = linear_add(x, swiglu(linear(normed, &graph[layer.gate_up])), &graph[layer.down]);
        }
        rms_norm(&x, &graph[self.layout.final_norm()], eps)
    }
}

#[cfg(test)]
mod tests;
