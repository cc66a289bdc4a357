//! What a finished run leaves: the model folder and its report.

use std::collections::BTreeMap;
use std::time::Duration;

use parsimon_core::io::{TensorData, copy_file, write_json, write_safetensors};
use serde::{Deserialize, Serialize};

use super::{LmTrainer, Run};
use crate::TrainError;

/// Points of a loss curve, at most.
const POINTS_MAX: u64 = 200;
/// Tokens of the corpus whose logits are stored for comparison with other runtimes.
const CHECK_TOKENS: usize = 64;

/// The result of a run, as `train.json` holds it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainReport {
    /// The name of the preset.
    pub preset: String,
    /// The seed.
    pub seed: u64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Steps.
    pub steps: u64,
    /// Tokens that were trained on.
    pub tokens: u64,
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Seconds of training, those before an interruption included.
    pub seconds: f64,
    /// `tokens / seconds`.
    pub tokens_per_s: f64,
    /// The loss of the last point of the curve, in nats a token.
    pub final_loss: f64,
    /// The loss curve, at most 200 points.
    pub loss: Vec<LossPoint>,
}

/// A point of a loss curve.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct LossPoint {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Mean loss of the steps since the point before, in nats a token.
    pub loss: f64,
    /// The learning rate of the last of these steps.
    pub lr: f64,
}

impl TrainReport {
    pub(super) fn new(run: &Run<'_>, trainer: &LmTrainer, elapsed: Duration) -> Self {
        let train = run.train;
        let tokens_per_step = (train.batch * train.context) as u64;
        let interval = train.steps.div_ceil(POINTS_MAX);
        let mut step = 0;
        let point = |losses: &[f32]| {
            step += losses.len() as u64;
            let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
            LossPoint { step, tokens: step * tokens_per_step, loss, lr: train.learning_rate_at(step - 1) }
        };
        let loss: Vec<LossPoint> = trainer.losses().chunks(interval as usize).map(point).collect();
        let tokens = train.steps * tokens_per_step;
        let seconds = elapsed.as_secs_f64();
        TrainReport {
            preset: run.preset.to_owned(),
            seed: train.seed,
            parameters: run.model.parameter_count(),
            steps: train.steps,
            tokens,
            batch: train.batch,
            context: train.context,
            seconds,
            tokens_per_s: if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 },
            final_loss: loss.last().expect("a run has at least one step").loss,
            loss,
        }
    }
}

/// Writes the model folder, `train.json` last.
pub(super) fn write_folder(run: &Run<'_>, trainer: &LmTrainer, report: &TrainReport) -> Result<(), TrainError> {
    trainer.model().save(run.out)?;
    copy_file(&run.corpus.tokenizer_path(), &run.out.join("tokenizer.json"))?;
    let tokens: Vec<u32> = run.corpus.tokens().iter().take(CHECK_TOKENS).map(|&token| u32::from(token)).collect();
    let logits = trainer.model().logits(&tokens);
    let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    let check = BTreeMap::from([
        ("tokens".to_owned(), TensorData::from_i32(&[tokens.len()], &ids)),
        ("logits".to_owned(), TensorData::from_f32(&[tokens.len(), run.model.vocab_size], &logits)),
    ]);
    write_safetensors(&run.out.join("check.safetensors"), &check, None)?;
    write_json(&run.out.join("train.json"), report)?;
    Ok(())
}
