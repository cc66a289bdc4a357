//! Learned gates that say which blocks of keys matter: SeerAttention in prefill, SeerAttention-R in decode.
//!
//! A gate pools queries and keys over blocks, projects what it pooled, rotates it by the position of the block, and takes a softmax of the products; a
//! [`Rule`] turns scores into a [`crate::BlockList`]. Gates are trained by [`GateTrainer`] to give what attention itself gives a block at most
//! ([`crate::Teacher`]); their gradients are exact and closed, so no autograd is needed.
//!
//! Letters: `n_blk` blocks of `B` positions, `d_g` the width of the gate, `g = n_q / n_k`. Everything is generic over `f32` and `f64` ([`Real`]); the inputs
//! of gates are queries and keys before rotation (after their norms, where a model has them).

mod baseline;
mod compression;
mod decode;
mod linear;
mod loss;
mod pool;
mod prefill;
mod real;
mod rope;
mod select;
mod train;

pub use baseline::Baseline;
pub use compression::{Compression, DecodeOptions, KBlockPos, KCompression, PartialBlock};
pub use decode::{DecodeGate, DecodeGateForward, DecodeGateGrads, QHeadPooling};
pub use loss::{KlLoss, Reduction, decode_loss, prefill_loss};
pub use pool::{Pool, Pooling, pool_blocks};
pub use prefill::{GateKeys, PrefillGate, PrefillGateForward, PrefillGateGrads};
pub use real::Real;
pub use rope::GateRope;
pub use select::{Forced, Recall, Rule, Selected, Selection, oracle_recall, top_k_blocks};
pub use train::{AdamW, GateTrainer, TrainOptions};

#[cfg(test)]
use crate::AttnError;
use crate::HeadMap;

/// The sizes of a gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GateShape {
    /// Numbers of query and key heads.
    pub heads: HeadMap,
    /// Width of a query and key head.
    pub d: usize,
    /// Width of the gate.
    pub d_gate: usize,
    /// Positions of a block.
    pub block: usize,
}

impl GateShape {
    /// Query heads of a key head.
    pub fn group(&self) -> usize {
        self.heads.n_q() / self.heads.n_k()
    }

    fn check(&self) -> Result<(), crate::AttnError> {
        for (what, size) in [("d", self.d), ("d_gate", self.d_gate), ("block", self.block)] {
            if size == 0 {
                return Err(crate::AttnError::ZeroDim { what });
            }
        }
        Ok(())
    }
}

/// Softmax of every row of `cols` logits in place; rows without a finite logit become 0.
pub fn softmax_rows<R: Real>(logits: &mut [R], cols: usize) {
    for row in logits.chunks_exact_mut(cols.max(1)) {
        let max = row.iter().copied().fold(R::NEG_INFINITY, |max, s| if s > max || s.is_nan() { s } else { max });
        if max == R::NEG_INFINITY {
            row.fill(R::ZERO);
            continue;
        }
        row.iter_mut().for_each(|s| *s = (*s - max).exp());
        let sum = R::sum(row.iter().copied());
        row.iter_mut().for_each(|s| *s = *s / sum);
    }
}

#[cfg(test)]
mod tests;
