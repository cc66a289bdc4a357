//! From logits to a token: penalties, then greedy or a draw from the most likely tokens, with a seed.

mod options;

use std::collections::HashMap;

use parsimon_core::SplitMix64;
use parsimon_simd::math::exp2;
use parsimon_simd::{Level, Vectorize, vectorize};

use crate::{ModelError, TokenConstraint};

pub use options::{SamplerError, SamplingOptions};

/// Chooses tokens. The same seed and the same logits give the same tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    rng: SplitMix64,
    seen: HashMap<u32, Seen>,
    /// Buffers of the draw.
    weights: Vec<f32>,
    tokens: Vec<u32>,
}

/// Where a token occurred.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    /// Times in the output; 0 when it is in the prompt alone.
    output: u32,
}

impl Sampler {
    /// Always the most likely token; the lowest id among equals.
    pub fn greedy() -> Self {
        Self::new(SamplingOptions::default())
    }

    /// `temperature` 0 is greedy; above, the logits are divided by it and the smallest set of most likely tokens whose probabilities reach
    /// `top_p` is sampled from.
    ///
    /// # Errors
    ///
    /// [`SamplerError`] for a negative or infinite temperature, or a `top_p` outside (0, 1].
    pub fn try_new(temperature: f32, top_p: f32, seed: u64) -> Result<Self, SamplerError> {
        Self::with_options(&SamplingOptions { temperature, top_p, seed, ..SamplingOptions::default() })
    }

    /// A sampler that does what `options` say.
    ///
    /// # Errors
    ///
    /// As [`SamplingOptions::validate`].
    pub fn with_options(options: &SamplingOptions) -> Result<Self, SamplerError> {
        options.validate()?;
        Ok(Self::new(options.clone()))
    }

    fn new(options: SamplingOptions) -> Self {
        let rng = SplitMix64::new(options.seed);
        Sampler { options, rng, seen: HashMap::new(), weights: Vec::new(), tokens: Vec::new() }
    }

    /// Notes the tokens of the prompt, for the repetition penalty.
    pub fn observe_prompt(&mut self, tokens: &[u32]) {
        if self.options.has_penalties() {
            tokens.iter().for_each(|&token| _ = self.seen.entry(token).or_default());
        }
    }

    /// Notes a token of the output, for the penalties.
    pub fn accept(&mut self, token: u32) {
        if self.options.has_penalties() {
            self.seen.entry(token).or_default().output += 1;
        }
    }

    /// Whether [`Sampler::adjust`] would change anything.
    pub fn adjusts(&self) -> bool {
        self.options.changes_logits()
    }

    /// Biases and penalties, in place: steps 1 to 3 of [`SamplingOptions`].
    pub fn adjust(&self, logits: &mut [f32]) {
        let SamplingOptions { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.options;
        for &(token, bias) in &self.options.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for (&token, seen) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            if seen.output > 0 {
                *logit -= presence_penalty + frequency_penalty * seen.output as f32;
            }
        }
    }

    /// The next token of adjusted logits, steps 5 to 9 of [`SamplingOptions`]. NaN logits are never chosen while a number is left.
    ///
    /// # Panics
    ///
    /// When `logits` is empty.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        assert!(!logits.is_empty(), "there must be a token to choose");
        if self.options.temperature == 0.0 { argmax(logits) } else { self.draw(logits) }
    }

    /// Adjusts and chooses: steps 1 to 9 of [`SamplingOptions`].
    ///
    /// # Errors
    ///
    /// [`ModelError::NoToken`] when every logit is NaN or negative infinity.
    pub(crate) fn next_token(
        &mut self,
        logits: &mut [f32],
        constraint: Option<&mut dyn TokenConstraint>,
    ) -> Result<u32, ModelError> {
        self.adjust(logits);
        if let Some(constraint) = constraint {
            constraint.mask(logits);
        }
        let token = self.sample(logits);
        if logits[token as usize] > f32::NEG_INFINITY { Ok(token) } else { Err(ModelError::NoToken) }
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        // One number a token whatever the logits are: the state of the generator tells how many tokens were chosen.
        let uniform = self.rng.next_f64();
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max.is_infinite() {
            return argmax(logits);
        }
        let SamplingOptions { temperature, top_k, top_p, min_p, .. } = self.options;
        let (weights, tokens) = (&mut self.weights, &mut self.tokens);
        weights.resize(logits.len(), 0.0);
        let total = vectorize(Level::best(), Weights { logits, max, temperature, weights });
        tokens.clear();
        tokens.extend(0..logits.len() as u32);
        let mut likely = Descending { weights, tokens, sorted: 0 };
        let total = if top_k > 0 && top_k < logits.len() { likely.keep(top_k) } else { total };
        let mass = if top_p < 1.0 || min_p > 0.0 { likely.nucleus(f64::from(top_p) * total, min_p) } else { total };
        likely.draw(uniform * mass)
    }
}

/// Tokens from the most to the least likely, equal ones by id.
///
/// Only as many as are asked for get sorted: a whole vocabulary would cost more than a decoding step of a small model.
struct Descending<'a> {
    weights: &'a [f32],
    tokens: &'a mut Vec<u32>,
    /// So many are in order; none of the others is likelier.
    sorted: usize,
}

impl Descending<'_> {
    /// The token of rank `i` with its weight.
    fn get(&mut self, i: usize) -> Option<(u32, f64)> {
        const CANDIDATES: usize = 64;
        while self.sorted <= i && self.sorted < self.tokens.len() {
            self.sort((4 * self.sorted).max(CANDIDATES).min(self.tokens.len()));
        }
        self.tokens.get(i).map(|&token| (token, f64::from(self.weights[token as usize])))
    }

    /// Brings the first `n` into order.
    fn sort(&mut self, n: usize) {
        let by_weight =
            |a: &u32, b: &u32| self.weights[*b as usize].total_cmp(&self.weights[*a as usize]).then(a.cmp(b));
        let rest = &mut self.tokens[self.sorted..];
        let more = n - self.sorted;
        if more < rest.len() {
            rest.select_nth_unstable_by(more, by_weight);
        }
        rest[..more].sort_unstable_by(by_weight);
        self.sorted = n;
    }

    /// Leaves the `k` most likely and returns the sum of their weights.
    fn keep(&mut self, k: usize) -> f64 {
        self.sort(k);
        self.tokens.truncate(k);
        self.tokens.iter().map(|&token| f64::from(self.weights[token as usize])).sum()
    }

    /// Leaves the smallest set of most likely tokens whose weights reach `mass`, of these the ones with a weight of at least `min_p`, and returns
    /// the sum of their weights. The most likely token has weight 1 and always stays.
    fn nucleus(&mut self, mass: f64, min_p: f32) -> f64 {
        let (mut kept, mut n) = (0.0, 0);
        while let Some((_, weight)) = self.get(n) {
            if n > 0 && (kept >= mass || weight < f64::from(min_p)) {
                break;
            }
            kept += weight;
            n += 1;
        }
        self.tokens.truncate(n);
        self.sorted = self.sorted.min(n);
        kept
    }

    /// The first token at which the weights exceed `target`, or the last of any weight.
    fn draw(mut self, mut target: f64) -> u32 {
        let (mut last, mut i) = (self.tokens[0], 0);
        while let Some((token, weight)) = self.get(i).filter(|&(_, weight)| i == 0 || weight > 0.0) {
            (last, i) = (token, i + 1);
            target -= weight;
            if target < 0.0 {
                break;
            }
        }
        last
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

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &logit) in logits.iter().enumerate() {
        if logit > logits[best] || logits[best].is_nan() && !logit.is_nan() {
            best = i;
        }
    }
    best as u32
}

/// `ln softmax(logits)[token]`, and the `n` most likely tokens with theirs, most likely first.
pub(crate) fn log_probabilities(logits: &[f32], token: u32, n: usize) -> (f32, Vec<(u32, f32)>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().filter(|l| !l.is_nan()).map(|&logit| f64::from(logit - max).exp()).sum();
    let of = |token: u32| (f64::from(logits[token as usize] - max) - sum.ln()) as f32;
    let mut tokens: Vec<u32> = (0..logits.len() as u32).filter(|&token| !logits[token as usize].is_nan()).collect();
    let n = n.min(tokens.len());
    Descending { weights: logits, tokens: &mut tokens, sorted: 0 }.keep(n);
    (of(token), tokens.into_iter().map(|token| (token, of(token))).collect())
}

#[cfg(test)]
mod tests;
