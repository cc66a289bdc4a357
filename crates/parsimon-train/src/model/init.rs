//! First values of the weights.

use parsimon_core::{SplitMix64, fnv1a64};
use parsimon_model::ModelConfig;

use super::layout::{Role, Slot};
use crate::ops::{Plain, tensor};

/// Deviation of the weights at the start.
const DEVIATION: f64 = 0.02;

/// Random values of a tensor. Every part draws from its own generator, seeded by the seed and the part's name, so that the
/// weights do not depend on how parts are stored together.
pub(crate) fn random(slot: &Slot, config: &ModelConfig, seed: u64) -> Plain {
    let deviation = match slot.role {
        Role::Norm => return tensor(vec![1.0; slot.cols], [1, slot.cols]),
        Role::Matrix => DEVIATION,
        Role::Residual => DEVIATION / (2.0 * config.num_layers as f64).sqrt(),
    };
    let mut values = Vec::with_capacity(slot.rows() * slot.cols);
    for (name, rows) in &slot.parts {
        let key = SplitMix64::new(seed).next_u64();
        let mut rng = SplitMix64::new(key ^ fnv1a64(name.as_bytes()));
        values.extend((0..rows * slot.cols).map(|_| (rng.next_normal() * deviation) as f32));
    }
    tensor(values, [slot.rows(), slot.cols])
}
