//! Rotary position embedding: frequencies, scaling, rotation.
//!
//! `f_i = theta^(-2i / d)` with `d` the elements of a head that rotate; position `t` rotates the pair `(x_i, x_{i + d/2})` by the angle `t f_i`
//! ("rotate half"). Scalings change the frequencies, and some multiply cosines and sines:
//!
//! ```text
//! linear    f_i / factor
//! dynamic   theta' = theta (factor L / max - (factor - 1))^(d / (d - 2))      L = max(sequence length, max)
//! llama3    f_i, f_i / factor, or between them, by the wavelength 2 pi / f_i
//! yarn      f_i / factor r_i + f_i (1 - r_i)      r_i = clamp((i - low) / (high - low), 0, 1)
//!           low, high = the pairs that rotate beta_fast and beta_slow times in the original context
//! longrope  f_i / short_i, or f_i / long_i once the sequence is longer than the original context
//! ```
//!
//! Dynamic and longrope tables depend on the length of the sequence: keys that were rotated with another table are of no use, so a
//! sequence whose [`RopePhase`] changes is computed again from its first token, as the reference does.

use std::borrow::Cow;
use std::ops::Range;

use crate::{ModelConfig, RopeScaling};

/// The frequencies of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct RopeFrequencies {
    head_dim: usize,
    /// Up to the length where they change, if they do.
    inv_freq: Vec<f64>,
    growth: Growth,
    /// What cosines and sines are multiplied with.
    attention_scaling: f64,
}

/// What becomes of the frequencies of long sequences.
#[derive(Clone, PartialEq, Debug)]
enum Growth {
    /// Nothing.
    None,
    /// Others beyond a length.
    Switch { beyond: usize, inv_freq: Vec<f64> },
    /// Another base for every length beyond `max`.
    Base { max: usize, theta: f64, factor: f64 },
}

/// Which table a sequence is rotated with; keys of another phase cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RopePhase(usize);

impl RopeFrequencies {
    /// The frequencies of a configuration, scaled as it says.
    pub fn new(config: &ModelConfig) -> Self {
        let (d, theta) = (config.rotary_dim(), config.rope_theta);
        let base = frequencies(theta, d);
        let divided = |by: &[f64]| base.iter().zip(by).map(|(f, by)| f / by).collect::<Vec<f64>>();
        let (mut growth, mut attention_scaling) = (Growth::None, 1.0);
        let inv_freq = match &config.rope_scaling {
            RopeScaling::Default => base,
            RopeScaling::Linear { factor } => base.iter().map(|f| f / factor).collect(),
            RopeScaling::Dynamic { factor } => {
                growth = Growth::Base { max: config.max_position_embeddings, theta, factor: *factor };
                base
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let (low, high, original) = (*low_freq_factor, *high_freq_factor, *original_max_position_embeddings);
                base.iter().map(|&f| by_wavelength(f, *factor, (low, high), original)).collect()
            }
            RopeScaling::Yarn { attention_factor, .. } => {
                attention_scaling = *attention_factor;
                yarn(&base, theta, &config.rope_scaling)
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                attention_factor,
                original_max_position_embeddings: beyond,
            } => {
                attention_scaling = *attention_factor;
                if short_factor != long_factor {
                    growth = Growth::Switch { beyond: *beyond, inv_freq: divided(long_factor) };
                }
                divided(short_factor)
            }
        };
        RopeFrequencies { head_dim: config.head_dim, inv_freq, growth, attention_scaling }
    }

    /// `f_i` for every pair, for sequences within the original context.
    pub fn inv_freq(&self) -> &[f64] {
        &self.inv_freq
    }

    /// `f_i` for every pair of a sequence of `len` tokens.
    pub fn inv_freq_at(&self, len: usize) -> Cow<'_, [f64]> {
        match &self.growth {
            Growth::Switch { beyond, inv_freq } if len > *beyond => inv_freq.into(),
            Growth::Base { max, theta, factor } if len > *max => {
                let d = 2 * self.inv_freq.len();
                let longer = factor * len as f64 / *max as f64 - (factor - 1.0);
                frequencies(theta * longer.powf(d as f64 / (d as f64 - 2.0)), d).into()
            }
            _ => (&self.inv_freq).into(),
        }
    }

    /// What cosines and sines are multiplied with.
    pub fn attention_scaling(&self) -> f64 {
        self.attention_scaling
    }

    /// The table of a sequence of `len` tokens.
    pub fn phase(&self, len: usize) -> RopePhase {
        match &self.growth {
            Growth::Switch { beyond, .. } if len > *beyond => RopePhase(1),
            Growth::Base { max, .. } if len > *max => RopePhase(len),
            _ => RopePhase(0),
        }
    }

    /// Whether the table depends on the length of the sequence.
    pub fn depends_on_length(&self) -> bool {
        self.growth != Growth::None
    }

    /// Appends cosines and sines of some positions of a sequence of `len` tokens.
    pub(crate) fn append_angles(&self, positions: Range<usize>, len: usize, out: &mut RopeAngles) {
        let (inv_freq, scaling) = (self.inv_freq_at(len), self.attention_scaling);
        let angles = positions.flat_map(|t| inv_freq.iter().map(move |f| t as f64 * f));
        for angle in angles {
            out.cos.push((scaling * angle.cos()) as f32);
            out.sin.push((scaling * angle.sin()) as f32);
        }
        (out.half, out.head_dim) = (inv_freq.len(), self.head_dim);
    }
}

/// `theta^(-2i / d)` for `d / 2` pairs.
fn frequencies(theta: f64, d: usize) -> Vec<f64> {
    (0..d / 2).map(|i| theta.powf(-2.0 * i as f64 / d as f64)).collect()
}

fn by_wavelength(f: f64, factor: f64, (low, high): (f64, f64), original: f64) -> f64 {
    let wavelength = std::f64::consts::TAU / f;
    if wavelength > original / low {
        f / factor
    } else if wavelength < original / high {
        f
    } else {
        let t = (original / wavelength - low) / (high - low);
        (1.0 - t) * f / factor + t * f
    }
}

fn yarn(base: &[f64], theta: f64, scaling: &RopeScaling) -> Vec<f64> {
    let &RopeScaling::Yarn { factor, beta_fast, beta_slow, truncate, original_max_position_embeddings, .. } = scaling
    else {
        return base.to_vec();
    };
    let d = 2.0 * base.len() as f64;
    // The pair that rotates `rotations` times in the original context.
    let pair = |rotations: f64| {
        d * (original_max_position_embeddings / (rotations * std::f64::consts::TAU)).ln() / (2.0 * theta.ln())
    };
    let (low, high) = (pair(beta_fast), pair(beta_slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, mut high) = (low.max(0.0), high.min(d - 1.0));
    if low == high {
        high += 0.001;
    }
    let ramp = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
    base.iter().enumerate().map(|(i, f)| f / factor * ramp(i) + f * (1.0 - ramp(i))).collect()
}

/// Cosines and sines of the positions of some tokens, of one sequence or several of one model.
#[derive(Clone, Default, Debug)]
pub(crate) struct RopeAngles {
    half: usize,
    head_dim: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeAngles {
    /// No positions.
    pub(crate) fn clear(&mut self) {
        self.cos.clear();
        self.sin.clear();
    }

    /// Rotates `x [n, heads, head_dim]` in place; what is beyond the pairs of a head stays.
    pub(crate) fn rotate(&self, x: &mut [f32], heads: usize) {
        let (d, rotary) = (self.head_dim, 2 * self.half);
        for (t, row) in x.chunks_exact_mut(heads * d).enumerate() {
            let cos = &self.cos[t * self.half..][..self.half];
            let sin = &self.sin[t * self.half..][..self.half];
            for head in row.chunks_exact_mut(d) {
                let (low, high) = head[..rotary].split_at_mut(self.half);
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
