//! The training loop.

mod report;
mod state;

use std::path::Path;
use std::time::Duration;

use parsimon_core::{Control, Unit};
use parsimon_model::ModelConfig;
use rayon::prelude::*;

pub use report::{LossPoint, TrainReport};

use self::state::RunId;
use crate::adamw::{Moments, Update, squared_norm};
use crate::kernel::{Threads, add};
use crate::model::Pass;
use crate::ops::{Plain, slice};
use crate::{Batch, BatchSampler, Corpus, LmModel, TrainConfig, TrainError};

/// Tokens of a part of a batch; a part is one task of one thread.
const SHARD_TOKENS: usize = 1024;

/// A model in training: weights, moments and the losses so far.
///
/// [`train_lm`] drives it from a corpus to a model folder; use it directly to train step by step.
#[derive(Debug)]
pub struct LmTrainer {
    model: LmModel,
    config: TrainConfig,
    moments: Vec<Moments>,
    losses: Vec<f32>,
    pass: Pass,
}

impl LmTrainer {
    /// A trainer before its first step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] when a setting is out of range.
    pub fn try_new(model: &ModelConfig, config: TrainConfig) -> Result<Self, TrainError> {
        config.check()?;
        let model = LmModel::random(model, config.seed)?;
        let moments = (0..model.len()).map(|i| Moments::zeros(model.weight(i).len())).collect();
        let pass = Pass::new(model.config(), config.context, Threads::Caller);
        Ok(LmTrainer { model, config, moments, losses: Vec::new(), pass })
    }

    /// Steps that are done.
    pub fn steps_done(&self) -> u64 {
        self.losses.len() as u64
    }

    /// The model so far.
    pub fn model(&self) -> &LmModel {
        &self.model
    }

    /// The loss of every step that is done, each before its update.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// One step: the loss and its gradient on a batch, clipping, AdamW. Returns the loss.
    ///
    /// # Errors
    ///
    /// [`TrainError::Diverged`] when the loss or the gradient is not finite; the weights then stay as they were.
    pub fn step(&mut self, batch: &Batch) -> Result<f32, TrainError> {
        let step = self.steps_done();
        let (loss, gradients) = self.gradients(batch);
        let norm = squared_norm(gradients.iter().map(slice)).sqrt();
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(TrainError::Diverged { step, loss });
        }
        let scale = if norm > self.config.clip_norm { self.config.clip_norm / norm } else { 1.0 };
        let rate = self.config.learning_rate_at(step);
        for (i, (gradient, moments)) in gradients.iter().zip(&mut self.moments).enumerate() {
            let decay = if self.model.decays(i) { self.config.weight_decay } else { 0.0 };
            Update::new(step, rate, decay, scale).apply(self.model.weight_mut(i), slice(gradient), moments);
        }
        for gradient in gradients {
            self.pass.tape.recycle(gradient);
        }
        self.losses.push(loss);
        Ok(loss)
    }

    /// Loss and gradients of a batch: parts of it run side by side, and are added in order.
    fn gradients(&self, batch: &Batch) -> (f32, Vec<Plain>) {
        let (context, total) = (self.config.context, batch.inputs.len());
        let part_len = SHARD_TOKENS.div_ceil(context).min(self.config.batch.div_ceil(2)) * context;
        let parts: Vec<Batch> = (batch.inputs.chunks(part_len).zip(batch.targets.chunks(part_len)))
            .map(|(inputs, targets)| Batch { inputs: inputs.into(), targets: targets.into() })
            .collect();
        let results: Vec<(f32, Vec<Plain>)> =
            parts.par_iter().map(|part| self.model.gradients(&self.pass, part, total)).collect();
        let mut results = results.into_iter();
        let (mut loss, mut sums) = results.next().expect("a batch is not empty");
        for (part_loss, gradients) in results {
            loss += part_loss;
            sums.par_iter_mut().zip(&gradients).for_each(|(sum, gradient)| add(sum.storage_mut(), slice(gradient)));
            for gradient in gradients {
                self.pass.tape.recycle(gradient);
            }
        }
        (loss, sums)
    }
}

/// What [`train_lm`] trains and where it writes.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The name of the preset, for the report.
    pub preset: &'a str,
    /// The model.
    pub model: &'a ModelConfig,
    /// The settings.
    pub train: TrainConfig,
    /// The text.
    pub corpus: &'a Corpus,
    /// The model folder to write.
    pub out: &'a Path,
}

/// Pre-trains a model and writes its folder: `config.json`, `model.safetensors`, `tokenizer.json`, `check.safetensors` and
/// `train.json`, the last one last.
///
/// While it runs, `state/` in the folder holds what an interrupted run goes on from: it is saved every `save_every` steps and
/// when the control cancels, and removed at the end. A run that was interrupted gives the bit-identical model. `clock` returns
/// the time since any fixed moment.
///
/// # Errors
///
/// [`TrainError`]: the settings, the corpus, the state of another run in the folder, a loss that is not finite, files that
/// cannot be written; [`TrainError::Cancelled`] after the state was saved.
pub fn train_lm(run: &Run<'_>, clock: &dyn Fn() -> Duration, control: &Control<'_>) -> Result<TrainReport, TrainError> {
    let Run { model, train, corpus, out, .. } = *run;
    if corpus.vocab_size() != model.vocab_size {
        let (file, corpus) = (corpus.index_path().to_owned(), corpus.vocab_size());
        return Err(TrainError::VocabSize { file, corpus, model: model.vocab_size });
    }
    let begin = clock();
    let mut trainer = LmTrainer::try_new(model, train)?;
    let mut sampler = BatchSampler::try_new(corpus, train.context, train.batch, train.seed)?;
    let id = RunId::new(run);
    let state = out.join("state");
    let before = state::load(&state, &id, &mut trainer)?.unwrap_or_default();
    let elapsed = || before + (clock() - begin);
    control.progress.start("train", Some(train.steps), Unit::Items("steps"));
    control.progress.advance(trainer.steps_done());
    for step in trainer.steps_done()..train.steps {
        if let Err(cancelled) = control.cancel.check() {
            state::save(&state, &id, &trainer, elapsed())?;
            return Err(cancelled.into());
        }
        let loss = trainer.step(&sampler.batch(step))?;
        control.progress.advance(1);
        control.progress.message(&format!("loss {loss:.3}"));
        if trainer.steps_done().is_multiple_of(train.save_every) && trainer.steps_done() < train.steps {
            state::save(&state, &id, &trainer, elapsed())?;
        }
    }
    control.progress.finish();
    let report = TrainReport::new(run, &trainer, elapsed());
    report::write_folder(run, &trainer, &report)?;
    state::remove(&state)?;
    Ok(report)
}
