//! One transformer block: pre-norm attention with DiffQKV heads and augmented Q, then SwiGLU.

use parsimon_attn::Attention;
use parsimon_lut::PreparedActivations;
use parsimon_simd::math::silu;
use parsimon_simd::{Level, Vectorize, vectorize};

use crate::batch::Batch;
use crate::rope::RopeAngles;
use crate::{Activations, Linear, ModelConfig, ModelError};

/// The weights of a block, named as in the files.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: Vec<f32>,
    pub(crate) q_proj: Linear,
    pub(crate) aug_q: Option<AugQ>,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    pub(crate) post_attention_norm: Vec<f32>,
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

/// Augmented Q (PAPER(sigma Appendix E)): `q = W_down (silu(W_gate q) * (W_up q))` between the query projection and the heads.
#[derive(Clone, Debug)]
pub(crate) struct AugQ {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

impl Block {
    /// Adds the block's two residuals to `x [n, hidden]`, the tokens of `batch`; the new keys and values go to the caches of `layer`.
    ///
    /// Both norms and the activation function are fused with the preparation of what the low-bit layers after them read (PAPER(luttc §3.3));
    /// `buffers` go from one to the next.
    pub(crate) fn forward(
        &self,
        (config, attention): (&ModelConfig, &Attention),
        angles: &RopeAngles,
        (batch, layer): (&mut Batch<'_>, usize),
        x: &mut [f32],
        buffers: &mut Vec<PreparedActivations>,
    ) -> Result<(), ModelError> {
        let n = x.len() / config.hidden_size;
        let mut inputs = normed(x, &self.input_norm, config.rms_norm_eps).reusing(buffers);
        let [mut q, mut k, v] = self.qkv(&mut inputs)?;
        inputs.finish(buffers);
        if let Some(aug_q) = &self.aug_q {
            q = aug_q.gated().apply(Activations::new(&q, n), buffers)?;
        }
        angles.rotate(&mut q, config.heads.n_q());
        angles.rotate(&mut k, config.heads.n_k());
        let mut heads = vec![0.0; n * config.heads.n_q() * config.head_dim];
        batch.attend(attention, layer, [&q, &k, &v], &mut heads)?;
        let mut inputs = Activations::new(&heads, n).reusing(buffers);
        add(x, &self.o_proj.apply(&mut inputs)?);
        inputs.finish(buffers);

        let inputs = normed(x, &self.post_attention_norm, config.rms_norm_eps);
        let residual = self.gated().apply(inputs, buffers)?;
        add(x, &residual);
        Ok(())
    }

    /// Queries, keys and values.
    pub(crate) fn qkv(&self, inputs: &mut Activations<'_>) -> Result<[Vec<f32>; 3], ModelError> {
        Ok([self.q_proj.apply(inputs)?, self.k_proj.apply(inputs)?, self.v_proj.apply(inputs)?])
    }

    pub(crate) fn gated(&self) -> Gated<'_> {
        Gated { gate: &self.gate_proj, up: &self.up_proj, down: &self.down_proj }
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
        Gated { gate: &self.gate_proj, up: &self.up_proj, down: &self.down_proj }
    }
}

/// `down (silu(gate x) * (up x))`.
pub(crate) struct Gated<'a> {
    gate: &'a Linear,
    up: &'a Linear,
    pub(crate) down: &'a Linear,
}

impl Gated<'_> {
    fn apply(&self, inputs: Activations<'_>, buffers: &mut Vec<PreparedActivations>) -> Result<Vec<f32>, ModelError> {
        let mut inputs = inputs.reusing(buffers);
        let [gate, up] = self.both(&mut inputs)?;
        let n = inputs.n();
        inputs.finish(buffers);
        let mut inner = swiglu(&gate, &up, n).reusing(buffers);
        let out = self.down.apply(&mut inner)?;
        inner.finish(buffers);
        Ok(out)
    }

    /// `gate x` and `up x`.
    pub(crate) fn both(&self, inputs: &mut Activations<'_>) -> Result<[Vec<f32>; 2], ModelError> {
        Ok([self.gate.apply(inputs)?, self.up.apply(inputs)?])
    }
}

/// `silu(gate) * up` of `n` tokens.
fn swiglu<'a>(gate: &'a [f32], up: &'a [f32], n: usize) -> Activations<'a> {
    let k = gate.len() / n;
    Activations::from_rows(n, k, move |token, out| {
        let (gate, up) = (&gate[token * k..][..k], &up[token * k..][..k]);
        vectorize(Level::best(), SwiGlu { gate, up, out });
    })
}

/// `out = silu(gate) * up`.
pub(crate) struct SwiGlu<'a> {
    pub(crate) gate: &'a [f32],
    pub(crate) up: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl Vectorize for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((out, &gate), &up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = silu::<FMA>(gate) * up;
        }
    }
}

/// The rows of [`rms_norm`].
pub(crate) fn normed<'a>(x: &'a [f32], weight: &'a [f32], eps: f32) -> Activations<'a> {
    let k = weight.len();
    Activations::from_rows(x.len() / k, k, move |token, out| rms_norm_row(&x[token * k..][..k], weight, eps, out))
}

/// `x / sqrt(mean(x^2) + eps) * weight` for every row of `x [n, hidden]`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for (row, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        rms_norm_row(row, weight, eps, out);
    }
    out
}

fn rms_norm_row(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / row.len() as f64;
    let factor = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
    for ((out, x), w) in out.iter_mut().zip(row).zip(weight) {
        *out = x * factor * w;
    }
}

pub(crate) fn add(x: &mut [f32], residual: &[f32]) {
    for (x, r) in x.iter_mut().zip(residual) {
        *x += r;
    }
}
