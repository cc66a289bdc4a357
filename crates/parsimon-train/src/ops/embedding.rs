//! `y[i] = table[tokens[i]]`.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};

use super::{Tape, Tracked, dims, record, slice, tensor};

#[derive(Debug)]
struct Embedding;

/// The rows of `table [vocab, k]` that `tokens` name.
///
/// # Panics
///
/// When a token is not below `vocab`.
pub(crate) fn embedding(tape: &Tape, table: &Tracked, tokens: &Arc<[u32]>) -> Tracked {
    let (table, node) = table.clone().into_parts();
    let [vocab, k] = dims(&table);
    let values = slice(&table);
    let mut y = tape.buffer(tokens.len() * k);
    for (y, &token) in y.chunks_exact_mut(k).zip(&**tokens) {
        y.copy_from_slice(&values[token as usize * k..][..k]);
    }
    record(Embedding, [node], (tape.clone(), tokens.clone(), [vocab, k]), tensor(y, [tokens.len(), k]))
}

impl Backward<Flex, 1> for Embedding {
    type State = (Tape, Arc<[u32]>, [usize; 2]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (tape, tokens, [vocab, k]) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        let mut d_table = tape.zeros(vocab * k);
        for (&token, dy) in tokens.iter().zip(slice(&dy).chunks_exact(k)) {
            let row = &mut d_table[token as usize * k..][..k];
            row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
        tape.recycle(dy);
        grads.register::<Flex>(node.id, tensor(d_table, [vocab, k]));
    }
}
