//! From logits to a token: greedy, or temperature and top-p with a seed.

use parsimon_core::{Diagnose, SplitMix64};

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
        let mut order: Vec<u32> = (0..logits.len() as u32).filter(|&i| !logits[i as usize].is_nan()).collect();
        let logit = |i: u32| logits[i as usize];
        order.sort_unstable_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
        let Some(&first) = order.first() else { return argmax(logits) };
        let max = logit(first);
        if max.is_infinite() {
            return first;
        }
        let weights: Vec<f64> =
            order.iter().map(|&i| (f64::from(logit(i) - max) / f64::from(self.temperature)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0.0;
        let nucleus = weights
            .iter()
            .position(|weight| {
                kept += weight;
                kept >= f64::from(self.top_p) * total
            })
            .map_or(weights.len(), |last| last + 1);
        let mut target = self.rng.next_f64() * weights[..nucleus].iter().sum::<f64>();
        for (&token, weight) in order.iter().zip(&weights[..nucleus]) {
            target -= weight;
            if target < 0.0 {
                return token;
            }
        }
        order[nucleus - 1]
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
