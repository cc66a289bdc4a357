//! Gated attention: the gates of a model's layers, and how a pass uses them.
//!
//! A prefill gate chooses blocks for prompts, whose tokens run in one pass; single tokens attend to everything. A decode gate chooses blocks for single
//! tokens, and prompts attend to everything.

mod error;
mod folder;
mod train;

use std::sync::Arc;

use parsimon_attn::gate::{
    Baseline, DecodeGate, DecodeOptions, GateKeys, KCompression, PrefillGate, Recall, Rule, Selected, Selection,
    oracle_recall,
};
use parsimon_attn::{
    Attention, BlockList, BlockShape, Grid, HeadMap, KvView, PrefillOptions, Teacher, TopValues, Workspace,
};

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
    /// Blocks for prompts, chosen without a gate; for comparison.
    Baseline {
        /// How blocks are scored.
        baseline: Baseline,
        /// Positions of a block.
        block: usize,
        /// How they are selected.
        selection: Selection,
    },
    /// Single tokens load the values of the largest probabilities alone (PAPER(sigma Appendix B.2)).
    TopValues(TopValues),
}

impl Gating {
    /// The layers that have a gate; `None` where none is needed.
    pub fn layers(&self) -> Option<usize> {
        match self {
            Gating::Prefill { gates, .. } => Some(gates.len()),
            Gating::Decode { gates, .. } => Some(gates.len()),
            Gating::Baseline { .. } | Gating::TopValues(_) => None,
        }
    }

    /// The same gates with another rule.
    #[must_use]
    pub fn with_rule(mut self, new: Rule) -> Self {
        match &mut self {
            Gating::Prefill { selection, .. } | Gating::Baseline { selection, .. } => selection.rule = new,
            Gating::TopValues(_) => {}
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
        let expected = self.config().num_layers;
        if let Some(actual) = gating.layers().filter(|&actual| actual != expected) {
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
    /// Where lists are compared with the oracle.
    recall: Option<RecallSum>,
}

/// The sum of the recalls of some lists.
#[derive(Clone, Copy, Default, Debug)]
struct RecallSum {
    blocks: f64,
    mass: f64,
    lists: u32,
}

impl GateState {
    /// Listed blocks over visible ones of all gated passes; `None` before the first.
    pub(crate) fn density(&self) -> Option<f64> {
        (self.visible > 0).then(|| self.listed as f64 / self.visible as f64)
    }

    /// Compares every list of a prompt with the oracle from now on, which costs attention to everything.
    pub(crate) fn measure_recall(&mut self) {
        self.recall = Some(RecallSum::default());
    }

    /// The mean over the lists that were compared.
    pub(crate) fn recall(&self) -> Option<Recall> {
        let RecallSum { blocks, mass, lists } = self.recall.filter(|sum| sum.lists > 0)?;
        Some(Recall { blocks: blocks / f64::from(lists), mass: mass / f64::from(lists) })
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
            Gating::Baseline { .. } | Gating::TopValues(_) => Ok(None),
        }
    }

    /// The blocks that a baseline chooses for a prompt, from what is rotated.
    pub(crate) fn select_rotated(
        &mut self,
        heads: HeadMap,
        q: &[f32],
        kv: KvView<'_>,
    ) -> Result<Option<BlockList>, ModelError> {
        let Gating::Baseline { baseline, block, selection } = self.gating else { return Ok(None) };
        let t_q = q.len() / (heads.n_q() * kv.dims().0);
        if t_q == 1 {
            return Ok(None);
        }
        let shape = prefill_shape(*block, (kv.len() - t_q, t_q))?;
        let scores = baseline.scores(heads, q, kv, shape)?;
        let blocks = selection.select(&scores, shape, heads.n_q())?.blocks;
        self.state.count(&blocks, &shape);
        Ok(Some(blocks))
    }
}

impl GatePass<'_> {
    /// Compares the blocks of a prompt with those that attention to everything gives most, where that is asked for.
    pub(crate) fn compare(
        &mut self,
        attention: &Attention,
        (q, kv): (&[f32], KvView<'_>),
        blocks: &BlockList,
    ) -> Result<(), ModelError> {
        let block = match self.gating {
            Gating::Prefill { gates, .. } => gates[0].shape().block,
            Gating::Baseline { block, .. } => *block,
            Gating::Decode { .. } | Gating::TopValues(_) => return Ok(()),
        };
        let Some(sum) = &mut self.state.recall else { return Ok(()) };
        let config = attention.config();
        let n_q = config.heads.n_q();
        let t_q = q.len() / (n_q * config.d_qk);
        let shape = prefill_shape(block, (kv.len() - t_q, t_q))?;
        let (rows, cols) = shape.blocks();
        let (mut map, mut out) = (vec![0.0; n_q * rows * cols], vec![0.0; t_q * n_q * config.d_v]);
        let teacher = Teacher { shape, map_2d: Some(&mut map), map_1d: None };
        let options = PrefillOptions { teacher: Some(teacher), ..PrefillOptions::default() };
        attention.prefill_into(q, kv, options, (&mut out, None), &mut Workspace::default())?;
        let recall = oracle_recall(blocks, &map, cols);
        sum.blocks += recall.blocks;
        sum.mass += recall.mass;
        sum.lists += 1;
        Ok(())
    }
}

/// The blocks of `n` queries that follow `held` positions.
fn prefill_shape(block: usize, (held, n): (usize, usize)) -> Result<BlockShape, ModelError> {
    let grid = |phase: usize| Grid::try_new(block as u32, phase as u32);
    Ok(BlockShape { q: grid(held % block)?, k: grid(0)?, t_q: n, t_k: held + n })
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
    let shape = prefill_shape(block, (held, n))?;
    let (_, q_gate) = gate.queries(q, held);
    let mut values = gate.logits(&q_gate, keys.gated(), held / block);
    if !selection.rule.reads_logits() {
        parsimon_attn::gate::softmax_rows(&mut values, shape.blocks().1);
    }
    Ok((selection.select(&values, shape, gate.shape().heads.n_q())?, shape))
}
