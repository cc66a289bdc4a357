//! AdamW with decoupled weight decay, one pass over weights, gradient and moments.
//!
//! ```text
//! m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
//! w <- w (1 - lr decay) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//! ```

use rayon::prelude::*;

use crate::kernel::{fma, vectorized};

/// Decay rates of the two moments.
const BETAS: (f64, f64) = (0.9, 0.95);
/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;
/// Elements of one task; fixed, so that sums do not depend on the number of threads.
const TASK: usize = 1 << 16;

/// First and second moments of one tensor.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

impl Moments {
    pub(crate) fn zeros(len: usize) -> Self {
        Moments { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// The factors of one step for one tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    rate: f32,
    keep: f32,
    root_scale: f32,
    gradient_scale: f32,
}

impl Update {
    /// Factors of step `step`, counted from 0; `gradient_scale` multiplies every gradient first.
    pub(crate) fn new(step: u64, learning_rate: f64, weight_decay: f64, gradient_scale: f64) -> Self {
        let t = step as f64 + 1.0;
        Update {
            rate: (learning_rate / (1.0 - BETAS.0.powf(t))) as f32,
            keep: (1.0 - learning_rate * weight_decay) as f32,
            root_scale: (1.0 / (1.0 - BETAS.1.powf(t))) as f32,
            gradient_scale: gradient_scale as f32,
        }
    }

    /// Moves the weights of one tensor.
    pub(crate) fn apply(self, weights: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let moments = moments.first.par_chunks_mut(TASK).zip(moments.second.par_chunks_mut(TASK));
        weights
            .par_chunks_mut(TASK)
            .zip(gradient.par_chunks(TASK))
            .zip(moments)
            .for_each(|((weights, gradient), (first, second))| apply_all(self, weights, gradient, first, second));
    }
}

vectorized! {
    fn apply_all<'a>(
        update: Update,
        weights: &'a mut [f32],
        gradient: &'a [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
    ) {
        let (b1, b2, epsilon) = (BETAS.0 as f32, BETAS.1 as f32, EPSILON as f32);
        for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
            let g = g * update.gradient_scale;
            *m = fma::<FMA>(b1, *m, (1.0 - b1) * g);
            *v = fma::<FMA>(b2, *v, (1.0 - b2) * g * g);
            let root = (*v * update.root_scale).sqrt() + epsilon;
            *w = fma::<FMA>(*w, update.keep, -(update.rate * *m / root));
        }
    }
}

/// `sum g^2` over all gradients, in `f64`.
pub(crate) fn squared_norm<'a>(gradients: impl Iterator<Item = &'a [f32]>) -> f64 {
    let square = |chunk: &[f32]| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    gradients.map(|gradient| gradient.par_chunks(TASK).map(square).collect::<Vec<f64>>().iter().sum::<f64>()).sum()
}

#[cfg(test)]
mod tests;
