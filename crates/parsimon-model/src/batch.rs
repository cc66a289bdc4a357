//! Tokens of several sequences in one forward pass.
//!
//! All tokens stand in one matrix `[n, hidden]`, one sequence after the other, so that a linear layer reads its weights once for all of them.
//! Only attention and the rotation by position know of sequences.

use parsimon_attn::{Attention, KvCache};
use rayon::prelude::*;

use crate::model::KvState;
use crate::rope::RopeAngles;
use crate::{ModelError, RopeFrequencies};

/// Tokens that continue one sequence.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) state: &'a mut KvState,
}

/// The sequences of a pass.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) segments: Vec<Segment<'a>>,
}

impl Batch<'_> {
    /// Cosines and sines of every token's position; each sequence has its own frequencies where they depend on its length.
    pub(crate) fn angles(&self, rope: &RopeFrequencies) -> RopeAngles {
        let parts = self.segments.iter().map(|segment| rope.angles(segment.state.len(), segment.tokens.len()));
        RopeAngles::concat(parts)
    }

    /// Adds keys `[n, n_k, d]` and values `[n, n_v, d]` to the caches of `layer` and attends queries `[n, n_q, d]`, each to its own sequence:
    /// `out [n, n_q, d]`.
    pub(crate) fn attend(
        &mut self,
        attention: &Attention,
        layer: usize,
        [q, k, v]: [&[f32]; 3],
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let n: usize = self.segments.iter().map(|segment| segment.tokens.len()).sum();
        let [q_row, k_row, v_row, out_row] = [q.len(), k.len(), v.len(), out.len()].map(|len| len / n);
        let mut rest = (q, k, v, out);
        let mut parts = Vec::with_capacity(self.segments.len());
        for segment in &mut self.segments {
            let n = segment.tokens.len();
            let (q, rest_q) = rest.0.split_at(n * q_row);
            let (k, rest_k) = rest.1.split_at(n * k_row);
            let (v, rest_v) = rest.2.split_at(n * v_row);
            let (out, rest_out) = rest.3.split_at_mut(n * out_row);
            rest = (rest_q, rest_k, rest_v, rest_out);
            let cache = segment.state.layer_mut(layer);
            cache.append(k, v)?;
            parts.push((&*cache, q, out));
        }
        let run = |(cache, q, out): (&KvCache, &[f32], &mut [f32])| attention.forward_into(q, cache.view(), out, None);
        match parts.len() {
            1 => parts.into_iter().try_for_each(run)?,
            _ => parts.into_par_iter().try_for_each(run)?,
        }
        Ok(())
    }
}
