//! `y = x w / sqrt(mean(x^2) + eps)` over rows.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use rayon::prelude::*;

use super::{Plain, ROWS_PER_TASK, Tape, Tracked, dims, record, slice, tensor};
use crate::kernel::{dot, fma, vectorized};

#[derive(Debug)]
struct RmsNorm;

/// RMSNorm of `x [n, k]` with `w [1, k]`.
pub(crate) fn rms_norm(tape: &Tape, x: &Tracked, weight: &Tracked, eps: f32) -> Tracked {
    let (x, x_node) = x.clone().into_parts();
    let (weight, weight_node) = weight.clone().into_parts();
    let [n, k] = dims(&x);
    let mut y = tape.buffer(n * k);
    let task = ROWS_PER_TASK * k;
    y.par_chunks_mut(task).zip(slice(&x).par_chunks(task)).for_each(|(y, x)| forward_rows(x, slice(&weight), eps, y));
    record(RmsNorm, [x_node, weight_node], (tape.clone(), x, weight, eps), tensor(y, [n, k]))
}

vectorized! {
    fn forward_rows<'a>(x: &'a [f32], weight: &'a [f32], eps: f32, y: &'a mut [f32]) {
        let k = weight.len();
        for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(k)) {
            let scale = 1.0 / (dot::<FMA>(x, x) / k as f32 + eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * scale * w;
            }
        }
    }
}

impl Backward<Flex, 2> for RmsNorm {
    type State = (Tape, Plain, Plain, f32);

    /// With `r = 1 / sqrt(mean(x^2) + eps)` and `g = w dy`: `dx = r g - x r^3 <g, x> / k` and `dw = sum over rows of r x dy`.
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (tape, x, weight, eps) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [n, k] = dims(&x);
        let mut dx = tape.buffer(n * k);
        let task = ROWS_PER_TASK * k;
        let partial: Vec<Vec<f32>> = dx
            .par_chunks_mut(task)
            .zip(slice(&x).par_chunks(task))
            .zip(slice(&dy).par_chunks(task))
            .map(|((dx, x), dy)| {
                let mut dw = vec![0.0; k];
                backward_rows(x, dy, slice(&weight), eps, dx, &mut dw);
                dw
            })
            .collect();
        tape.recycle(x);
        tape.recycle(dy);
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, tensor(dx, [n, k]));
        }
        if let Some(node) = weight_node {
            let mut dw = vec![0.0; k];
            for part in partial {
                dw.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
            grads.register::<Flex>(node.id, tensor(dw, [1, k]));
        }
    }
}

vectorized! {
    fn backward_rows<'a>(
        x: &'a [f32],
        dy: &'a [f32],
        weight: &'a [f32],
        eps: f32,
        dx: &'a mut [f32],
        dw: &'a mut [f32],
    ) {
        let k = weight.len();
        for ((x, dy), dx) in x.chunks_exact(k).zip(dy.chunks_exact(k)).zip(dx.chunks_exact_mut(k)) {
            let r = 1.0 / (dot::<FMA>(x, x) / k as f32 + eps).sqrt();
            for ((g, dy), w) in dx.iter_mut().zip(dy).zip(weight) {
                *g = dy * w;
            }
            let c = -dot::<FMA>(dx, x) * r * r * r / k as f32;
            for ((dx, x), (dw, dy)) in dx.iter_mut().zip(x).zip(dw.iter_mut().zip(dy)) {
                *dx = fma::<FMA>(*x, c, *dx * r);
                *dw = fma::<FMA>(x * r, *dy, *dw);
            }
        }
    }
}
