//! Queries, keys and values for prefill.

use half::bf16;
use parsimon_attn::{AttnConfig, AttnError, KvView};
use parsimon_core::SplitMix64;

pub(super) struct Rows {
    n: usize,
    heads: usize,
    d: usize,
    pub(super) q: Vec<f32>,
    floats: [Vec<f32>; 2],
    halves: Option<[Vec<bf16>; 2]>,
}

impl Rows {
    /// Random rows of a causal attention with as many key and value heads as query heads; numbers are exact in `bf16`.
    pub(super) fn new(config: &AttnConfig, n: usize, as_halves: bool) -> Self {
        let (heads, d) = (config.heads.n_q(), config.d_qk);
        let random = |seed| -> Vec<f32> {
            let mut rng = SplitMix64::new(seed);
            (0..n * heads * d).map(|_| bf16::from_f32(rng.next_normal() as f32).to_f32()).collect()
        };
        let floats = [random(2), random(3)];
        let round = |rows: &Vec<f32>| rows.iter().map(|&x| bf16::from_f32(x)).collect();
        let halves = as_halves.then(|| floats.each_ref().map(round));
        Rows { n, heads, d, q: random(1), floats, halves }
    }

    pub(super) fn view(&self, config: &AttnConfig) -> Result<KvView<'_>, AttnError> {
        let dims = (config.d_qk, config.d_v);
        match &self.halves {
            Some([k, v]) => KvView::from_rows(config.heads, dims, self.n, k, v),
            None => KvView::from_rows(config.heads, dims, self.n, &self.floats[0], &self.floats[1]),
        }
    }

    /// Operations of causal attention.
    pub(super) fn flops(&self) -> f64 {
        let n = self.n as f64;
        self.heads as f64 * n * (n + 1.0) / 2.0 * 4.0 * self.d as f64
    }
}

/// Relative distance.
pub(super) fn distance(x: &[f32], reference: &[f64]) -> f64 {
    let error: f64 = x.iter().zip(reference).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum();
    (error / reference.iter().map(|y| y * y).sum::<f64>()).sqrt()
}
