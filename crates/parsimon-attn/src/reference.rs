//! The definition in `f64`, quadratic and obvious; what tests compare with.

use crate::{AttnConfig, KvView};

/// Outputs `o [t_q, n_q, d_v]` and `lse [t_q, n_q]` of `q [t_q, n_q, d_qk]`.
pub fn attention(config: &AttnConfig, q: &[f32], kv: KvView<'_>) -> (Vec<f64>, Vec<f64>) {
    let AttnConfig { heads, d_qk, d_v, mask, soft_cap, .. } = *config;
    let t_q = q.len() / (heads.n_q() * d_qk);
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for (i, q) in q.chunks_exact(heads.n_q() * d_qk).enumerate() {
        let visible = mask.visible(i, t_q, kv.len());
        for (h, q) in q.chunks_exact(d_qk).enumerate() {
            let score = |j: usize| {
                let mut k = vec![0.0; d_qk];
                kv.k_into(heads.k_of(h), j, &mut k);
                let s = f64::from(config.scale())
                    * q.iter().zip(&k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
                soft_cap.map(f64::from).map_or(s, |cap| cap * (s / cap).tanh())
            };
            let scores: Vec<f64> = visible.clone().map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            let mut row = vec![0.0; d_v];
            for (j, s) in visible.clone().zip(&scores) {
                let p = (s - max).exp() / sum;
                let mut v = vec![0.0; d_v];
                kv.v_into(heads.v_of(h), j, &mut v);
                row.iter_mut().zip(&v).for_each(|(o, &v)| *o += p * f64::from(v));
            }
            o.extend(row);
            lse.push(if visible.is_empty() { f64::NEG_INFINITY } else { max + sum.ln() });
        }
    }
    (o, lse)
}
