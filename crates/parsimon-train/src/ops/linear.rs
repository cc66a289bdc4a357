//! `y = x W^T` and `y = r + x W^T`.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};

use super::{Plain, Tape, Tracked, dims, record, slice, tensor};
use crate::kernel::{Mat, MatMut, Sum, matmul};

#[derive(Debug)]
struct Linear;

/// `y = x W^T` with `x [n, k]`, `W [m, k]`, `y [n, m]`.
pub(crate) fn linear(tape: &Tape, x: Tracked, weight: &Tracked) -> Tracked {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.clone().into_parts();
    let ([n, _], [m, _]) = (dims(&x), dims(&weight));
    let mut y = tape.buffer(n * m);
    product(tape, &mut y, Sum::Replace, mat(&x), mat(&weight).t());
    record(Linear, [x_node, weight_node], (tape.clone(), x, weight), tensor(y, [n, m]))
}

impl Backward<Flex, 2> for Linear {
    type State = (Tape, Plain, Plain);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (tape, x, weight) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(&tape, &dy, &weight));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, weight_gradient(&tape, &dy, &x));
        }
        tape.recycle(x);
        tape.recycle(dy);
    }
}

#[derive(Debug)]
struct LinearAdd;

/// `y = r + x W^T`: a projection back into the residual stream `r [n, m]`.
pub(crate) fn linear_add(tape: &Tape, residual: Tracked, x: Tracked, weight: &Tracked) -> Tracked {
    let (residual, residual_node) = residual.into_parts();
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.clone().into_parts();
    let [n, m] = dims(&residual);
    let mut y = tape.buffer(n * m);
    y.copy_from_slice(slice(&residual));
    product(tape, &mut y, Sum::Add, mat(&x), mat(&weight).t());
    record(LinearAdd, [residual_node, x_node, weight_node], (tape.clone(), x, weight), tensor(y, [n, m]))
}

impl Backward<Flex, 3> for LinearAdd {
    type State = (Tape, Plain, Plain);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (tape, x, weight) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [residual_node, x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(&tape, &dy, &weight));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, weight_gradient(&tape, &dy, &x));
        }
        tape.recycle(x);
        if let Some(node) = residual_node {
            grads.register::<Flex>(node.id, dy);
        }
    }
}

/// `dx = dy W`.
fn input_gradient(tape: &Tape, dy: &Plain, weight: &Plain) -> Plain {
    let ([n, _], [_, k]) = (dims(dy), dims(weight));
    let mut dx = tape.buffer(n * k);
    product(tape, &mut dx, Sum::Replace, mat(dy), mat(weight));
    tensor(dx, [n, k])
}

/// `dW = dy^T x`.
fn weight_gradient(tape: &Tape, dy: &Plain, x: &Plain) -> Plain {
    let ([_, m], [_, k]) = (dims(dy), dims(x));
    let mut dw = tape.buffer(m * k);
    product(tape, &mut dw, Sum::Replace, mat(dy).t(), mat(x));
    tensor(dw, [m, k])
}

fn mat(tensor: &Plain) -> Mat<'_> {
    let [rows, cols] = dims(tensor);
    Mat::new(slice(tensor), rows, cols)
}

fn product(tape: &Tape, dst: &mut [f32], sum: Sum, lhs: Mat<'_>, rhs: Mat<'_>) {
    matmul(MatMut::new(dst, lhs.rows(), rhs.cols()), sum, lhs, rhs, tape.threads);
}
