//! A few queries over many keys: all scores of a row, one softmax, one pass over the values.

use std::ops::Range;

use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use crate::softmax::{exponentiate, max, soft_cap};
use crate::{AttnConfig, KvView};

/// Below this many multiply-adds a call stays on the calling thread.
const PARALLEL_MIN: usize = 1 << 19;

const LANES: usize = 16;

pub(super) fn forward(config: &AttnConfig, q: &[f32], kv: KvView<'_>, out: &mut [f32], lse: &mut [f32]) {
    let AttnConfig { heads, d_qk, d_v, mask, soft_cap, .. } = *config;
    let n_q = heads.n_q();
    let t_q = q.len() / (n_q * d_qk);
    let scale = config.dot_scale();
    let row = |(at, (out, lse)): (usize, (&mut [f32], &mut f32))| {
        let (i, h) = (at / n_q, at % n_q);
        let keys = mask.visible(i, t_q, kv.len());
        let q = &q[at * d_qk..][..d_qk];
        let (k_head, v_head) = (heads.k_of(h), heads.v_of(h));
        *lse = vectorize(Level::best(), Row { q, kv, k_head, v_head, keys, scale, cap: soft_cap, out });
    };
    let work = t_q * n_q * kv.len() * (d_qk + d_v);
    if work >= PARALLEL_MIN && rayon::current_num_threads() > 1 {
        out.par_chunks_exact_mut(d_v).zip(lse.par_iter_mut()).enumerate().for_each(row);
    } else {
        out.chunks_exact_mut(d_v).zip(lse.iter_mut()).enumerate().for_each(row);
    }
}

/// One query head of one query; returns its log-sum-exp.
struct Row<'a> {
    q: &'a [f32],
    kv: KvView<'a>,
    k_head: usize,
    v_head: usize,
    keys: Range<usize>,
    /// [`AttnConfig::dot_scale`].
    scale: f32,
    cap: Option<f32>,
    out: &'a mut [f32],
}

impl Vectorize for Row<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        self.out.fill(0.0);
        if self.keys.is_empty() {
            return f32::NEG_INFINITY;
        }
        let mut p: Vec<f32> =
            self.keys.clone().map(|j| self.scale * dot::<FMA>(self.q, self.kv.k(self.k_head, j))).collect();
        if let Some(cap) = self.cap {
            soft_cap::<FMA>(&mut p, cap);
        }
        let max = max(&p);
        // Every score is NaN: the row is NaN.
        let max = if max == f32::NEG_INFINITY { f32::NAN } else { max };
        let sum = exponentiate::<FMA>(&mut p, max);
        let inverse = 1.0 / sum;
        for (j, &p) in self.keys.zip(&p) {
            axpy::<FMA>(p * inverse, self.kv.v(self.v_head, j), self.out);
        }
        (max + sum.log2()) * std::f32::consts::LN_2
    }
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] = mul_add::<FMA>(a[lane], b[lane], lanes[lane]);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[inline(always)]
fn axpy<const FMA: bool>(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = mul_add::<FMA>(a, x, *y);
    }
}

#[inline(always)]
pub(super) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
