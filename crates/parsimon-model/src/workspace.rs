//! The buffers of forward passes.

use crate::batch::Batch;
use crate::calibration::Taps;
use crate::linear::ActivationBuffers;
use crate::rope::RopeAngles;

/// What a pass computes on its way, kept for the next one: a pass of the same shape allocates nothing.
#[derive(Clone, Default, Debug)]
pub(crate) struct Workspace {
    /// The residual stream `[n, hidden]`, in the end normalized.
    pub(crate) x: Vec<f32>,
    /// Queries, `[n, n_q, d]`.
    pub(crate) q: Vec<f32>,
    /// Keys, `[n, n_k, d]`.
    pub(crate) k: Vec<f32>,
    /// Values, `[n, n_v, d]`.
    pub(crate) v: Vec<f32>,
    /// What attention gives, `[n, n_q, d]`.
    pub(crate) heads: Vec<f32>,
    /// Both sides of a gate.
    pub(crate) inner: [Vec<f32>; 2],
    /// What a layer adds to the stream.
    pub(crate) residual: Vec<f32>,
    pub(crate) angles: RopeAngles,
    pub(crate) activations: ActivationBuffers,
    /// What gathers the inputs of the layers, during calibration.
    pub(crate) taps: Option<Taps>,
}

impl Workspace {
    /// Keeps the outputs of a pass of `n` tokens, and the buffers unless they are as large as prompts need them.
    pub(crate) fn finish_pass(&mut self, n: usize) {
        if n > Batch::EXACT_MAX {
            *self = Workspace { x: std::mem::take(&mut self.x), ..Workspace::default() };
        }
    }

    /// An empty stream with room for no more than a few tokens of a wider one.
    pub(crate) fn restart(&mut self, hidden_size: usize) -> &mut Vec<f32> {
        self.x.clear();
        self.x.shrink_to(Batch::EXACT_MAX * hidden_size);
        &mut self.x
    }
}
