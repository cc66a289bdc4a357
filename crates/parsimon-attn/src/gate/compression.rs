//! The compressed keys of a decoding sequence, and which blocks a step attends to (PAPER(seerattention -R §3.3)).

use super::{DecodeGate, GateShape, Real, Rule, softmax_rows};
use crate::{AttnError, BlockList, BlockShape, Grid};

/// To which position a block that is completed in decode turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KBlockPos {
    /// Its first token, as in training.
    Start,
    /// The token that completes it, as the released decode code.
    UpstreamDecode,
}

/// What a block that is not whole is to the softmax.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartialBlock {
    /// Not there; it is selected all the same where the last block is forced.
    Excluded,
    /// A logit of 0, as the released decode code.
    ZeroLogit,
}

/// How a step selects.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DecodeOptions {
    /// Which blocks.
    pub rule: Rule,
    /// To which position completed blocks turn.
    pub k_block_pos: KBlockPos,
    /// What the last block is while it is not whole.
    pub partial_block: PartialBlock,
    /// Whether the last block is always selected.
    pub force_last: bool,
    /// Whether the first block is always selected.
    pub force_first: bool,
    /// The last `floor(window / B)` blocks are always selected.
    pub sliding_window: usize,
}

impl DecodeOptions {
    /// As gates are trained.
    pub fn new(rule: Rule) -> Self {
        DecodeOptions {
            rule,
            k_block_pos: KBlockPos::Start,
            partial_block: PartialBlock::Excluded,
            force_last: true,
            force_first: true,
            sliding_window: 0,
        }
    }

    /// As the released decode code.
    pub fn upstream(rule: Rule) -> Self {
        DecodeOptions {
            k_block_pos: KBlockPos::UpstreamDecode,
            partial_block: PartialBlock::ZeroLogit,
            ..DecodeOptions::new(rule)
        }
    }
}

/// Compressed keys of one sequence and layer.
#[derive(Clone, PartialEq, Debug)]
pub struct KCompression<R> {
    /// Gated keys `[blocks, n_k, d_gate]`; the last is 0 while its block is not whole.
    gated: Vec<R>,
    /// Keys `[len mod B, n_k, d]` of the block that is not whole, before rotation.
    tail: Vec<R>,
    len: usize,
}

/// What a step found.
#[derive(Clone, PartialEq, Debug)]
pub struct Compression<R> {
    /// Scores `[n_k, blocks]`.
    pub scores: Vec<R>,
    /// The selected blocks of each key head, a list with one row.
    pub blocks: BlockList,
}

impl<R: Real> Default for KCompression<R> {
    fn default() -> Self {
        KCompression { gated: Vec::new(), tail: Vec::new(), len: 0 }
    }
}

impl<R: Real> KCompression<R> {
    /// Positions seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gated keys `[blocks, n_k, d_gate]`.
    pub fn gated(&self) -> &[R] {
        &self.gated
    }

    /// Adds keys `[t, n_k, d]` of a prompt, before rotation.
    pub fn extend(&mut self, gate: &DecodeGate<R>, k: &[R]) {
        let row = gate.shape().heads.n_k() * gate.shape().d;
        k.chunks_exact(row).for_each(|k| self.push(gate, KBlockPos::Start, k));
    }

    /// Adds one key `[n_k, d]`.
    pub fn push(&mut self, gate: &DecodeGate<R>, k_block_pos: KBlockPos, k: &[R]) {
        let GateShape { heads, d_gate, block, .. } = gate.shape();
        let slot = heads.n_k() * d_gate;
        if self.len.is_multiple_of(block) {
            self.gated.extend(std::iter::repeat_n(R::ZERO, slot));
        }
        self.tail.extend_from_slice(k);
        self.len += 1;
        if self.len.is_multiple_of(block) {
            let position = match k_block_pos {
                KBlockPos::Start => self.len - block,
                KBlockPos::UpstreamDecode => self.len - 1,
            };
            let at = self.gated.len() - slot;
            self.gated[at..].copy_from_slice(&gate.block_keys(&self.tail, position));
            self.tail.clear();
        }
    }

    /// Selects for the query `q [n_q, d]` of the last position, whose key was pushed.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] for a query of another length, [`AttnError::ZeroDim`] while there is no key.
    pub fn select(&self, gate: &DecodeGate<R>, options: &DecodeOptions, q: &[R]) -> Result<Compression<R>, AttnError> {
        let GateShape { heads, d, d_gate, block } = gate.shape();
        crate::kv::check_len("q", heads.n_q() * d, q.len())?;
        if self.len == 0 {
            return Err(AttnError::ZeroDim { what: "keys" });
        }
        let n_blk = self.len.div_ceil(block);
        let is_partial = !self.len.is_multiple_of(block);
        let q_gate = gate.queries(q, self.len - 1);
        let mut scores = Vec::with_capacity(heads.n_k() * n_blk);
        for head in 0..heads.n_k() {
            let start = scores.len();
            scores.extend((0..n_blk).map(|j| match options.partial_block {
                PartialBlock::Excluded if is_partial && j + 1 == n_blk => R::NEG_INFINITY,
                PartialBlock::ZeroLogit if is_partial && j + 1 == n_blk => R::ZERO,
                _ => gate.logit(&q_gate, head, &self.gated[(j * heads.n_k() + head) * d_gate..][..d_gate]),
            }));
            softmax_rows(&mut scores[start..], n_blk);
        }
        let grid = |size: usize| Grid::try_new(size as u32, 0);
        let shape = BlockShape { q: grid(1)?, k: grid(block)?, t_q: 1, t_k: self.len };
        let blocks = BlockList::from_rows(shape, heads.n_k(), |head, _, cols| {
            let scores = &scores[head * n_blk..][..n_blk];
            if !scores.iter().any(|score| score.is_nan()) {
                options.rule.select_row(scores, (n_blk, block), cols);
            }
            let window = options.sliding_window / block;
            let last = window.max(usize::from(options.force_last)).min(n_blk);
            cols.extend((n_blk - last) as u32..n_blk as u32);
            cols.extend(options.force_first.then_some(0));
        });
        Ok(Compression { scores, blocks })
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        *self = KCompression::default();
    }
}
