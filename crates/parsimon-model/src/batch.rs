//! Tokens of several sequences in one forward pass.
//!
//! All tokens stand in one matrix `[n, hidden]`, one sequence after the other, so that a linear layer reads its weights once for all of them.
//! Only attention and the rotation by position know of sequences.

use parsimon_attn::{
    Attention, BlockList, BlockShape, DecodeOut, DecodeSequence, KvPool, KvSequence, LoadedValues, PrefillOptions,
    Teacher, Workspace,
};
use rayon::prelude::*;

use crate::gates::{GatePass, Gating};
use crate::rope::RopeAngles;
use crate::{ModelError, RopeFrequencies};

/// Tokens that continue one sequence.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) sequence: &'a mut KvSequence,
    /// The length that chooses the rotary table: of the whole sequence when these tokens are a part of what is known of it.
    pub(crate) len: usize,
}

/// How the queries of a pass attend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// As is fastest.
    Fast,
    /// Row by row: with at most [`Batch::EXACT_MAX`] tokens, each has the bits that it has in a pass of its own.
    Exact,
}

/// The sequences of a pass and the pool of their keys and values.
#[derive(Debug)]
pub(crate) struct Batch<'a, 'segment> {
    pub(crate) pool: &'a mut KvPool,
    pub(crate) segments: &'a mut [Segment<'segment>],
    pub(crate) pass: Pass,
    /// What chooses blocks, or learns to, with one segment.
    pub(crate) gate: Option<Gate<'a>>,
}

/// What looks at queries and keys before they are rotated.
#[derive(Debug)]
pub(crate) enum Gate<'a> {
    /// Gates that choose blocks.
    Select(GatePass<'a>),
    /// Gates that learn.
    Teach { lesson: Lesson<'a>, q: Vec<f32>, k: Vec<f32> },
}

/// What `teach` is given of each layer: queries and keys before rotation and the teacher map, of every query or of blocks.
pub(crate) struct Lesson<'a> {
    pub(crate) shape: BlockShape,
    pub(crate) wants_rows: bool,
    #[allow(clippy::type_complexity, reason = "it has one user")]
    pub(crate) teach: &'a mut dyn FnMut(usize, &[f32], &[f32], &mut [f32]) -> Result<(), ModelError>,
}

impl std::fmt::Debug for Lesson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lesson").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Batch<'_, '_> {
    /// Up to so many tokens every product of a token with weights has the bits that it has alone.
    pub(crate) const EXACT_MAX: usize = 16;

    /// Tokens of all sequences.
    pub(crate) fn n(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens.len()).sum()
    }

    /// Cosines and sines of every token's position; each sequence has its own frequencies where they depend on its length.
    pub(crate) fn angles_into(&self, rope: &RopeFrequencies, angles: &mut RopeAngles) {
        angles.clear();
        for Segment { tokens, sequence, len } in self.segments.iter() {
            let start = sequence.len();
            rope.append_angles(start..start + tokens.len(), *len, angles);
        }
    }

    /// Makes room for the tokens.
    pub(crate) fn reserve(&mut self) -> Result<(), ModelError> {
        for Segment { tokens, sequence, .. } in self.segments.iter_mut() {
            self.pool.reserve(sequence, tokens.len())?;
        }
        Ok(())
    }

    /// Takes the tokens as part of their sequences, after all layers.
    pub(crate) fn advance(&mut self) {
        for Segment { tokens, sequence, .. } in self.segments.iter_mut() {
            self.pool.advance(sequence, tokens.len());
        }
    }

    /// Shows queries and keys of `layer`, before they are rotated, to the gates; the blocks that they choose, `None` for all.
    pub(crate) fn select(&mut self, layer: usize, q: &[f32], k: &[f32]) -> Result<Option<BlockList>, ModelError> {
        match (&mut self.gate, &*self.segments) {
            (Some(Gate::Select(gates)), [segment]) => gates.select(layer, segment.sequence.len(), q, k),
            (Some(Gate::Teach { q: own_q, k: own_k, .. }), _) => {
                q.clone_into(own_q);
                k.clone_into(own_k);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// As [`Batch::attend`], with the teacher map, from which the gates of the layer learn.
    fn attend_and_teach(
        &mut self,
        attention: &Attention,
        layer: usize,
        q: &[f32],
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let (Some(Gate::Teach { lesson, q: own_q, k: own_k }), [segment]) = (&mut self.gate, &*self.segments) else {
            return Ok(());
        };
        let shape = lesson.shape;
        let (rows, cols) = shape.blocks();
        let map_rows = if lesson.wants_rows { shape.t_q } else { rows };
        let mut map = vec![0.0; attention.config().heads.n_q() * map_rows * cols];
        let (map_1d, map_2d) = if lesson.wants_rows { (Some(&mut map[..]), None) } else { (None, Some(&mut map[..])) };
        let options = PrefillOptions { teacher: Some(Teacher { shape, map_2d, map_1d }), ..PrefillOptions::default() };
        let kv = self.pool.view(layer, segment.sequence, segment.tokens.len());
        attention.prefill_into(q, kv, options, (out, None), &mut Workspace::default())?;
        (lesson.teach)(layer, own_q, own_k, &mut map)
    }

    /// Writes keys `[n, n_k, d]` and values `[n, n_v, d]` of `layer` and attends queries `[n, n_q, d]`, each to its own sequence:
    /// `out [n, n_q, d]`.
    pub(crate) fn attend(
        &mut self,
        attention: &Attention,
        layer: usize,
        [q, k, v]: [&[f32]; 3],
        blocks: Option<&BlockList>,
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let n = self.n();
        let [q_row, k_row, v_row, out_row] = [q.len(), k.len(), v.len(), out.len()].map(|len| len / n);
        let mut at = 0;
        for Segment { tokens, sequence, .. } in self.segments.iter() {
            let n = tokens.len();
            self.pool.write(layer, sequence, &k[at * k_row..][..n * k_row], &v[at * v_row..][..n * v_row])?;
            at += n;
        }
        if matches!(self.gate, Some(Gate::Teach { .. })) {
            return self.attend_and_teach(attention, layer, q, out);
        }
        let (pool, pass) = (&*self.pool, self.pass);
        let mut chosen = None;
        if let (Some(Gate::Select(gates)), [segment]) = (&mut self.gate, &*self.segments) {
            let n = segment.tokens.len();
            let kv = pool.view(layer, segment.sequence, n);
            if let (Gating::TopValues(select), 1) = (gates.gating, n) {
                let (loaded, work) = (&mut LoadedValues::default(), &mut Workspace::default());
                return Ok(attention.decode_top_values(q, kv, *select, out, loaded, work)?);
            }
            chosen = gates.select_rotated(attention.config().heads, q, kv)?;
        }
        if let (Some(blocks), [segment]) = (blocks.or(chosen.as_ref()), &*self.segments) {
            let n = segment.tokens.len();
            let kv = pool.view(layer, segment.sequence, n);
            let work = &mut Workspace::default();
            if n == 1 {
                let out = DecodeOut { o: out, lse: None, parts: None };
                let sequences = [DecodeSequence { kv, blocks: Some(blocks) }];
                return Ok(attention.decode_into(q, &sequences, Default::default(), out, work)?);
            }
            if let Some(Gate::Select(gates)) = &mut self.gate {
                gates.compare(attention, (q, kv), blocks)?;
            }
            let options = PrefillOptions { blocks: Some(blocks), ..PrefillOptions::default() };
            return Ok(attention.prefill_into(q, kv, options, (out, None), work)?);
        }
        let attend = |(segment, q, out): (&Segment<'_>, &[f32], &mut [f32])| {
            let kv = pool.view(layer, segment.sequence, segment.tokens.len());
            match pass {
                Pass::Fast => attention.forward_into(q, kv, out, None),
                Pass::Exact => attention.rows_into(q, kv, out, None),
            }
        };
        if let [segment] = &*self.segments {
            return Ok(attend((segment, q, out))?);
        }
        let (mut q, mut out) = (q, out);
        let mut parts = Vec::with_capacity(self.segments.len());
        for segment in self.segments.iter() {
            let n = segment.tokens.len();
            parts.push((
                segment,
                q.split_off(..n * q_row).unwrap_or_default(),
                out.split_off_mut(..n * out_row).unwrap_or_default(),
            ));
        }
        parts.into_par_iter().try_for_each(attend)?;
        Ok(())
    }
}
