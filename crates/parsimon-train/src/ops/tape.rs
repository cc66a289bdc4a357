//! What the operations of one forward and backward pass share: recycled buffers, and who computes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use burn::tensor::TensorData;

use super::Plain;
use crate::kernel::Threads;

/// Handed to every operation, and kept by it for its backward pass.
///
/// A step allocates hundreds of megabytes of activations and frees them again, and fresh memory from the system costs a page
/// fault for every 4 KiB. So buffers go back to the tape and are handed out again by length.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    free: Arc<Mutex<HashMap<usize, Vec<Vec<f32>>>>>,
    pub(crate) threads: Threads,
}

impl Tape {
    /// A tape without buffers.
    pub(crate) fn new(threads: Threads) -> Self {
        Tape { free: Arc::default(), threads }
    }

    /// A buffer with unspecified content, for a caller that overwrites all of it.
    pub(crate) fn buffer(&self, len: usize) -> Vec<f32> {
        let mut free = self.free.lock().expect("no holder of this lock panics");
        free.get_mut(&len).and_then(Vec::pop).unwrap_or_else(|| vec![0.0; len])
    }

    /// A buffer of zeros.
    pub(crate) fn zeros(&self, len: usize) -> Vec<f32> {
        let mut buffer = self.buffer(len);
        buffer.fill(0.0);
        buffer
    }

    /// Takes a buffer back.
    pub(crate) fn give(&self, buffer: Vec<f32>) {
        self.free.lock().expect("no holder of this lock panics").entry(buffer.len()).or_default().push(buffer);
    }

    /// Takes the buffer of a tensor back, unless another tensor shares it.
    pub(crate) fn recycle(&self, tensor: Plain) {
        if !tensor.is_unique() {
            return;
        }
        let data: TensorData = tensor.into_data();
        if let Ok(buffer) = data.try_into_vec::<f32>() {
            self.give(buffer);
        }
    }
}
