//! One transformer block: pre-norm attention, then a gated feed-forward network.
//!
//! ```text
//! q, k, v = W norm_1(x) + b      q, k = rotate(norm_q(q), norm_k(k)) by head
//! x += norm_post(W_o norm_sub(attend(q, k, v)) + b)
//! x += norm_post(W_down norm_sub(act(W_gate norm_2(x) + b) * (W_up norm_2(x) + b)) + b)
//! ```
//!
//! Every norm but the first two, and every bias, is there where a family has it ([`Extras`]).

use parsimon_attn::Attention;
use parsimon_simd::math::{gelu_tanh, silu};
use parsimon_simd::{Level, Vectorize, vectorize};

use crate::batch::Batch;
use crate::calibration::{LayerInput, Taps, tap};
use crate::linear::ActivationBuffers;
use crate::workspace::Workspace;
use crate::{Activation, Activations, Linear, ModelConfig, ModelError};

/// The weights of a block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: Vec<f32>,
    pub(crate) q_proj: Linear,
    pub(crate) aug_q: Option<AugQ>,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    /// Before the feed-forward network: `post_attention_layernorm` of most files.
    pub(crate) mlp_norm: Vec<f32>,
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
    pub(crate) extras: Extras,
}

/// What some families add to a block.
#[derive(Clone, Default, Debug)]
pub(crate) struct Extras {
    pub(crate) q_bias: Option<Vec<f32>>,
    pub(crate) k_bias: Option<Vec<f32>>,
    pub(crate) v_bias: Option<Vec<f32>>,
    pub(crate) o_bias: Option<Vec<f32>>,
    pub(crate) gate_bias: Option<Vec<f32>>,
    pub(crate) up_bias: Option<Vec<f32>>,
    pub(crate) down_bias: Option<Vec<f32>>,
    /// Of every query head.
    pub(crate) q_norm: Option<Vec<f32>>,
    /// Of every key head.
    pub(crate) k_norm: Option<Vec<f32>>,
    /// Of what attention adds.
    pub(crate) post_attn_norm: Option<Vec<f32>>,
    /// Of what the feed-forward network adds.
    pub(crate) post_mlp_norm: Option<Vec<f32>>,
    /// Of the heads before the output projection.
    pub(crate) attn_sub_norm: Option<Vec<f32>>,
    /// Of the gated values before the last projection.
    pub(crate) mlp_sub_norm: Option<Vec<f32>>,
}

/// Augmented Q (PAPER(sigma Appendix E)): `q = W_down (silu(W_gate q) * (W_up q))` between the query projection and the heads.
#[derive(Clone, Debug)]
pub(crate) struct AugQ {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

impl Block {
    /// Adds the block's two residuals to the stream `x [n, hidden]` of `work`, the tokens of `batch`; the new keys and values go to the caches of
    /// `layer`.
    ///
    /// Both norms and the activation function are fused with the preparation of what the low-bit layers after them read (PAPER(luttc §3.3)).
    pub(crate) fn forward(
        &self,
        (config, attention): (&ModelConfig, &Attention),
        (batch, layer): (&mut Batch<'_, '_>, usize),
        work: &mut Workspace,
    ) -> Result<(), ModelError> {
        let (n, eps, extras) = (batch.n(), config.rms_norm_eps, &self.extras);
        let Workspace { x, q, k, v, heads, inner, residual, angles, activations, taps } = work;
        let rows = normed(x, &self.input_norm, eps);
        let mut inputs = Activations::from_rows(n, config.hidden_size, &rows).reusing(activations);
        tap(taps, LayerInput::Qkv, &mut inputs)?;
        self.qkv(&mut inputs, [q, k, v])?;
        inputs.finish(activations);
        if let Some(aug_q) = &self.aug_q {
            aug_q.gated().apply(Activations::new(q, n), inner, residual, activations, taps)?;
            std::mem::swap(q, residual);
        }
        for (heads, norm) in [(&mut *q, &extras.q_norm), (&mut *k, &extras.k_norm)] {
            if let Some(weight) = norm {
                norm_rows(heads, weight, eps);
            }
        }
        let blocks = batch.select(layer, q, k)?;
        angles.rotate(q, config.heads.n_q());
        angles.rotate(k, config.heads.n_k());
        heads.resize(n * config.heads.n_q() * config.head_dim, 0.0);
        batch.attend(attention, layer, [q, k, v], blocks.as_ref(), heads)?;
        if let Some(weight) = &extras.attn_sub_norm {
            norm_rows(heads, weight, eps);
        }
        let mut inputs = Activations::new(heads, n).reusing(activations);
        tap(taps, LayerInput::Output, &mut inputs)?;
        self.o_proj.apply_to(&mut inputs, residual)?;
        inputs.finish(activations);
        add_bias(residual, &extras.o_bias);
        add_normed(x, residual, &extras.post_attn_norm, eps);

        let rows = normed(x, &self.mlp_norm, eps);
        let inputs = Activations::from_rows(n, config.hidden_size, &rows);
        let gated = Gated { act: config.block.act, sub_norm_eps: eps, ..self.gated() };
        gated.apply(inputs, inner, residual, activations, taps)?;
        add_normed(x, residual, &extras.post_mlp_norm, eps);
        Ok(())
    }

    /// Queries, keys and values.
    pub(crate) fn qkv(&self, inputs: &mut Activations<'_>, [q, k, v]: [&mut Vec<f32>; 3]) -> Result<(), ModelError> {
        let Extras { q_bias, k_bias, v_bias, .. } = &self.extras;
        for (linear, bias, rows) in [(&self.q_proj, q_bias, q), (&self.k_proj, k_bias, k), (&self.v_proj, v_bias, v)] {
            linear.apply_to(inputs, rows)?;
            add_bias(rows, bias);
        }
        Ok(())
    }

    /// The feed-forward network.
    pub(crate) fn gated(&self) -> Gated<'_> {
        let Extras { gate_bias, up_bias, down_bias, mlp_sub_norm, .. } = &self.extras;
        Gated {
            biases: [gate_bias.as_deref(), up_bias.as_deref(), down_bias.as_deref()],
            sub_norm: mlp_sub_norm.as_deref(),
            inputs: [LayerInput::Mlp, LayerInput::Down],
            ..Gated::new(&self.gate_proj, &self.up_proj, &self.down_proj)
        }
    }

    /// Every linear layer.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        let aug_q = self.aug_q.iter().flat_map(|aug_q| [&aug_q.gate_proj, &aug_q.up_proj, &aug_q.down_proj]);
        let others = [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj];
        others.into_iter().chain(aug_q).chain([&self.gate_proj, &self.up_proj, &self.down_proj])
    }
}

impl AugQ {
    pub(crate) fn gated(&self) -> Gated<'_> {
        Gated::new(&self.gate_proj, &self.up_proj, &self.down_proj)
    }
}

/// `down (act(gate x) * (up x))`, with biases and a norm before `down` where they are.
pub(crate) struct Gated<'a> {
    gate: &'a Linear,
    up: &'a Linear,
    pub(crate) down: &'a Linear,
    act: Activation,
    /// Of `gate`, `up` and `down`.
    biases: [Option<&'a [f32]>; 3],
    sub_norm: Option<&'a [f32]>,
    sub_norm_eps: f32,
    /// What both sides of the gate read, and what `down` does.
    inputs: [LayerInput; 2],
}

impl<'a> Gated<'a> {
    fn new(gate: &'a Linear, up: &'a Linear, down: &'a Linear) -> Self {
        let inputs = [LayerInput::AugQ, LayerInput::AugQDown];
        Gated { gate, up, down, act: Activation::Silu, biases: [None; 3], sub_norm: None, sub_norm_eps: 0.0, inputs }
    }

    /// Writes the outputs to `out`; `inner` holds both sides of the gate.
    fn apply(
        &self,
        inputs: Activations<'_>,
        inner: &mut [Vec<f32>; 2],
        out: &mut Vec<f32>,
        buffers: &mut ActivationBuffers,
        taps: &mut Option<Taps>,
    ) -> Result<(), ModelError> {
        let mut inputs = inputs.reusing(buffers);
        tap(taps, self.inputs[0], &mut inputs)?;
        self.both(&mut inputs, inner)?;
        let n = inputs.n();
        inputs.finish(buffers);
        let [gate, up] = inner;
        let rows = self.inner(gate, up, n);
        let mut inner = Activations::from_rows(n, gate.len() / n, &rows).reusing(buffers);
        tap(taps, self.inputs[1], &mut inner)?;
        self.down.apply_to(&mut inner, out)?;
        inner.finish(buffers);
        if let Some(bias) = self.biases[2] {
            add_rows(out, bias);
        }
        Ok(())
    }

    /// `gate x` and `up x`.
    pub(crate) fn both(&self, inputs: &mut Activations<'_>, out: &mut [Vec<f32>; 2]) -> Result<(), ModelError> {
        for ((linear, rows), bias) in [self.gate, self.up].into_iter().zip(out).zip(self.biases) {
            linear.apply_to(inputs, rows)?;
            if let Some(bias) = bias {
                add_rows(rows, bias);
            }
        }
        Ok(())
    }

    /// The rows that `down` reads, of `n` tokens.
    fn inner(&self, gate: &[f32], up: &[f32], n: usize) -> impl Fn(usize, &mut [f32]) + Copy + Sync {
        let k = gate.len() / n;
        let (act, sub_norm, eps) = (self.act, self.sub_norm, self.sub_norm_eps);
        move |token, out| {
            let (gate, up) = (&gate[token * k..][..k], &up[token * k..][..k]);
            vectorize(Level::best(), Glu { act, gate, up, out });
            if let Some(weight) = sub_norm {
                rms_norm_in_place(out, weight, eps);
            }
        }
    }
}

/// `out = act(gate) * up`.
pub(crate) struct Glu<'a> {
    pub(crate) act: Activation,
    pub(crate) gate: &'a [f32],
    pub(crate) up: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl Vectorize for Glu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Glu { act, gate, up, out } = self;
        match act {
            Activation::Silu => glu(gate, up, out, silu::<FMA>),
            Activation::GeluTanh => glu(gate, up, out, gelu_tanh::<FMA>),
            Activation::Relu2 => glu(gate, up, out, |x| {
                let positive = x.max(0.0);
                positive * positive
            }),
        }
    }
}

#[inline(always)]
fn glu(gate: &[f32], up: &[f32], out: &mut [f32], act: impl Fn(f32) -> f32) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = act(gate) * up;
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight`, computed a row of `x [n, hidden]` at a time.
pub(crate) fn normed(x: &[f32], weight: &[f32], eps: f32) -> impl Fn(usize, &mut [f32]) + Copy + Sync {
    let k = weight.len();
    move |token, out| rms_norm_row(&x[token * k..][..k], weight, eps, out)
}

/// As [`normed`], of every row, in place.
pub(crate) fn norm_rows(x: &mut [f32], weight: &[f32], eps: f32) {
    x.chunks_exact_mut(weight.len()).for_each(|row| rms_norm_in_place(row, weight, eps));
}

fn rms_norm_row(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = rms_factor(row, eps);
    for ((out, x), w) in out.iter_mut().zip(row).zip(weight) {
        *out = x * factor * w;
    }
}

fn rms_norm_in_place(row: &mut [f32], weight: &[f32], eps: f32) {
    let factor = rms_factor(row, eps);
    for (x, w) in row.iter_mut().zip(weight) {
        *x = *x * factor * w;
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
fn rms_factor(row: &[f32], eps: f32) -> f32 {
    let mean = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / row.len() as f64;
    (1.0 / (mean + f64::from(eps)).sqrt()) as f32
}

pub(crate) fn add(x: &mut [f32], residual: &[f32]) {
    for (x, r) in x.iter_mut().zip(residual) {
        *x += r;
    }
}

/// Adds `residual`, normalized where there is a norm.
fn add_normed(x: &mut [f32], residual: &mut [f32], norm: &Option<Vec<f32>>, eps: f32) {
    if let Some(weight) = norm {
        norm_rows(residual, weight, eps);
    }
    add(x, residual);
}

fn add_bias(rows: &mut [f32], bias: &Option<Vec<f32>>) {
    if let Some(bias) = bias {
        add_rows(rows, bias);
    }
}

fn add_rows(rows: &mut [f32], bias: &[f32]) {
    rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
}
