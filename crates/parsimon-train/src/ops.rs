//! Differentiable operations of the transformer on burn's tape: each computes forward and backward over whole rows.
//!
//! burn's elementwise operations read and write every activation once per operation; a transformer block has dozens. Each
//! operation here is one pass forward and one backward, keeps only what its gradient needs, and reduces over blocks of rows
//! that depend on the shape alone, so that results are the same for every number of threads.
//!
//! Tensors are burn's [`Flex`] primitives under [`Autodiff`]: matrices `[n, k]` of `f32`, contiguous.

mod attention;
mod embedding;
mod linear;
mod loss;
mod rms_norm;
mod rope;
mod swiglu;
mod tape;

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::ops::{Backward, NodeGuard, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex, TensorMetadata};
use burn::tensor::TensorData;

pub(crate) use attention::{AttentionShape, attention};
pub(crate) use embedding::embedding;
pub(crate) use linear::{linear, linear_add};
pub(crate) use loss::cross_entropy;
pub(crate) use rms_norm::rms_norm;
pub(crate) use rope::RopeTable;
pub(crate) use swiglu::swiglu;
pub(crate) use tape::Tape;

/// A tensor on the tape.
pub(crate) type Tracked = FloatTensor<Autodiff<Flex>>;
/// A tensor without gradient.
pub(crate) type Plain = FloatTensor<Flex>;

/// Rows that one task of an elementwise operation handles.
const ROWS_PER_TASK: usize = 64;

/// A plain tensor on the tape that needs no gradient.
pub(crate) fn untracked(tensor: Plain) -> Tracked {
    <Autodiff<Flex> as AutodiffBackend>::from_inner(tensor)
}

/// A tensor of burn from its elements, without a copy.
pub(crate) fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Plain {
    assert_eq!(values.len(), shape[0] * shape[1], "the shape {shape:?} must hold every element");
    Plain::from_data(TensorData::new(values, shape))
}

/// The elements of a contiguous tensor.
pub(crate) fn slice(tensor: &Plain) -> &[f32] {
    tensor.as_slice().expect("every tensor of this crate is contiguous f32")
}

/// Rows and columns of a matrix.
pub(crate) fn dims(tensor: &Plain) -> [usize; 2] {
    tensor.shape().dims()
}

/// Puts an operation on the tape.
fn record<Op, State, const N: usize>(op: Op, parents: [NodeGuard; N], state: State, output: Plain) -> Tracked
where
    Op: Backward<Flex, N, State = State>,
    State: Clone + Send + std::fmt::Debug + 'static,
{
    match op.prepare::<NoCheckpointing>(parents).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
