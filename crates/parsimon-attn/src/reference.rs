//! The definition in `f64`, quadratic and obvious; what tests compare with.

use crate::{AttnConfig, KvView, ScoreMod};

/// Outputs `o [t_q, n_q, d_v]` and `lse [t_q, n_q]` of `q [t_q, n_q, d_qk]`.
pub fn attention(config: &AttnConfig, q: &[f32], kv: KvView<'_>) -> (Vec<f64>, Vec<f64>) {
    attention_where(config, q, kv, |_, _, _| true)
}

/// As [`attention`], over the keys `j` that query `i` of head `h` sees by the mask and by `is_visible(h, i, j)`.
pub fn attention_where(
    config: &AttnConfig,
    q: &[f32],
    kv: KvView<'_>,
    is_visible: impl Fn(usize, usize, usize) -> bool,
) -> (Vec<f64>, Vec<f64>) {
    let AttnConfig { heads, d_v, mask, .. } = *config;
    let t_q = q.len() / (heads.n_q() * config.d_qk);
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for i in 0..t_q {
        for h in 0..heads.n_q() {
            let keys: Vec<usize> = mask.visible(i, t_q, kv.len()).filter(|&j| is_visible(h, i, j)).collect();
            let scores: Vec<f64> = keys.iter().map(|&j| score(config, q, kv, (h, i, j))).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            let mut row = vec![0.0; d_v];
            for (&j, s) in keys.iter().zip(&scores) {
                let p = (s - max).exp() / sum;
                let mut v = vec![0.0; d_v];
                kv.v_into(heads.v_of(h), j, &mut v);
                row.iter_mut().zip(&v).for_each(|(o, &v)| *o += p * f64::from(v));
            }
            o.extend(row);
            lse.push(if keys.is_empty() { f64::NEG_INFINITY } else { max + sum.ln() });
        }
    }
    (o, lse)
}

/// The score of query `i` of head `h` and key `j`.
pub fn score(config: &AttnConfig, q: &[f32], kv: KvView<'_>, (h, i, j): (usize, usize, usize)) -> f64 {
    let AttnConfig { heads, d_qk, .. } = *config;
    let t_q = q.len() / (heads.n_q() * d_qk);
    let mut k = vec![0.0; d_qk];
    kv.k_into(heads.k_of(h), j, &mut k);
    let q = &q[(i * heads.n_q() + h) * d_qk..][..d_qk];
    let s = config.scale() * q.iter().zip(&k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
    match &config.score_mod {
        ScoreMod::None => s,
        ScoreMod::SoftCap(cap) => f64::from(*cap) * (s / f64::from(*cap)).tanh(),
        ScoreMod::Alibi(slopes) => {
            let distance = (i + kv.len()) as f64 - t_q as f64 - j as f64;
            s - f64::from(slopes[h]) * distance.abs()
        }
    }
}
