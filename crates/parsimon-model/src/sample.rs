//! From logits to a token: greedy, or temperature and top-p with a seed.

use parsimon_core::{Diagnose, SplitMix64};
use parsimon_simd::math::exp2;
use parsimon_simd::{Level, Vectorize, vectorize};

/// Chooses tokens. The same seed and the same logits give the same tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    rng: SplitMix64,
}

/// A sampling option is out of range.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{option} = {value}: expected {expected}")]
pub struct SamplerError {
    /// The option's name.
    pub option: &'static str,
    /// What was given.
    pub value: f32,
    /// What is allowed.
    pub expected: &'static str,
}

impl Diagnose for SamplerError {}

impl Sampler {
    /// Always the most likely token; the lowest id among equals.
    pub fn greedy() -> Self {
        Sampler { temperature: 0.0, top_p: 1.0, rng: SplitMix64::new(0) }
    }

    /// `temperature` 0 is greedy; above, the logits are divided by it and the smallest set of most likely tokens whose probabilities reach
    /// `top_p` is sampled from.
    ///
    /// # Errors
    ///
    /// [`SamplerError`] for a negative or infinite temperature, or a `top_p` outside (0, 1].
    pub fn try_new(temperature: f32, top_p: f32, seed: u64) -> Result<Self, SamplerError> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            let expected = "a finite number of at least 0";
            return Err(SamplerError { option: "temperature", value: temperature, expected });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplerError { option: "top_p", value: top_p, expected: "a number above 0 and at most 1" });
        }
        Ok(Sampler { temperature, top_p, rng: SplitMix64::new(seed) })
    }

    /// The next token. NaN logits are never chosen while a number is left.
    ///
    /// # Panics
    ///
    /// When `logits` is empty.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        assert!(!logits.is_empty(), "there must be a token to choose");
        if self.temperature == 0.0 { argmax(logits) } else { self.sample_top_p(logits) }
    }

    fn sample_top_p(&mut self, logits: &[f32]) -> u32 {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max.is_infinite() {
            return argmax(logits);
        }
        let mut weights = vec![0.0; logits.len()];
        let total =
            vectorize(Level::best(), Weights { logits, max, temperature: self.temperature, weights: &mut weights });
        let nucleus = nucleus(&weights, f64::from(self.top_p) * total);
        let mass: f64 = nucleus.iter().map(|&token| f64::from(weights[token as usize])).sum();
        let mut target = self.rng.next_f64() * mass;
        for &token in &nucleus {
            target -= f64::from(weights[token as usize]);
            if target < 0.0 {
                return token;
            }
        }
        nucleus[nucleus.len() - 1]
    }
}

/// `weights = e^((logits - max) / temperature)`, 0 for NaN; returns their sum.
struct Weights<'a> {
    logits: &'a [f32],
    max: f32,
    temperature: f32,
    weights: &'a mut [f32],
}

impl Vectorize for Weights<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let factor = std::f32::consts::LOG2_E / self.temperature;
        for (weight, &logit) in self.weights.iter_mut().zip(self.logits) {
            let exponential = exp2::<FMA>((logit - self.max) * factor);
            *weight = if logit.is_nan() { 0.0 } else { exponential };
        }
        self.weights.iter().map(|&weight| f64::from(weight)).sum()
    }
}

/// The smallest set of most likely tokens whose weights reach `mass`, most likely first, equal ones by id.
///
/// Only as many candidates as are needed get sorted: a whole vocabulary would cost more than a decoding step of a small model.
fn nucleus(weights: &[f32], mass: f64) -> Vec<u32> {
    const CANDIDATES: usize = 64;
    let order = |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b));
    let mut tokens: Vec<u32> = (0..weights.len() as u32).collect();
    let mut n = CANDIDATES;
    loop {
        n = n.min(tokens.len());
        if n < tokens.len() {
            tokens.select_nth_unstable_by(n, order);
        }
        tokens[..n].sort_unstable_by(order);
        let mut kept = 0.0;
        let reached = tokens[..n].iter().position(|&token| {
            kept += f64::from(weights[token as usize]);
            kept >= mass
        });
        if let Some(last) = reached {
            tokens.truncate(last + 1);
            return tokens;
        }
        if n == tokens.len() {
            return tokens;
        }
        n *= 4;
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &logit) in logits.iter().enumerate() {
        if logit > logits[best] || logits[best].is_nan() && !logit.is_nan() {
            best = i;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests;
