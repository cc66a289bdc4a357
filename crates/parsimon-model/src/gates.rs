//! Gated attention: the gates of a model's layers, and how a pass uses them.
//!
//! A prefill gate chooses blocks for prompts, whose tokens run in one pass; single tokens attend to everything. A decode gate chooses blocks for single
//! tokens, and prompts attend to everything.

mod error;
mod folder;
mod train;

use std::sync::Arc;

use parsimon_attn::gate::{DecodeGate, DecodeOptions, GateKeys, KCompression, PrefillGate, Rule, Selected, Selection};
use parsimon_attn::{BlockList, BlockShape, Grid};

pub use error::GateError;
pub use train::{GateForm, GateTrainOptions, GateTrainReport, train_gates};

use crate::{Model, ModelError};

/// The gates of all layers, and how they select.
#[derive(Clone, PartialEq, Debug)]
pub enum Gating {
    /// Blocks for prompts.
    Prefill {
        /// One a layer.
        gates: Vec<PrefillGate<f32>>,
        /// How they select.
        selection: Selection,
    },
    /// Blocks for single tokens.
    Decode {
        /// One a layer.
        gates: Vec<DecodeGate<f32>>,
        /// How they select.
        options: DecodeOptions,
        /// Layers before this one attend to everything.
        start_layer: usize,
    },
}

impl Gating {
    /// The layers that have a gate.
    pub fn layers(&self) -> usize {
        match self {
            Gating::Prefill { gates, .. } => gates.len(),
            Gating::Decode { gates, .. } => gates.len(),
        }
    }

    /// The same gates with another rule.
    #[must_use]
    pub fn with_rule(mut self, new: Rule) -> Self {
        match &mut self {
            Gating::Prefill { selection, .. } => selection.rule = new,
            Gating::Decode { options, .. } => options.rule = new,
        }
        self
    }
}

impl Model {
    /// The same model with gated attention, for sequences of [`Model::new_state`].
    ///
    /// # Errors
    ///
    /// [`GateError::Layers`] when there is not a gate for every layer.
    pub fn with_gating(mut self, gating: Gating) -> Result<Self, ModelError> {
        let (expected, actual) = (self.config().num_layers, gating.layers());
        if expected != actual {
            return Err(GateError::Layers { expected, actual }.into());
        }
        self.gating = Some(Arc::new(gating));
        Ok(self)
    }

    /// How attention is gated, if it is.
    pub fn gating(&self) -> Option<&Gating> {
        self.gating.as_deref()
    }
}

/// What gates remember of one sequence.
#[derive(Clone, Default, Debug)]
pub(crate) struct GateState {
    prefill: Vec<GateKeys<f32>>,
    decode: Vec<KCompression<f32>>,
    /// Blocks that were listed, and that could have been.
    listed: u64,
    visible: u64,
}

impl GateState {
    /// Listed blocks over visible ones of all gated passes; `None` before the first.
    pub(crate) fn density(&self) -> Option<f64> {
        (self.visible > 0).then(|| self.listed as f64 / self.visible as f64)
    }

    pub(crate) fn clear(&mut self) {
        *self = GateState::default();
    }

    fn count(&mut self, blocks: &BlockList, shape: &BlockShape) {
        let visible: usize = (0..blocks.rows()).map(|row| shape.causal_blocks(row)).sum();
        self.listed += blocks.as_csr().1.len() as u64;
        self.visible += (visible * blocks.heads()) as u64;
    }
}

/// The gates of a pass over one sequence.
#[derive(Debug)]
pub(crate) struct GatePass<'a> {
    pub(crate) gating: &'a Gating,
    pub(crate) state: &'a mut GateState,
}

impl GatePass<'_> {
    /// The blocks that the queries of `layer` see, which continue a sequence of `held` positions; `None` for all. Queries and keys are those before rotation.
    pub(crate) fn select(
        &mut self,
        layer: usize,
        held: usize,
        q: &[f32],
        k: &[f32],
    ) -> Result<Option<BlockList>, ModelError> {
        match self.gating {
            Gating::Prefill { gates, selection } => {
                self.state.prefill.resize_with(gates.len(), GateKeys::default);
                let gate = &gates[layer];
                check_held(self.state.prefill[layer].len(), held)?;
                self.state.prefill[layer].extend(gate, k);
                let n = self.state.prefill[layer].len() - held;
                if n == 1 {
                    return Ok(None);
                }
                let (blocks, shape) = select_prefill(gate, selection, &self.state.prefill[layer], (held, n), q)?;
                self.state.count(&blocks.blocks, &shape);
                Ok(Some(blocks.blocks))
            }
            Gating::Decode { gates, options, start_layer } => {
                self.state.decode.resize_with(gates.len(), KCompression::default);
                let gate = &gates[layer];
                let keys = &mut self.state.decode[layer];
                check_held(keys.len(), held)?;
                let n = k.len() / (gate.shape().heads.n_k() * gate.shape().d);
                if n > 1 || held == 0 {
                    keys.extend(gate, k);
                    return Ok(None);
                }
                keys.push(gate, options.k_block_pos, k);
                if layer < *start_layer {
                    return Ok(None);
                }
                let blocks = keys.select(gate, options, q)?.blocks;
                let grid = |size| Grid::try_new(size, 0);
                let shape = BlockShape { q: grid(1)?, k: grid(gate.shape().block as u32)?, t_q: 1, t_k: held + 1 };
                self.state.count(&blocks, &shape);
                Ok(Some(blocks))
            }
        }
    }
}

/// Gates have seen the positions that the cache holds.
fn check_held(seen: usize, held: usize) -> Result<(), ModelError> {
    if seen == held { Ok(()) } else { Err(GateError::Positions { seen, held }.into()) }
}

fn select_prefill(
    gate: &PrefillGate<f32>,
    selection: &Selection,
    keys: &GateKeys<f32>,
    (held, n): (usize, usize),
    q: &[f32],
) -> Result<(Selected, BlockShape), ModelError> {
    let block = gate.shape().block;
    let grid = |phase: usize| Grid::try_new(block as u32, phase as u32);
    let shape = BlockShape { q: grid(held % block)?, k: grid(0)?, t_q: n, t_k: held + n };
    let (_, q_gate) = gate.queries(q, held);
    let mut values = gate.logits(&q_gate, keys.gated(), held / block);
    if !selection.rule.reads_logits() {
        parsimon_attn::gate::softmax_rows(&mut values, shape.blocks().1);
    }
    Ok((selection.select(&values, shape, gate.shape().heads.n_q())?, shape))
}
