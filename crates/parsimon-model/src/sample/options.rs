//! What a sampler does to logits before it draws.

use parsimon_core::Diagnose;

/// How tokens are chosen; the default is greedy.
///
/// What is in use is applied in this order:
///
/// 1. `logit_bias`: added.
/// 2. `repetition_penalty` `r`: a token of the prompt or the output has its logit divided by `r` when positive, multiplied when negative.
/// 3. `presence_penalty`, `frequency_penalty`: `presence + frequency count` is subtracted from a token that the output holds `count` times.
/// 4. The request's constraint, which forbids tokens.
/// 5. `temperature`: logits are divided by it; 0 takes the largest, the lowest id among equals, and ends here.
/// 6. `top_k`: the `top_k` most likely tokens stay.
/// 7. `top_p`: of these the smallest set of most likely ones whose probabilities reach `top_p` of their sum.
/// 8. `min_p`: of these the ones with at least `min_p` times the probability of the most likely one.
/// 9. One draw from the generator, in proportion to what is left.
///
/// A NaN logit is never chosen while a number is left.
///
/// ```
/// use parsimon_model::{Sampler, SamplingOptions};
///
/// let options = SamplingOptions { temperature: 0.8, top_k: 40, seed: 7, ..SamplingOptions::default() };
/// let mut sampler = Sampler::with_options(&options)?;
/// assert!(sampler.sample(&[0.0, 9.0, 1.0]) < 3);
/// # Ok::<(), parsimon_model::SamplerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct SamplingOptions {
    /// 0 is greedy; finite.
    pub temperature: f32,
    /// How many of the most likely tokens stay; 0 for all.
    pub top_k: usize,
    /// Above 0, at most 1; 1 for all.
    pub top_p: f32,
    /// 0 to 1; 0 for all.
    pub min_p: f32,
    /// Above 0; 1 for none, more against repetition.
    pub repetition_penalty: f32,
    /// Finite; 0 for none.
    pub presence_penalty: f32,
    /// Finite; 0 for none.
    pub frequency_penalty: f32,
    /// Added to the logits of tokens; negative infinity forbids one. Tokens outside the vocabulary are ignored.
    pub logit_bias: Vec<(u32, f32)>,
    /// Of the generator: the same seed and the same logits give the same tokens.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        SamplingOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
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

impl SamplingOptions {
    /// Checks every option.
    ///
    /// # Errors
    ///
    /// [`SamplerError`] for the first that is out of range.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let SamplingOptions { temperature, top_p, min_p, repetition_penalty, .. } = *self;
        let bias = self.logit_bias.iter().map(|&(_, bias)| bias).find(|bias| bias.is_nan() || *bias == f32::INFINITY);
        let checks = [
            (
                "temperature",
                temperature,
                temperature.is_finite() && temperature >= 0.0,
                "a finite number of at least 0",
            ),
            ("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "a number above 0 and at most 1"),
            ("min_p", min_p, (0.0..=1.0).contains(&min_p), "a number from 0 to 1"),
            (
                "repetition_penalty",
                repetition_penalty,
                repetition_penalty.is_finite() && repetition_penalty > 0.0,
                "a finite number above 0",
            ),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.is_finite(), "a finite number"),
            ("frequency_penalty", self.frequency_penalty, self.frequency_penalty.is_finite(), "a finite number"),
            ("logit_bias", bias.unwrap_or(0.0), bias.is_none(), "a finite number or negative infinity"),
        ];
        match checks.into_iter().find(|(_, _, sound, _)| !sound) {
            Some((option, value, _, expected)) => Err(SamplerError { option, value, expected }),
            None => Ok(()),
        }
    }

    /// Whether any token's logit depends on the tokens before it.
    pub(crate) fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether the logits are changed before the choice.
    pub(crate) fn changes_logits(&self) -> bool {
        self.has_penalties() || !self.logit_bias.is_empty()
    }
}
