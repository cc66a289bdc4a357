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

use super::{Plain, Tape, Tracked, dims, record, slice, tensor};
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
    let (x_tensor, x_node) = x.into_parts();
    let (table, table_node) = table.clone().into_parts();
    let ([n, k], [vocab, _]) = (dims(&x_tensor), dims(&table));
    assert_eq!(targets.len(), n, "one target for every row");
    let mut dx = tape.buffer(n * k);
    let mut d_table = tape.zeros(vocab * k);
    let mut chunk = tape.buffer(CHUNK.min(n) * vocab);
    let mut loss = 0.0f64;
    let e = Mat::new(slice(&table), vocab, k);
    for ((x, dx), targets) in
        slice(&x_tensor).chunks(CHUNK * k).zip(dx.chunks_mut(CHUNK * k)).zip(targets.chunks(CHUNK))
    {
        let rows = targets.len();
        let logits = &mut chunk[..rows * vocab];
        let x = Mat::new(x, rows, k);
        matmul(MatMut::new(logits, rows, vocab), Sum::Replace, x, e.t(), tape.threads);
        let losses: Vec<f32> = logits
            .par_chunks_exact_mut(vocab)
            .zip(targets)
            .map(|(row, &target)| row_gradient(row, target as usize, 1.0 / total as f32))
            .collect();
        loss += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        let dz = Mat::new(logits, rows, vocab);
        matmul(MatMut::new(dx, rows, k), Sum::Replace, dz, e, tape.threads);
        matmul(MatMut::new(&mut d_table, vocab, k), Sum::Add, dz.t(), x, tape.threads);
    }
    tape.give(chunk);
    tape.recycle(x_tensor);
    let loss = tensor(vec![(loss / total as f64) as f32], [1, 1]);
    record(CrossEntropy, [x_node, table_node], (tensor(dx, [n, k]), tensor(d_table, [vocab, k])), loss)
}

vectorized! {
    /// Turns a row of logits into the gradient of `scale` times its loss, and returns the loss.
    fn row_gradient<'a>(row: &'a mut [f32], target: usize, scale: f32) -> f32 {
        let z = row[target];
        let max = row_max(row);
        let sum = exp_shifted::<FMA>(row, max);
        let factor = scale / sum;
        for p in row.iter_mut() {
            *p *= factor;
        }
        row[target] -= scale;
        sum.ln() + max - z
    }
}

impl Backward<Flex, 2> for CrossEntropy {
    type State = (Plain, Plain);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (dx, d_table) = ops.state;
        let scale = slice(&grads.consume::<Flex>(&ops.node))[0];
        let [x_node, table_node] = ops.parents;
        for (node, mut gradient) in [(x_node, dx), (table_node, d_table)] {
            let Some(node) = node else { continue };
            if scale != 1.0 {
                gradient.storage_mut::<f32>().iter_mut().for_each(|value| *value *= scale);
            }
            grads.register::<Flex>(node.id, gradient);
        }
    }
}
