//! Causal attention of DiffQKV heads, with RoPE, over whole sequences.
//!
//! Forward, per sequence and query head, in tiles of query rows: scores of the visible columns, softmax, times V; only the
//! logarithm of each softmax's denominator is kept. Backward recomputes the probabilities of a tile from it, which is
//! FlashAttention's scheme:
//!
//! ```text
//! P = e^(S - lse);  dV += P^T dO;  dP = dO V^T;  dS = P (dP - rowsum(dO O));  dQ = dS K;  dK += dS^T Q
//! ```
//!
//! K and V are never expanded to the query heads: query head `h` reads key head `floor(h n_k / n_q)` and value head
//! `floor(h n_v / n_q)` in place, and their gradients add up there. One task is one sequence, so no two tasks write the same
//! row.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use parsimon_attn::HeadMap;
use rayon::prelude::*;

use super::{Plain, RopeTable, Tape, Tracked, dims, record, slice, tensor};
use crate::kernel::{Mat, MatMut, Sum, Threads, dot, exp_shifted, matmul, row_max, vectorized};

/// Query rows of a tile.
const TILE: usize = 64;

/// The shape of one attention layer over a batch of equally long sequences.
#[derive(Clone, Debug)]
pub(crate) struct AttentionShape {
    pub(crate) heads: HeadMap,
    pub(crate) head_dim: usize,
    /// Rows of a sequence.
    pub(crate) context: usize,
    pub(crate) rope: Arc<RopeTable>,
}

impl AttentionShape {
    fn q_width(&self) -> usize {
        self.heads.n_q() * self.head_dim
    }

    fn kv_width(&self) -> usize {
        (self.heads.n_k() + self.heads.n_v()) * self.head_dim
    }

    /// Where value head `h` begins in a row of `kv`.
    fn v_at(&self, h: usize) -> usize {
        (self.heads.n_k() + h) * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// The key heads of one sequence, rotated, each `[context, d]`.
    fn keys(&self, kv: &[f32]) -> Vec<f32> {
        let (d, head_len) = (self.head_dim, self.context * self.head_dim);
        let mut keys = vec![0.0; self.heads.n_k() * head_len];
        for (h, key) in keys.chunks_exact_mut(head_len).enumerate() {
            self.rope.rotate(&kv[h * d..], self.kv_width(), 1.0, key);
        }
        keys
    }

    /// `(first row, rows, visible columns)` of every tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let context = self.context;
        (0..context).step_by(TILE).map(move |first| {
            let rows = TILE.min(context - first);
            (first, rows, first + rows)
        })
    }
}

#[derive(Debug)]
struct Attention;

#[derive(Clone, Debug)]
struct Saved {
    tape: Tape,
    shape: AttentionShape,
    q: Plain,
    kv: Plain,
    output: Plain,
    /// `[sequences, n_q, context]`.
    log_sums: Arc<Vec<f32>>,
}

/// `o [n, n_q d]` of `q [n, n_q d]` and `kv [n, (n_k + n_v) d]`, both before RoPE; `n` is a multiple of the context.
pub(crate) fn attention(tape: &Tape, shape: &AttentionShape, q: Tracked, kv: Tracked) -> Tracked {
    let (q, q_node) = q.into_parts();
    let (kv, kv_node) = kv.into_parts();
    let [n, width] = dims(&q);
    assert!(n.is_multiple_of(shape.context), "{n} rows are not sequences of {}", shape.context);
    let mut output = tape.buffer(n * width);
    let mut log_sums = vec![0.0; n * shape.heads.n_q()];
    output
        .par_chunks_exact_mut(shape.context * width)
        .zip(log_sums.par_chunks_exact_mut(shape.context * shape.heads.n_q()))
        .zip(slice(&q).par_chunks_exact(shape.context * width))
        .zip(slice(&kv).par_chunks_exact(shape.context * shape.kv_width()))
        .for_each(|(((output, log_sums), q), kv)| forward_sequence(shape, q, kv, output, log_sums));
    let output = tensor(output, [n, width]);
    let saved =
        Saved { tape: tape.clone(), shape: shape.clone(), q, kv, output: output.clone(), log_sums: Arc::new(log_sums) };
    record(Attention, [q_node, kv_node], saved, output)
}

fn forward_sequence(shape: &AttentionShape, q: &[f32], kv: &[f32], output: &mut [f32], log_sums: &mut [f32]) {
    let (d, t) = (shape.head_dim, shape.context);
    let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
    let keys = shape.keys(kv);
    let mut query = vec![0.0; t * d];
    let mut scores = vec![0.0; TILE * t];
    for (h, log_sums) in log_sums.chunks_exact_mut(t).enumerate() {
        shape.rope.rotate(&q[h * d..], q_width, shape.scale(), &mut query);
        let key = &keys[shape.heads.k_of(h) * t * d..][..t * d];
        let value = &kv[shape.v_at(shape.heads.v_of(h))..];
        for (first, rows, cols) in shape.tiles() {
            let scores = &mut scores[..rows * cols];
            let query = Mat::new(&query[first * d..], rows, d);
            matmul(MatMut::new(scores, rows, cols), Sum::Replace, query, Mat::new(key, cols, d).t(), Threads::Caller);
            softmax_tile(scores, first, cols, &mut log_sums[first..first + rows]);
            let out = MatMut::strided(&mut output[first * q_width + h * d..], rows, d, q_width);
            let value = Mat::strided(value, cols, d, kv_width);
            matmul(out, Sum::Replace, Mat::new(scores, rows, cols), value, Threads::Caller);
        }
    }
}

vectorized! {
    /// Turns the rows of a tile that begins at row `first` into probabilities, and writes `ln sum e^s` of each.
    fn softmax_tile<'a>(scores: &'a mut [f32], first: usize, cols: usize, log_sums: &'a mut [f32]) {
        for (i, (row, log_sum)) in scores.chunks_exact_mut(cols).zip(log_sums).enumerate() {
            let (visible, hidden) = row.split_at_mut(first + i + 1);
            let max = row_max(visible);
            let sum = exp_shifted::<FMA>(visible, max);
            let factor = 1.0 / sum;
            for p in visible.iter_mut() {
                *p *= factor;
            }
            hidden.fill(0.0);
            *log_sum = max + sum.ln();
        }
    }
}

impl Backward<Flex, 2> for Attention {
    type State = Saved;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Saved { tape, shape, q, kv, output, log_sums } = ops.state;
        let d_output = grads.consume::<Flex>(&ops.node);
        let ([n, q_width], [_, kv_width]) = (dims(&q), dims(&kv));
        let mut dq = tape.buffer(n * q_width);
        let mut dkv = tape.zeros(n * kv_width);
        let (q_len, kv_len) = (shape.context * q_width, shape.context * kv_width);
        dq.par_chunks_exact_mut(q_len)
            .zip(dkv.par_chunks_exact_mut(kv_len))
            .zip(slice(&q).par_chunks_exact(q_len).zip(slice(&kv).par_chunks_exact(kv_len)))
            .zip(slice(&output).par_chunks_exact(q_len).zip(slice(&d_output).par_chunks_exact(q_len)))
            .zip(log_sums.par_chunks_exact(shape.context * shape.heads.n_q()))
            .for_each(|((((dq, dkv), (q, kv)), (output, d_output)), log_sums)| {
                let input = Sequence { q, kv, output, d_output, log_sums };
                backward_sequence(&shape, &input, dq, dkv);
            });
        for tensor in [q, kv, output, d_output] {
            tape.recycle(tensor);
        }
        let [q_node, kv_node] = ops.parents;
        if let Some(node) = q_node {
            grads.register::<Flex>(node.id, tensor(dq, [n, q_width]));
        }
        if let Some(node) = kv_node {
            grads.register::<Flex>(node.id, tensor(dkv, [n, kv_width]));
        }
    }
}

/// What the backward pass of one sequence reads.
struct Sequence<'a> {
    q: &'a [f32],
    kv: &'a [f32],
    output: &'a [f32],
    d_output: &'a [f32],
    log_sums: &'a [f32],
}

fn backward_sequence(shape: &AttentionShape, input: &Sequence<'_>, dq: &mut [f32], dkv: &mut [f32]) {
    let (d, t) = (shape.head_dim, shape.context);
    let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
    let keys = shape.keys(input.kv);
    let mut d_keys = vec![0.0; keys.len()];
    let (mut query, mut d_query) = (vec![0.0; t * d], vec![0.0; t * d]);
    let (mut scores, mut d_scores) = (vec![0.0; TILE * t], vec![0.0; TILE * t]);
    for (h, log_sums) in input.log_sums.chunks_exact(t).enumerate() {
        shape.rope.rotate(&input.q[h * d..], q_width, shape.scale(), &mut query);
        let k_head = shape.heads.k_of(h) * t * d;
        let v_at = shape.v_at(shape.heads.v_of(h));
        for (first, rows, cols) in shape.tiles() {
            let scores = &mut scores[..rows * cols];
            let d_scores = &mut d_scores[..rows * cols];
            let query = Mat::new(&query[first * d..], rows, d);
            let key = Mat::new(&keys[k_head..], cols, d);
            let at = first * q_width + h * d;
            let d_out = Mat::strided(&input.d_output[at..], rows, d, q_width);
            let product = |dst: &mut [f32], lhs, rhs| {
                matmul(MatMut::new(dst, rows, cols), Sum::Replace, lhs, rhs, Threads::Caller);
            };
            product(scores, query, key.t());
            product(d_scores, d_out, Mat::strided(&input.kv[v_at..], cols, d, kv_width).t());
            let rows_of = |all: &'_ [f32]| -> Vec<f32> {
                (0..rows).flat_map(|i| all[at + i * q_width..][..d].iter().copied()).collect()
            };
            let (out, d_out_rows) = (rows_of(input.output), rows_of(input.d_output));
            score_gradients(scores, d_scores, first, cols, d, &log_sums[first..first + rows], &out, &d_out_rows);
            let (p, ds) = (Mat::new(scores, rows, cols), Mat::new(d_scores, rows, cols));
            let dv = MatMut::strided(&mut dkv[v_at..], cols, d, kv_width);
            matmul(dv, Sum::Add, p.t(), d_out, Threads::Caller);
            let dq = MatMut::new(&mut d_query[first * d..], rows, d);
            matmul(dq, Sum::Replace, ds, key, Threads::Caller);
            matmul(MatMut::new(&mut d_keys[k_head..], cols, d), Sum::Add, ds.t(), query, Threads::Caller);
        }
        // The scale was multiplied into the queries, so it belongs to their gradient, not to that of the keys.
        shape.rope.rotate_back(&d_query, shape.scale(), &mut dq[h * d..], q_width);
    }
    for (h, d_key) in d_keys.chunks_exact(t * d).enumerate() {
        shape.rope.rotate_back(d_key, 1.0, &mut dkv[h * d..], kv_width);
    }
}

vectorized! {
    /// Scores become probabilities, and `dP` in `d_scores` becomes `dS = P (dP - <dO, O>)`; hidden columns become 0.
    #[allow(clippy::too_many_arguments, reason = "two tiles, their place and the rows they belong to")]
    fn score_gradients<'a>(
        scores: &'a mut [f32],
        d_scores: &'a mut [f32],
        first: usize,
        cols: usize,
        d: usize,
        log_sums: &'a [f32],
        out: &'a [f32],
        d_out: &'a [f32],
    ) {
        let tile = scores.chunks_exact_mut(cols).zip(d_scores.chunks_exact_mut(cols));
        let outputs = out.chunks_exact(d).zip(d_out.chunks_exact(d));
        for (i, (((p, ds), log_sum), (out, d_out))) in tile.zip(log_sums).zip(outputs).enumerate() {
            let visible = first + i + 1;
            exp_shifted::<FMA>(&mut p[..visible], *log_sum);
            p[visible..].fill(0.0);
            let correction = dot::<FMA>(out, d_out);
            for (ds, p) in ds.iter_mut().zip(p) {
                *ds = *p * (*ds - correction);
            }
        }
    }
}
