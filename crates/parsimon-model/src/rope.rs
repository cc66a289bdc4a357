//! Rotary position embedding: frequencies, scaling, rotation.
//!
//! `f_i = theta^(-2i / d)`; position `t` rotates the pair `(x_i, x_{i + d/2})` by the angle `t f_i` ("rotate half").

use crate::{ModelConfig, RopeScaling};

/// The frequencies of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct RopeFrequencies {
    inv_freq: Vec<f64>,
}

impl RopeFrequencies {
    /// The frequencies of a configuration, scaled as it says.
    pub fn new(config: &ModelConfig) -> Self {
        let d = config.head_dim;
        let base = (0..d / 2).map(|i| config.rope_theta.powf(-2.0 * i as f64 / d as f64));
        RopeFrequencies { inv_freq: base.map(|f| scaled(f, config.rope_scaling)).collect() }
    }

    /// `f_i` for every pair.
    pub fn inv_freq(&self) -> &[f64] {
        &self.inv_freq
    }

    /// Cosines and sines of `n` positions from `start` on.
    pub(crate) fn angles(&self, start: usize, n: usize) -> RopeAngles {
        let angles = (start..start + n).flat_map(|t| self.inv_freq.iter().map(move |f| t as f64 * f));
        let (cos, sin) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        RopeAngles { half: self.inv_freq.len(), cos, sin }
    }
}

fn scaled(f: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::Default => f,
        RopeScaling::Linear { factor } => f / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            let wavelength = std::f64::consts::TAU / f;
            if wavelength > original_max_position_embeddings / low_freq_factor {
                f / factor
            } else if wavelength < original_max_position_embeddings / high_freq_factor {
                f
            } else {
                let t = (original_max_position_embeddings / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - t) * f / factor + t * f
            }
        }
    }
}

/// Cosines and sines of the positions of some tokens.
pub(crate) struct RopeAngles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeAngles {
    /// The positions of several sequences, one after the other.
    pub(crate) fn concat(parts: impl Iterator<Item = RopeAngles>) -> Self {
        let append = |mut all: RopeAngles, part: RopeAngles| {
            all.cos.extend(part.cos);
            all.sin.extend(part.sin);
            all
        };
        parts.reduce(append).unwrap_or(RopeAngles { half: 0, cos: Vec::new(), sin: Vec::new() })
    }

    /// Rotates `x [n, heads, d]` in place.
    pub(crate) fn rotate(&self, x: &mut [f32], heads: usize) {
        let d = 2 * self.half;
        for (t, row) in x.chunks_exact_mut(heads * d).enumerate() {
            let cos = &self.cos[t * self.half..][..self.half];
            let sin = &self.sin[t * self.half..][..self.half];
            for head in row.chunks_exact_mut(d) {
                let (low, high) = head.split_at_mut(self.half);
                for i in 0..self.half {
                    let (a, b) = (low[i], high[i]);
                    low[i] = a * cos[i] - b * sin[i];
                    high[i] = b * cos[i] + a * sin[i];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
