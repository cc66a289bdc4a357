//! `y = x W^T` and `y = r + x W^T`.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};

use super::{Plain, Tracked, dims, record, slice, tensor};
use crate::kernel::{Mat, MatMut, Sum, Threads, matmul};

#[derive(Debug)]
struct Linear;

/// `y = x W^T` with `x [n, k]`, `W [m, k]`, `y [n, m]`.
pub(crate) fn linear(x: Tracked, weight: &Tracked) -> Tracked {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.clone().into_parts();
    let ([n, _], [m, _]) = (dims(&x), dims(&weight));
    let mut y = vec![0.0; n * m];
    product(&mut y, Sum::Replace, mat(&x), mat(&weight).t());
    record(Linear, [x_node, weight_node], (x, weight), tensor(y, [n, m]))
}

impl Backward<Flex, 2> for Linear {
    type State = (Plain, Plain);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(&dy, &weight));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, weight_gradient(&dy, &x));
        }
    }
}

#[derive(Debug)]
struct LinearAdd;

/// `y = r + x W^T`: a projection back into the residual stream `r [n, m]`.
pub(crate) fn linear_add(residual: Tracked, x: Tracked, weight: &Tracked) -> Tracked {
    let (residual, residual_node) = residual.into_parts();
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.clone().into_parts();
    let [n, m] = dims(&residual);
    let mut y = slice(&residual).to_vec();
    product(&mut y, Sum::Add, mat(&x), mat(&weight).t());
    record(LinearAdd, [residual_node, x_node, weight_node], (x, weight), tensor(y, [n, m]))
}

impl Backward<Flex, 3> for LinearAdd {
    type State = (Plain, Plain);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node);
        let [residual_node, x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_gradient(&dy, &weight));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, weight_gradient(&dy, &x));
        }
        if let Some(node) = residual_node {
            grads.register::<Flex>(node.id, dy);
        }
    }
}

/// `dx = dy W`.
fn input_gradient(dy: &Plain, weight: &Plain) -> Plain {
    let ([n, _], [_, k]) = (dims(dy), dims(weight));
    let mut dx = vec![0.0; n * k];
    product(&mut dx, Sum::Replace, mat(dy), mat(weight));
    tensor(dx, [n, k])
}

/// `dW = dy^T x`.
fn weight_gradient(dy: &Plain, x: &Plain) -> Plain {
    let ([_, m], [_, k]) = (dims(dy), dims(x));
    let mut dw = vec![0.0; m * k];
    product(&mut dw, Sum::Replace, mat(dy).t(), mat(x));
    tensor(dw, [m, k])
}

fn mat(tensor: &Plain) -> Mat<'_> {
    let [rows, cols] = dims(tensor);
    Mat::new(slice(tensor), rows, cols)
}

fn product(dst: &mut [f32], sum: Sum, lhs: Mat<'_>, rhs: Mat<'_>) {
    matmul(MatMut::new(dst, lhs.rows(), rhs.cols()), sum, lhs, rhs, Threads::Pool);
}
