//! Training the gates of a model that stays as it is (PAPER(seerattention §3.2)).
//!
//! A window of tokens runs through the model once; attention gives every layer's teacher map on the way, and every layer's gate takes one step. The state is
//! written whole, so a run that was stopped continues with the same bits.

use std::path::Path;

use parsimon_attn::gate::{
    AdamW, DecodeGate, GateRope, GateShape, GateTrainer, Pooling, PrefillGate, PrefillGateForward, QHeadPooling,
    Reduction, TrainOptions, decode_loss, prefill_loss,
};
use parsimon_attn::teacher::{decode_target, max_over_groups, normalize_rows};
use parsimon_attn::{BlockShape, Grid, HeadMap};
use parsimon_core::io::{Checkpoint, TensorData, write_json, write_safetensors};
use parsimon_core::{Control, SplitMix64, Unit};
use serde_json::json;

use super::folder::{CONFIG, WEIGHTS, tensor_name};
use crate::batch::{Lesson, Segment};
use crate::{Model, ModelError};

/// Which gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateForm {
    /// For prompts.
    Prefill,
    /// For single tokens.
    Decode,
}

/// How gates are trained.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GateTrainOptions {
    /// Which gate.
    pub form: GateForm,
    /// Positions of a block.
    pub block: usize,
    /// Width of the gate.
    pub d_gate: usize,
    /// Tokens of a window.
    pub ctx: usize,
    /// The schedule.
    pub train: TrainOptions,
    /// Seed of the first weights.
    pub seed: u64,
    /// The loss is multiplied with this.
    pub loss_scale: f64,
    /// Steps between writing the state.
    pub save_every: u64,
}

/// What training did.
#[derive(Clone, PartialEq, Debug)]
pub struct GateTrainReport {
    /// The step that the run began with.
    pub first_step: u64,
    /// Losses of its steps, the mean over layers, without their scale.
    pub losses: Vec<f64>,
}

enum Student {
    Prefill(Vec<PrefillGate<f32>>),
    Decode(Vec<DecodeGate<f32>>),
}

struct Trainer<'a> {
    model: &'a Model,
    options: GateTrainOptions,
    student: Student,
    trainers: Vec<GateTrainer<f32>>,
}

/// Trains gates for `model` on `tokens`, window after window, and writes a gate folder; continues what an earlier run left there.
///
/// # Errors
///
/// [`ModelError::TextTooShort`] without a whole window, [`ModelError::Option`] for a window of fewer than four blocks, [`ModelError::Cancelled`] after the state was
/// written, and what reading and writing the folder give.
pub fn train_gates(
    model: &Model,
    tokens: &[u32],
    out: &Path,
    options: &GateTrainOptions,
    control: &Control<'_>,
) -> Result<GateTrainReport, ModelError> {
    let (ctx, block) = (options.ctx, options.block);
    if block == 0 || ctx < 4 * block {
        let (given, expected) = (ctx.to_string(), format!("at least four blocks of {block} tokens"));
        return Err(ModelError::Option { what: "ctx", given, expected });
    }
    let windows = tokens.len() / ctx;
    if windows == 0 {
        return Err(ModelError::TextTooShort { tokens: tokens.len(), ctx });
    }
    std::fs::create_dir_all(out).map_err(|e| parsimon_core::io::FormatError::io(out, "create", e))?;
    let mut trainer = Trainer::new(model, *options, out)?;
    let first_step = trainer.step();
    let mut losses = Vec::new();
    control.progress.start(
        "training gates",
        Some(options.train.steps.saturating_sub(first_step)),
        Unit::Items("steps"),
    );
    for step in first_step..options.train.steps {
        if control.cancel.is_cancelled() {
            trainer.save(out)?;
            control.cancel.check()?;
        }
        let window = &tokens[step as usize % windows * ctx..][..ctx];
        let loss = trainer.learn(window)?;
        losses.push(loss);
        control.progress.advance(1);
        control.progress.message(&format!("loss {loss:.4}"));
        if (step + 1).is_multiple_of(options.save_every.max(1)) {
            trainer.save(out)?;
        }
    }
    control.progress.finish();
    trainer.save(out)?;
    Ok(GateTrainReport { first_step, losses })
}

impl<'a> Trainer<'a> {
    fn new(model: &'a Model, options: GateTrainOptions, out: &Path) -> Result<Self, ModelError> {
        let config = model.config();
        let n_k = config.heads.n_k();
        let heads = HeadMap::try_new(config.heads.n_q(), n_k, n_k)?;
        let shape = GateShape { heads, d: config.head_dim, d_gate: options.d_gate, block: options.block };
        let saved = out.join(STATE).exists().then(|| Checkpoint::open(&out.join(STATE))).transpose()?;
        let mut start = Start { options, saved, rng: SplitMix64::new(options.seed), trainers: Vec::new() };
        let rope = GateRope::new(config.rope_theta, options.d_gate);
        let all = Pooling::from_name("maxminavg").expect("a known name");
        let layers = 0..config.num_layers;
        let student = match options.form {
            GateForm::Prefill => {
                let is_double = options.d_gate != config.head_dim;
                let avg = Pooling::from_name("avg").expect("a known name");
                let gate = |layer| {
                    let k_heads = if is_double { n_k } else { heads.n_q() };
                    let mut parts = start.layer(layer)?;
                    let w_q = is_double
                        .then(|| parts.normal("mask_linear_q", &[heads.n_q(), shape.d, shape.d_gate]))
                        .transpose()?;
                    let w_k = parts.normal("mask_linear_k", &[k_heads, 3 * shape.d, shape.d_gate])?;
                    Ok(PrefillGate::try_new(shape, (avg.clone(), all.clone()), Some(rope.clone()), w_q, w_k)?)
                };
                Student::Prefill(layers.map(gate).collect::<Result<_, ModelError>>()?)
            }
            GateForm::Decode => {
                let gate = |layer| {
                    let mut parts = start.layer(layer)?;
                    let w_q = parts.uniform("attngate_linear_q", &[n_k, shape.group(), shape.d, shape.d_gate])?;
                    let w_k = parts.uniform("attngate_linear_k", &[n_k, 3 * shape.d, shape.d_gate])?;
                    let pools = (QHeadPooling::Proj, all.clone());
                    Ok(DecodeGate::try_new(shape, pools, Some(rope.clone()), (Some(w_q), w_k), None)?)
                };
                Student::Decode(layers.map(gate).collect::<Result<_, ModelError>>()?)
            }
        };
        Ok(Trainer { model, options, student, trainers: start.trainers })
    }

    fn step(&self) -> u64 {
        self.trainers.first().map_or(0, |trainer| trainer.step)
    }

    /// One window: the mean loss of the layers.
    fn learn(&mut self, window: &[u32]) -> Result<f64, ModelError> {
        let Trainer { model, options, student, trainers } = self;
        let grid = Grid::try_new(options.block as u32, 0)?;
        let shape = BlockShape { q: grid, k: grid, t_q: window.len(), t_k: window.len() };
        let mut loss = 0.0;
        let mut teach = |layer: usize, q: &[f32], k: &[f32], map: &mut [f32]| {
            loss += match student {
                Student::Prefill(gates) => {
                    learn_prefill(&mut gates[layer], &mut trainers[layer], options, shape, [q, k], map)?
                }
                Student::Decode(gates) => {
                    learn_decode(&mut gates[layer], &mut trainers[layer], options, shape, [q, k], map)?
                }
            };
            Ok(())
        };
        let wants_rows = options.form == GateForm::Decode;
        let mut state = model.new_state();
        let segment = Segment { tokens: window, sequence: &mut state.sequence, len: window.len() };
        model.teach((&mut state.pool, &mut [segment]), Lesson { shape, wants_rows, teach: &mut teach })?;
        Ok(loss / (options.loss_scale * model.config().num_layers as f64))
    }

    fn save(&self, out: &Path) -> Result<(), ModelError> {
        let mut weights = Vec::new();
        for layer in 0..self.trainers.len() {
            let shape = self.shape();
            let GateShape { heads, d, d_gate, .. } = shape;
            let mut push = |name: &str, shape: &[usize], values: &[f32]| {
                weights.push((tensor_name(layer, name), TensorData::from_f32(shape, values)));
            };
            match &self.student {
                Student::Prefill(gates) => {
                    let (w_q, w_k) = gates[layer].weights();
                    push("mask_linear_k", &[w_k.len() / (3 * d * d_gate), 3 * d, d_gate], w_k);
                    w_q.iter().for_each(|w_q| push("mask_linear_q", &[heads.n_q(), d, d_gate], w_q));
                }
                Student::Decode(gates) => {
                    let (w_q, w_k, _) = gates[layer].weights();
                    push("attngate_linear_k", &[heads.n_k(), 3 * d, d_gate], w_k);
                    w_q.iter().for_each(|w_q| push("attngate_linear_q", &[heads.n_k(), shape.group(), d, d_gate], w_q));
                }
            }
        }
        let mut state = weights.clone();
        for (layer, trainer) in self.trainers.iter().enumerate() {
            for (i, AdamW { m, v }) in trainer.moments.iter().enumerate() {
                state.push((format!("{layer}.{i}.m"), TensorData::from_f32(&[m.len()], m)));
                state.push((format!("{layer}.{i}.v"), TensorData::from_f32(&[v.len()], v)));
            }
        }
        let step = i32::try_from(self.step()).unwrap_or(i32::MAX);
        state.push(("step".to_owned(), TensorData::from_i32(&[1], &[step])));
        write_json(&out.join(CONFIG), &self.config())?;
        write(&out.join(WEIGHTS), weights)?;
        // Last: what it says was done is done.
        write(&out.join(STATE), state)
    }

    fn shape(&self) -> GateShape {
        match &self.student {
            Student::Prefill(gates) => gates[0].shape(),
            Student::Decode(gates) => gates[0].shape(),
        }
    }

    fn config(&self) -> serde_json::Value {
        let mut config = self.model.config().to_json();
        let mut set = |key: &str, value: serde_json::Value| config[format!("seerattn_{key}")] = value;
        set("gate_block_size", json!(self.options.block));
        set("gate_hidden_size", json!(self.options.d_gate));
        match self.options.form {
            GateForm::Prefill => {
                set("sparsity_method", json!("threshold"));
                set("threshold", json!(2e-3));
                set("gate_type", json!("Qavg_Kmaxminavg"));
                set("last_block_dense", json!(true));
            }
            GateForm::Decode => {
                set("sparsity_method", json!("token_budget"));
                set("token_budget", json!(4096));
                set("q_head_pooling_type", json!("Qproj"));
                set("k_seq_pooling_type", json!("Kmaxminavg"));
                set("use_qk_norm", json!(false));
            }
        }
        config
    }
}

/// The file of everything that training needs to go on.
const STATE: &str = "trainer.safetensors";

fn write(path: &Path, tensors: Vec<(String, TensorData)>) -> Result<(), ModelError> {
    Ok(write_safetensors(path, &tensors.into_iter().collect(), None)?)
}

/// First weights, or those of an earlier run.
struct Start {
    options: GateTrainOptions,
    saved: Option<Checkpoint>,
    rng: SplitMix64,
    trainers: Vec<GateTrainer<f32>>,
}

struct LayerStart<'a> {
    saved: Option<&'a Checkpoint>,
    rng: &'a mut SplitMix64,
    layer: usize,
}

impl Start {
    fn layer(&mut self, layer: usize) -> Result<LayerStart<'_>, ModelError> {
        let mut trainer = GateTrainer::new(self.options.train);
        if let Some(saved) = &self.saved {
            trainer.step = saved.tensor("step")?.to_i32()?.first().map_or(0, |&step| step.max(0) as u64);
            let moment = |name: String| Ok::<_, ModelError>(saved.tensor(&name)?.to_f32()?);
            for i in (0..).take_while(|i| saved.contains(&format!("{layer}.{i}.m"))) {
                trainer
                    .moments
                    .push(AdamW { m: moment(format!("{layer}.{i}.m"))?, v: moment(format!("{layer}.{i}.v"))? });
            }
        }
        self.trainers.push(trainer);
        Ok(LayerStart { saved: self.saved.as_ref(), rng: &mut self.rng, layer })
    }
}

impl LayerStart<'_> {
    fn saved_or(
        &mut self,
        name: &str,
        shape: &[usize],
        new: impl Fn(&mut SplitMix64) -> f64,
    ) -> Result<Vec<f32>, ModelError> {
        match self.saved {
            Some(saved) => Ok(saved.tensor(&tensor_name(self.layer, name))?.expect_shape(shape)?.to_f32()?),
            None => Ok((0..shape.iter().product()).map(|_| new(self.rng) as f32).collect()),
        }
    }

    /// Normal with deviation 0.02.
    fn normal(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.saved_or(name, shape, |rng| 0.02 * rng.next_normal())
    }

    /// Uniform within `sqrt(6 / (in + out))`.
    fn uniform(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let [.., k, d] = *shape else { return Ok(Vec::new()) };
        let bound = (6.0 / (k + d) as f64).sqrt();
        self.saved_or(name, shape, |rng| bound * (2.0 * rng.next_f64() - 1.0))
    }
}

fn learn_prefill(
    gate: &mut PrefillGate<f32>,
    trainer: &mut GateTrainer<f32>,
    options: &GateTrainOptions,
    shape: BlockShape,
    [q, k]: [&[f32]; 2],
    map: &mut [f32],
) -> Result<f64, ModelError> {
    let (rows, cols) = shape.blocks();
    normalize_rows(map, cols);
    let forward: PrefillGateForward<f32> = gate.forward(q, k, 0)?;
    let operands = [&forward.logits[..], &forward.scores, map];
    let loss = prefill_loss(operands, (rows, cols, rows / 4), Reduction::PerRow, options.loss_scale);
    let grads = gate.backward(&forward, &loss.d_logits, 0);
    trainer.step_prefill(gate, &grads);
    Ok(loss.loss)
}

fn learn_decode(
    gate: &mut DecodeGate<f32>,
    trainer: &mut GateTrainer<f32>,
    options: &GateTrainOptions,
    shape: BlockShape,
    [q, k]: [&[f32]; 2],
    map: &mut [f32],
) -> Result<f64, ModelError> {
    let (t, cols) = (shape.t_q, shape.blocks().1);
    let heads = gate.shape().heads;
    let mut target = max_over_groups(map, heads.n_q(), heads.n_k());
    decode_target(&mut target, t, cols, |i| shape.k.block_of(i));
    let forward = gate.forward(q, k)?;
    let loss = decode_loss([&forward.logits[..], &forward.scores, &target], (t, cols, t / 2), options.loss_scale);
    let grads = gate.backward(q, &forward, &loss.d_logits);
    trainer.step_decode(gate, &grads);
    Ok(loss.loss)
}
