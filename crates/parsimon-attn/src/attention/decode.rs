//! A few queries over many keys: a row walks the pages of the cache with a running softmax, and reads numbers as they are kept.
//!
//! What a row gives does not depend on the rows beside it.

use std::marker::PhantomData;
use std::ops::Range;

use half::{bf16, f16};
use parsimon_simd::math::exp2;
use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use crate::kv::{Element, TypedRows};
use crate::softmax::{exponentiate, max, soft_cap};
use crate::{AttnConfig, KvDtype, KvPool, KvView};

/// Below this many multiply-adds a call stays on the calling thread.
const PARALLEL_MIN: usize = 1 << 19;

const LANES: usize = 16;

pub(super) fn forward(config: &AttnConfig, q: &[f32], kv: KvView<'_>, out: &mut [f32], lse: Option<&mut [f32]>) {
    match kv.dtype() {
        KvDtype::F32 => forward_of::<f32>(config, q, kv, out, lse),
        KvDtype::F16 => forward_of::<f16>(config, q, kv, out, lse),
        KvDtype::Bf16 => forward_of::<bf16>(config, q, kv, out, lse),
        KvDtype::Int8 => forward_of::<i8>(config, q, kv, out, lse),
    }
}

fn forward_of<E: Element>(config: &AttnConfig, q: &[f32], kv: KvView<'_>, out: &mut [f32], lse: Option<&mut [f32]>) {
    let AttnConfig { heads, d_qk, d_v, mask, soft_cap, .. } = *config;
    let n_q = heads.n_q();
    let t_q = q.len() / (n_q * d_qk);
    let row = |at: usize, out: &mut [f32]| {
        let (i, h) = (at / n_q, at % n_q);
        let keys = mask.visible(i, t_q, kv.len());
        let q = &q[at * d_qk..][..d_qk];
        let (k_head, v_head) = (heads.k_of(h), heads.v_of(h));
        let scale = config.dot_scale();
        let row = Row { q, kv, k_head, v_head, keys, scale, cap: soft_cap, out, element: PhantomData::<E> };
        vectorize(Level::best(), row)
    };
    let work = t_q * n_q * kv.len() * (d_qk + d_v);
    let is_parallel = work >= PARALLEL_MIN && rayon::current_num_threads() > 1;
    match (lse, is_parallel) {
        (Some(lse), true) => {
            let rows = out.par_chunks_exact_mut(d_v).zip(lse).enumerate();
            rows.for_each(|(at, (out, lse))| *lse = row(at, out));
        }
        (Some(lse), false) => {
            let rows = out.chunks_exact_mut(d_v).zip(lse).enumerate();
            rows.for_each(|(at, (out, lse))| *lse = row(at, out));
        }
        (None, true) => out.par_chunks_exact_mut(d_v).enumerate().for_each(|(at, out)| _ = row(at, out)),
        (None, false) => out.chunks_exact_mut(d_v).enumerate().for_each(|(at, out)| _ = row(at, out)),
    }
}

/// One query head of one query over numbers that are kept as `E`; returns its log-sum-exp.
struct Row<'a, E> {
    q: &'a [f32],
    kv: KvView<'a>,
    k_head: usize,
    v_head: usize,
    keys: Range<usize>,
    /// [`AttnConfig::dot_scale`].
    scale: f32,
    cap: Option<f32>,
    out: &'a mut [f32],
    element: PhantomData<E>,
}

impl<E: Element> Vectorize for Row<'_, E> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let Row { q, kv, k_head, v_head, keys, scale, cap, out, .. } = self;
        out.fill(0.0);
        let mut scores = [0.0f32; KvPool::PAGE];
        let (mut row_max, mut row_sum) = (f32::NEG_INFINITY, 0.0f32);
        let mut j0 = keys.start;
        while j0 < keys.end {
            let p = &mut scores[..keys.end.min((j0 / KvPool::PAGE + 1) * KvPool::PAGE) - j0];
            let keys = E::rows(kv.k_block(k_head, j0));
            dots::<FMA, E>(q, keys, p);
            rescale(p, keys.scales);
            p.iter_mut().for_each(|p| *p *= scale);
            if let Some(cap) = cap {
                soft_cap::<FMA>(p, cap);
            }
            let block_max = max(p);
            let new = if block_max > row_max { block_max } else { row_max };
            // Only NaN scores so far: any finite maximum makes the row NaN.
            let sum = exponentiate::<FMA>(p, if new == f32::NEG_INFINITY { 0.0 } else { new });
            if new > row_max {
                let factor = exp2::<FMA>(row_max - new);
                row_sum *= factor;
                out.iter_mut().for_each(|o| *o *= factor);
                row_max = new;
            }
            row_sum += sum;
            let values = E::rows(kv.v_block(v_head, j0));
            rescale(p, values.scales);
            add_rows::<FMA, E>(p, values, out);
            j0 += p.len();
        }
        // No visible key: the sum is 0, the output stays exactly 0, and the logarithm gives -inf.
        let inverse = if row_sum == 0.0 { 0.0 } else { 1.0 / row_sum };
        out.iter_mut().for_each(|o| *o *= inverse);
        let row_max = if row_max == f32::NEG_INFINITY { 0.0 } else { row_max };
        (row_max + row_sum.log2()) * std::f32::consts::LN_2
    }
}

/// `p[j] *= scales[j]` where there are scales.
#[inline(always)]
fn rescale(p: &mut [f32], scales: &[f32]) {
    for (p, scale) in p.iter_mut().zip(scales) {
        *p *= scale;
    }
}

/// `out[j] = <q, row j>`.
#[inline(always)]
fn dots<const FMA: bool, E: Element>(q: &[f32], rows: TypedRows<'_, E>, out: &mut [f32]) {
    for (out, row) in out.iter_mut().zip(rows.rows.chunks(rows.stride)) {
        *out = dot::<FMA, E>(q, &row[..q.len()]);
    }
}

#[inline(always)]
fn dot<const FMA: bool, E: Element>(a: &[f32], b: &[E]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] = mul_add::<FMA>(a[lane], b[lane].to_f32(), lanes[lane]);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b.to_f32()).sum::<f32>()
}

/// `out += sum_j p[j] row j`, in the order of the rows: four of them while a piece of `out` is at hand.
#[inline(always)]
fn add_rows<const FMA: bool, E: Element>(p: &[f32], rows: TypedRows<'_, E>, out: &mut [f32]) {
    let (d, mut rows) = (out.len(), rows.rows.chunks(rows.stride));
    let (fours, rest) = p.as_chunks::<4>();
    for p in fours {
        let (Some(a), Some(b), Some(c), Some(e)) = (rows.next(), rows.next(), rows.next(), rows.next()) else { return };
        let (a, b, c, e) = (&a[..d], &b[..d], &c[..d], &e[..d]);
        for i in 0..d {
            let mut sum = mul_add::<FMA>(p[0], a[i].to_f32(), out[i]);
            sum = mul_add::<FMA>(p[1], b[i].to_f32(), sum);
            sum = mul_add::<FMA>(p[2], c[i].to_f32(), sum);
            out[i] = mul_add::<FMA>(p[3], e[i].to_f32(), sum);
        }
    }
    for (&p, row) in rest.iter().zip(rows) {
        for (out, &x) in out.iter_mut().zip(row) {
            *out = mul_add::<FMA>(p, x.to_f32(), *out);
        }
    }
}

#[inline(always)]
pub(super) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
