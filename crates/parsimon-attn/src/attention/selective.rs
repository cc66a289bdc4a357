//! Decode that loads only the values that matter (PAPER(sigma Appendix B.2)).
//!
//! ```text
//! a = softmax over all visible keys     S = the k largest a, of equal ones the first     o = sum_{j in S} a_j v_j     (divided by sum_S a_j)
//! ```
//!
//! Scores read all keys, as dense attention does; of the values only the selected rows are read.

use std::ops::Range;

use super::Attention;
use super::decode::Workspace;
use super::rows::score_into;
use crate::kv::check_len;
use crate::{AttnConfig, AttnError, KvView};

/// Which values [`Attention::decode_top_values`] loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopValues {
    /// How many of each query head.
    pub k: usize,
    /// Whether the selected probabilities are divided by their sum; the paper does not.
    pub renormalize: bool,
    /// Whether the query heads of a value head use what any of them selected.
    pub union: bool,
}

/// The keys whose values were loaded: of each query head, or of each value head where they use the union; ascending.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LoadedValues {
    /// Where each head begins, and the end.
    pub ptr: Vec<u32>,
    /// The keys.
    pub keys: Vec<u32>,
}

impl Attention {
    /// Attends one query `q [n_q, d_qk]` at the last position of `kv` with the largest probabilities alone; writes `out [n_q, d_v]` and which
    /// values were loaded.
    ///
    /// With `k` at least the number of visible keys this is dense attention.
    ///
    /// # Errors
    ///
    /// As [`Attention::forward_into`].
    pub fn decode_top_values(
        &self,
        q: &[f32],
        kv: KvView<'_>,
        select: TopValues,
        out: &mut [f32],
        loaded: &mut LoadedValues,
        work: &mut Workspace,
    ) -> Result<(), AttnError> {
        let AttnConfig { heads, d_qk, d_v, mask, .. } = self.config;
        self.check_dims(kv)?;
        check_len("q", heads.n_q() * d_qk, q.len())?;
        check_len("out", heads.n_q() * d_v, out.len())?;
        let visible = mask.visible(0, 1, kv.len());
        let (len, n_q) = (visible.len(), heads.n_q());
        work.scores.resize(n_q * len, 0.0);
        score_into(&self.config, self.level, q, kv, visible.clone(), &mut work.scores);
        let mut selected: Vec<Vec<u32>> = Vec::with_capacity(n_q);
        for scores in work.scores.chunks_exact_mut(len.max(1)) {
            softmax(scores);
            selected.push(largest(scores, select.k));
        }
        selected.resize(n_q, Vec::new());
        if select.union {
            selected = selected.chunks(n_q / heads.n_v()).map(union).collect();
        }
        let sharing = n_q / selected.len();
        for (h, out) in out.chunks_exact_mut(d_v).enumerate() {
            let keys = &selected[h / sharing];
            add_values(kv, heads.v_of(h), &visible, (keys, &work.scores[h * len..][..len]), select.renormalize, out);
        }
        loaded.ptr.clear();
        loaded.keys.clear();
        loaded.ptr.push(0);
        for keys in &selected {
            loaded.keys.extend(keys.iter().map(|key| key + visible.start as u32));
            loaded.ptr.push(loaded.keys.len() as u32);
        }
        Ok(())
    }
}

/// Scores in natural units to probabilities.
fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
}

/// The `k` keys with the largest probabilities, of equal ones the first; ascending.
fn largest(p: &[f32], k: usize) -> Vec<u32> {
    let mut keys: Vec<u32> = (0..p.len() as u32).collect();
    if k == 0 {
        return Vec::new();
    }
    if k < keys.len() {
        keys.select_nth_unstable_by(k - 1, |&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
        keys.truncate(k);
        keys.sort_unstable();
    }
    keys
}

fn union(sets: &[Vec<u32>]) -> Vec<u32> {
    let mut all = sets.concat();
    all.sort_unstable();
    all.dedup();
    all
}

fn add_values(
    kv: KvView<'_>,
    v_head: usize,
    visible: &Range<usize>,
    (keys, p): (&[u32], &[f32]),
    renormalize: bool,
    out: &mut [f32],
) {
    out.fill(0.0);
    let mut value = vec![0.0; out.len()];
    let mut sum = 0.0;
    for &key in keys {
        kv.v_into(v_head, visible.start + key as usize, &mut value);
        let p = p[key as usize];
        sum += p;
        out.iter_mut().zip(&value).for_each(|(o, v)| *o += p * v);
    }
    if renormalize && sum != 0.0 {
        out.iter_mut().for_each(|o| *o /= sum);
    }
}
