//! `y = silu(gate) up` where one matrix holds the gates and the ups side by side.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use rayon::prelude::*;

use super::{Plain, ROWS_PER_TASK, Tape, Tracked, dims, record, slice, tensor};
use crate::kernel::{exp, fma, vectorized};

#[derive(Debug)]
struct SwiGlu;

/// `y[i, j] = silu(x[i, j]) x[i, m + j]` for `x [n, 2m]`, with `silu(g) = g / (1 + e^-g)`.
pub(crate) fn swiglu(tape: &Tape, x: Tracked) -> Tracked {
    let (x, node) = x.into_parts();
    let [n, width] = dims(&x);
    let m = width / 2;
    let mut y = tape.buffer(n * m);
    y.par_chunks_mut(ROWS_PER_TASK * m)
        .zip(slice(&x).par_chunks(ROWS_PER_TASK * width))
        .for_each(|(y, x)| forward_rows(x, m, y));
    record(SwiGlu, [node], (tape.clone(), x), tensor(y, [n, m]))
}

vectorized! {
    fn forward_rows<'a>(x: &'a [f32], m: usize, y: &'a mut [f32]) {
        for (x, y) in x.chunks_exact(2 * m).zip(y.chunks_exact_mut(m)) {
            let (gate, up) = x.split_at(m);
            for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                *y = g * u / (1.0 + exp::<FMA>(-g));
            }
        }
    }
}

impl Backward<Flex, 1> for SwiGlu {
    type State = (Tape, Plain);

    /// With `s = 1 / (1 + e^-g)`: `d_gate = dy u s (1 + g (1 - s))` and `d_up = dy g s`.
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (tape, x) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [n, width] = dims(&x);
        let m = width / 2;
        let [Some(node)] = ops.parents else { return };
        let mut dx = tape.buffer(n * width);
        dx.par_chunks_mut(ROWS_PER_TASK * width)
            .zip(slice(&x).par_chunks(ROWS_PER_TASK * width))
            .zip(slice(&dy).par_chunks(ROWS_PER_TASK * m))
            .for_each(|((dx, x), dy)| backward_rows(x, dy, m, dx));
        tape.recycle(x);
        tape.recycle(dy);
        grads.register::<Flex>(node.id, tensor(dx, [n, width]));
    }
}

vectorized! {
    fn backward_rows<'a>(x: &'a [f32], dy: &'a [f32], m: usize, dx: &'a mut [f32]) {
        for ((x, dx), dy) in x.chunks_exact(2 * m).zip(dx.chunks_exact_mut(2 * m)).zip(dy.chunks_exact(m)) {
            let (gate, up) = x.split_at(m);
            let (d_gate, d_up) = dx.split_at_mut(m);
            for (((g, u), dy), (d_gate, d_up)) in gate.iter().zip(up).zip(dy).zip(d_gate.iter_mut().zip(d_up)) {
                let s = 1.0 / (1.0 + exp::<FMA>(-g));
                *d_gate = dy * u * s * fma::<FMA>(*g, 1.0 - s, 1.0);
                *d_up = dy * g * s;
            }
        }
    }
}
