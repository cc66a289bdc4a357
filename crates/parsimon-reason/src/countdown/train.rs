//! Training of the small policy and of the preference model.

use parsimon_core::SplitMix64;

use super::domain::State;
use super::features::{FEATURES, features};
use super::mlp::{Adam, Mlp, Pass, Scratch, WEIGHTS};

/// Trains a policy and a value model from the rows of a round. The Countdown trainer is built in; larger models plug in outside.
pub trait Trainer {
    /// A row of supervised training.
    type Row;
    /// A preference.
    type Pair;
    /// The trained model.
    type Model;

    /// A policy from scratch.
    fn fit_policy(&self, rows: &[Self::Row], seed: u64) -> Self::Model;

    /// A value model from scratch.
    fn fit_value(&self, pairs: &[Self::Pair], seed: u64) -> Self::Model;
}

/// In this state this step was right.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PolicyRow {
    /// The state.
    pub state: State,
    /// The index of the step among [`State::steps`].
    pub step: usize,
}

/// This step is better than that one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pair {
    /// Features of the better step.
    pub better: [f32; FEATURES],
    /// Features of the worse step.
    pub worse: [f32; FEATURES],
    /// `1 / (better steps * worse steps)` of the place they come from. PAPER(rstar-math §3.3)
    pub weight: f32,
}

/// The trainer of the perceptrons.
#[derive(Clone, Copy, Debug)]
pub struct CountdownTrainer {
    /// Rate of the first step; it falls linearly to a fiftieth.
    pub rate: f32,
    /// Rows of a step.
    pub batch: usize,
    /// Passes over the policy's rows; half of them above 20,000 rows.
    pub policy_epochs: usize,
    /// Passes over the pairs.
    pub value_epochs: usize,
}

impl Default for CountdownTrainer {
    fn default() -> Self {
        CountdownTrainer { rate: 1.5e-3, batch: 64, policy_epochs: 8, value_epochs: 4 }
    }
}

/// The loop that all losses share: shuffled batches, Adam, a falling rate.
struct Run {
    mlp: Mlp,
    adam: Adam,
    gradient: Vec<f32>,
    pass: Pass,
    scratch: Scratch,
    dy: Vec<f32>,
}

impl CountdownTrainer {
    /// `loss` fills the inputs of one row; after the forward pass `derive` fills the derivatives of its outputs.
    fn run<R>(
        &self,
        rows: &[R],
        epochs: usize,
        seed: u64,
        inputs: impl Fn(&R, &mut Vec<f32>) -> usize,
        derive: impl Fn(&R, &[f32], &mut Vec<f32>),
    ) -> Mlp {
        let mut run = Run {
            mlp: Mlp::random(seed),
            adam: Adam::new(),
            gradient: vec![0.0; WEIGHTS],
            pass: Pass::default(),
            scratch: Scratch::default(),
            dy: Vec::new(),
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut rng = SplitMix64::new(seed ^ 0x5EED);
        let total = epochs * rows.len().div_ceil(self.batch);
        let mut step = 0;
        for _ in 0..epochs {
            rng.shuffle(&mut order);
            for batch in order.chunks(self.batch) {
                run.pass.x.clear();
                let counts: Vec<usize> = batch.iter().map(|row| inputs(&rows[*row], &mut run.pass.x)).collect();
                run.mlp.run(&mut run.pass);
                run.dy.clear();
                let mut at = 0;
                for (row, count) in batch.iter().zip(counts) {
                    derive(&rows[*row], &run.pass.y[at..at + count], &mut run.dy);
                    at += count;
                }
                run.dy.iter_mut().for_each(|dy| *dy /= batch.len() as f32);
                run.gradient.fill(0.0);
                run.mlp.backward(&run.pass, &run.dy, &mut run.gradient, &mut run.scratch);
                let rate = self.rate * (1.0 - 0.98 * step as f32 / total.max(1) as f32);
                run.adam.step(&mut run.mlp.weights, &run.gradient, rate);
                step += 1;
            }
        }
        run.mlp
    }

    /// Regression of `tanh(y / 5)` to a value: the ablations that learn values instead of preferences.
    pub fn fit_values(&self, rows: &[([f32; FEATURES], f32)], seed: u64) -> Mlp {
        self.run(
            rows,
            self.value_epochs,
            seed,
            |(x, _), inputs| {
                inputs.extend(x);
                1
            },
            |(_, target), y, dy| {
                let value = (y[0] / 5.0).tanh();
                dy.push(4.0 * 2.0 * (value - target) * (1.0 - value * value) / 5.0);
            },
        )
    }
}

impl Trainer for CountdownTrainer {
    type Row = PolicyRow;
    type Pair = Pair;
    type Model = Mlp;

    /// Cross-entropy of the softmax over the legal steps.
    fn fit_policy(&self, rows: &[PolicyRow], seed: u64) -> Mlp {
        let epochs = if rows.len() > 20_000 { self.policy_epochs.div_ceil(2) } else { self.policy_epochs };
        self.run(
            rows,
            epochs,
            seed,
            |row, inputs| {
                let steps = row.state.steps();
                steps.iter().for_each(|step| inputs.extend(features(step)));
                steps.len()
            },
            |row, y, dy| {
                let mut p = softmax(y, 1.0);
                p[row.step] -= 1.0;
                dy.extend(p);
            },
        )
    }

    /// The pairwise loss `w softplus(-(r_better - r_worse))` of Bradley and Terry: PAPER(rstar-math §3.3). The gradient is multiplied by 4,
    /// which undoes the weight of the usual two by two pairs.
    fn fit_value(&self, pairs: &[Pair], seed: u64) -> Mlp {
        self.run(
            pairs,
            self.value_epochs,
            seed,
            |pair, inputs| {
                inputs.extend(pair.better);
                inputs.extend(pair.worse);
                2
            },
            |pair, y, dy| {
                let pull = 4.0 * pair.weight * preference_slope(f64::from(y[0] - y[1])) as f32;
                dy.extend([pull, -pull]);
            },
        )
    }
}

/// The loss of a margin: `softplus(-margin)`.
pub fn preference_loss(margin: f64) -> f64 {
    (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
}

/// Its derivative by the margin: `-1 / (1 + exp(margin))`.
pub fn preference_slope(margin: f64) -> f64 {
    -1.0 / (1.0 + margin.exp())
}

/// The value of a raw output, `tanh(y / 5)`: as released with rStar-Math.
pub fn value_of(raw: f64) -> f64 {
    (raw / 5.0).tanh()
}

/// Softmax at a temperature above 0.
pub(super) fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut p: Vec<f32> = logits.iter().map(|logit| ((logit - highest) / temperature).exp()).collect();
    let sum: f32 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= sum);
    p
}
