//! One transformer block: pre-norm attention with DiffQKV heads and augmented Q, then SwiGLU.

use parsimon_attn::{Attention, KvCache};
use parsimon_simd::math::silu;
use parsimon_simd::{Level, Vectorize, vectorize};

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
    /// Adds the block's two residuals to `x [n, hidden]`; the new keys and values go to `cache`.
    pub(crate) fn forward(
        &self,
        config: &ModelConfig,
        attention: &Attention,
        angles: &RopeAngles,
        cache: &mut KvCache,
        x: &mut [f32],
        n: usize,
    ) -> Result<(), ModelError> {
        let normed = rms_norm(x, &self.input_norm, config.rms_norm_eps);
        let mut inputs = Activations::new(&normed, n);
        let mut q = self.q_proj.apply(&mut inputs)?;
        let mut k = self.k_proj.apply(&mut inputs)?;
        let v = self.v_proj.apply(&mut inputs)?;
        if let Some(aug_q) = &self.aug_q {
            q = gated(&aug_q.gate_proj, &aug_q.up_proj, &aug_q.down_proj, &q, n)?;
        }
        angles.rotate(&mut q, config.heads.n_q());
        angles.rotate(&mut k, config.heads.n_k());
        cache.append(&k, &v)?;
        let mut heads = vec![0.0; q.len()];
        attention.forward_into(&q, cache.view(), &mut heads, None)?;
        add(x, &self.o_proj.apply(&mut Activations::new(&heads, n))?);

        let normed = rms_norm(x, &self.post_attention_norm, config.rms_norm_eps);
        add(x, &gated(&self.gate_proj, &self.up_proj, &self.down_proj, &normed, n)?);
        Ok(())
    }

    /// Every linear layer.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        let aug_q = self.aug_q.iter().flat_map(|aug_q| [&aug_q.gate_proj, &aug_q.up_proj, &aug_q.down_proj]);
        let others = [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj];
        others.into_iter().chain(aug_q).chain([&self.gate_proj, &self.up_proj, &self.down_proj])
    }
}

/// `down (silu(gate x) * (up x))`.
fn gated(gate: &Linear, up: &Linear, down: &Linear, x: &[f32], n: usize) -> Result<Vec<f32>, ModelError> {
    let mut inputs = Activations::new(x, n);
    let mut inner = gate.apply(&mut inputs)?;
    let up = up.apply(&mut inputs)?;
    vectorize(Level::best(), SwiGlu { gate: &mut inner, up: &up });
    down.apply(&mut Activations::new(&inner, n))
}

/// `gate = silu(gate) * up`.
struct SwiGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Vectorize for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            *gate = silu::<FMA>(*gate) * up;
        }
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` for every row of `x [n, hidden]`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / row.len() as f64;
        let factor = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
        out.extend(row.iter().zip(weight).map(|(x, w)| x * factor * w));
    }
    out
}

fn add(x: &mut [f32], residual: &[f32]) {
    for (x, r) in x.iter_mut().zip(residual) {
        *x += r;
    }
}
