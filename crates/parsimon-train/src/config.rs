//! Settings of a pre-training run, and the presets.

use parsimon_model::{ModelConfig, SIGMA_TINY};
use serde::Serialize;

use crate::TrainError;

/// How a model is trained. Steps decide the end, never time, so that a run can be repeated.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TrainConfig {
    /// Updates of the weights.
    pub steps: u64,
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// The learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Weight decay on matrices.
    pub weight_decay: f64,
    /// The norm above which the gradient is scaled down.
    pub clip_norm: f64,
    /// The seed of the weights and of the order of the text.
    pub seed: u64,
    /// Steps between two saves of the state that an interrupted run goes on from.
    pub save_every: u64,
}

impl TrainConfig {
    /// The learning rate of a step, counted from 0: a linear warm-up, then half a cosine down to a tenth.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        const FLOOR: f64 = 0.1;
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1);
        let done = (step - self.warmup_steps) as f64 / rest as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.learning_rate * (FLOOR + (1.0 - FLOOR) * cosine)
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] for the first that is out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        let positive = "a number above 0";
        let checks = [
            (self.steps > 0, "steps", self.steps.to_string(), positive),
            (self.batch > 0, "batch", self.batch.to_string(), positive),
            (self.context > 0, "context", self.context.to_string(), positive),
            (self.save_every > 0, "save_every", self.save_every.to_string(), positive),
            (
                self.learning_rate > 0.0 && self.learning_rate <= 1.0,
                "learning_rate",
                self.learning_rate.to_string(),
                "a number above 0 and at most 1",
            ),
            (
                (0.0..=1.0).contains(&self.weight_decay),
                "weight_decay",
                self.weight_decay.to_string(),
                "a number from 0 to 1",
            ),
            (self.clip_norm > 0.0, "clip_norm", self.clip_norm.to_string(), positive),
        ];
        match checks.into_iter().find(|(valid, ..)| !valid) {
            Some((_, field, value, expected)) => Err(TrainError::Setting { field, value, expected }),
            None => Ok(()),
        }
    }
}

/// The model and the settings of a preset for a vocabulary.
///
/// # Errors
///
/// [`TrainError::UnknownPreset`] with the names there are.
pub fn preset(name: &str, vocab_size: usize) -> Result<(ModelConfig, TrainConfig), TrainError> {
    if name != SIGMA_TINY {
        return Err(TrainError::UnknownPreset { name: name.to_owned(), known: SIGMA_TINY });
    }
    let model = ModelConfig::sigma_tiny(vocab_size);
    let train = TrainConfig {
        steps: 2300,
        batch: 4,
        context: 256,
        learning_rate: 2e-3,
        warmup_steps: 100,
        weight_decay: 0.1,
        clip_norm: 1.0,
        seed: 1,
        save_every: 500,
    };
    Ok((model, train))
}

#[cfg(test)]
mod tests;
