//! Mean cross-entropy of a linear output layer, without ever holding all logits.
//!
//! Rows are taken in chunks. For a chunk the logits are computed, turned in place into probabilities and then into the
//! gradient `(p - onehot) / n`, and multiplied into the gradients of the input and of the table at once. So the backward pass
//! only scales what the forward pass left, and the largest buffer is one chunk of logits.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use rayon::prelude::*;

use super::{Tape, Tracked, dims, record, slice, tensor};
use crate::kernel::{Mat, MatMut, Sum, exp_shifted, matmul, row_max, vectorized};

/// Rows of logits that exist at a time.
const CHUNK: usize = 512;

#[derive(Debug)]
struct CrossEntropy;

/// `sum over i of (ln sum_j e^z[i, j] - z[i, targets[i]]) / total` with `z = x table^T`, as a `[1, 1]` tensor.
///
/// `total` is the number of rows of the whole batch, of which these may be a part.
///
/// # Shapes
///
/// `x [n, k]`, `table [vocab, k]`, `n` targets below `vocab`.
pub(crate) fn cross_entropy(tape: &Tape, x: Tracked, table: &Tracked, targets: &Arc<[u32]>, total: usize) -> Tracked {
    let tracked = x.is_tracked() || table.is_tracked();
    let (x, x_node) = x.into_parts();
    let (table, table_node) = table.clone().into_parts();
    let ([n, k], [vocab, _]) = (dims(&x), dims(&table));
    assert_eq!(targets.len(), n, "one target for every row");
    // Without gradients nothing is kept, and these stay empty.
    let mut dx = tape.buffer(if tracked { n * k } else { 0 });
    let mut d_table = tape.zeros(if tracked { vocab * k } else { 0 });
    let mut chunk = tape.buffer(CHUNK.min(n) * vocab);
    let mut loss = 0.0f64;
    let e = Mat::new(slice(&table), vocab, k);
    for (i, (x, targets)) in slice(&x).chunks(CHUNK * k).zip(targets.chunks(CHUNK)).enumerate() {
        let rows = targets.len();
        let logits = &mut chunk[..rows * vocab];
        matmul(MatMut::new(logits, rows, vocab), Sum::Replace, Mat::new(x, rows, k), e.t(), tape.threads);
        let ends: Vec<RowEnd> = logits
            .par_chunks_exact_mut(vocab)
            .zip(targets)
            .map(|(row, &target)| row_gradient(row, target as usize, 1.0 / total as f32))
            .collect();
        loss += ends.iter().map(|end| f64::from(end.loss)).sum::<f64>();
        if tracked {
            let dz = Mat::new(logits, rows, vocab);
            let dx = &mut dx[i * CHUNK * k..][..rows * k];
            matmul(MatMut::new(dx, rows, k), Sum::Replace, dz, e, tape.threads);
            scale_rows(dx, k, &ends);
            let mut scaled = tape.buffer(rows * k);
            scaled.copy_from_slice(x);
            scale_rows(&mut scaled, k, &ends);
            let scaled_x = Mat::new(&scaled, rows, k);
            matmul(MatMut::new(&mut d_table, vocab, k), Sum::Add, dz.t(), scaled_x, tape.threads);
            tape.give(scaled);
        }
    }
    tape.give(chunk);
    tape.recycle(x);
    let loss = tensor(vec![(loss / total as f64) as f32], [1, 1]);
    record(CrossEntropy, [x_node, table_node], (Arc::new(dx), Arc::new(d_table), [n, vocab, k]), loss)
}

/// What remains of a row of logits beside its gradient.
struct RowEnd {
    loss: f32,
    /// What the row must still be multiplied with; its short neighbours in the products are, instead of the long row.
    factor: f32,
}

fn scale_rows(values: &mut [f32], width: usize, ends: &[RowEnd]) {
    for (row, end) in values.chunks_exact_mut(width).zip(ends) {
        row.iter_mut().for_each(|value| *value *= end.factor);
    }
}

vectorized! {
    /// Turns a row of logits into the gradient of `scale` times its loss, up to a factor.
    fn row_gradient<'a>(row: &'a mut [f32], target: usize, scale: f32) -> RowEnd {
        let z = row[target];
        let max = row_max(row);
        let sum = exp_shifted::<FMA>(row, max);
        row[target] -= sum;
        RowEnd { loss: sum.ln() + max - z, factor: scale / sum }
    }
}

impl Backward<Flex, 2> for CrossEntropy {
    /// The gradients of `x` and of the table, and `[n, vocab, k]`.
    type State = (Arc<Vec<f32>>, Arc<Vec<f32>>, [usize; 3]);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (dx, d_table, [n, vocab, k]) = ops.state;
        let scale = slice(&grads.consume::<Flex>(&ops.node))[0];
        let [x_node, table_node] = ops.parents;
        for (node, gradient, rows) in [(x_node, dx, n), (table_node, d_table, vocab)] {
            let Some(node) = node else { continue };
            let mut gradient = Arc::unwrap_or_clone(gradient);
            if scale != 1.0 {
                gradient.iter_mut().for_each(|value| *value *= scale);
            }
            grads.register::<Flex>(node.id, tensor(gradient, [rows, k]));
        }
    }
}
