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

/// The widest rows that heads share as `f32`: a page of them fits the first cache.
const WIDE_MAX: usize = 128;

/// From so many keys on it pays to convert them first.
const WIDE_MIN_LEN: usize = 4 * KvPool::PAGE;

pub(super) fn forward(config: &AttnConfig, q: &[f32], kv: KvView<'_>, out: &mut [f32], lse: Option<&mut [f32]>) {
    match kv.dtype() {
        KvDtype::F32 => forward_of::<f32>(config, q, kv, out, lse),
        KvDtype::F16 => forward_of::<f16>(config, q, kv, out, lse),
        KvDtype::Bf16 => forward_of::<bf16>(config, q, kv, out, lse),
        KvDtype::Int8 => forward_of::<i8>(config, q, kv, out, lse),
    }
}

fn forward_of<E: Element>(config: &AttnConfig, q: &[f32], kv: KvView<'_>, out: &mut [f32], lse: Option<&mut [f32]>) {
    let AttnConfig { heads, d_qk, d_v, .. } = *config;
    let work = q.len() / d_qk * kv.len() * (d_qk + d_v);
    let threads = rayon::current_num_threads();
    let is_parallel = work >= PARALLEL_MIN && threads > 1;
    let may_share = !E::IS_SLOW || d_qk.max(d_v) <= WIDE_MAX && kv.len() >= WIDE_MIN_LEN;
    // Heads that share both; fewer where threads would wait for others. What a head gives does not depend on it.
    let shared = |n: usize| {
        let divides = [heads.n_k(), heads.n_v()].iter().all(|shares| (heads.n_q() / shares).is_multiple_of(n));
        divides && (!is_parallel || q.len() / d_qk / n >= 2 * threads)
    };
    match [4, 2].into_iter().find(|&n| may_share && shared(n)) {
        Some(4) => forward_by::<E, 4>(config, q, kv, out, lse, is_parallel),
        Some(_) => forward_by::<E, 2>(config, q, kv, out, lse, is_parallel),
        None => forward_by::<E, 1>(config, q, kv, out, lse, is_parallel),
    }
}

fn forward_by<E: Element, const N: usize>(
    config: &AttnConfig,
    q: &[f32],
    kv: KvView<'_>,
    out: &mut [f32],
    lse: Option<&mut [f32]>,
    is_parallel: bool,
) {
    let AttnConfig { heads, d_qk, d_v, mask, soft_cap, .. } = *config;
    let n_q = heads.n_q();
    let t_q = q.len() / (n_q * d_qk);
    let rows = |at: usize, out: &mut [f32]| {
        let (i, h) = (at * N / n_q, at * N % n_q);
        let keys = mask.visible(i, t_q, kv.len());
        let q = &q[at * N * d_qk..][..N * d_qk];
        let (k_head, v_head) = (heads.k_of(h), heads.v_of(h));
        let scale = config.dot_scale();
        let rows = Rows::<E, N> { q, kv, k_head, v_head, keys, scale, cap: soft_cap, out, element: PhantomData };
        vectorize(Level::best(), rows)
    };
    let width = N * d_v;
    match (lse.map(|lse| lse.as_chunks_mut::<N>().0), is_parallel) {
        (Some(lse), true) => {
            let tasks = out.par_chunks_exact_mut(width).zip(lse).enumerate();
            tasks.for_each(|(at, (out, lse))| *lse = rows(at, out));
        }
        (Some(lse), false) => {
            let tasks = out.chunks_exact_mut(width).zip(lse).enumerate();
            tasks.for_each(|(at, (out, lse))| *lse = rows(at, out));
        }
        (None, true) => out.par_chunks_exact_mut(width).enumerate().for_each(|(at, out)| _ = rows(at, out)),
        (None, false) => out.chunks_exact_mut(width).enumerate().for_each(|(at, out)| _ = rows(at, out)),
    }
}

/// `N` query heads of one query that share keys and values, over numbers that are kept as `E`; returns their log-sum-exps.
///
/// Each has the bits that it has alone; together they read, and convert, every key and value once.
struct Rows<'a, E, const N: usize> {
    /// `[N, d_qk]`.
    q: &'a [f32],
    kv: KvView<'a>,
    k_head: usize,
    v_head: usize,
    keys: Range<usize>,
    /// [`AttnConfig::dot_scale`].
    scale: f32,
    cap: Option<f32>,
    /// `[N, d_v]`.
    out: &'a mut [f32],
    element: PhantomData<E>,
}

impl<E: Element, const N: usize> Vectorize for Rows<'_, E, N> {
    type Output = [f32; N];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f32; N] {
        let Rows { q, kv, k_head, v_head, keys, scale, cap, out, .. } = self;
        out.fill(0.0);
        let (d_qk, d_v) = (q.len() / N, out.len() / N);
        let mut scores = [[0.0f32; KvPool::PAGE]; N];
        let mut running = [Running { max: f32::NEG_INFINITY, sum: 0.0 }; N];
        let mut wide = [0.0f32; KvPool::PAGE * WIDE_MAX];
        let mut j0 = keys.start;
        while j0 < keys.end {
            let len = keys.end.min((j0 / KvPool::PAGE + 1) * KvPool::PAGE) - j0;
            let (keys, values) = (E::rows(kv.k_block(k_head, j0)), E::rows(kv.v_block(v_head, j0)));
            let is_widened = E::IS_SLOW && N > 1;
            if is_widened {
                widen(keys, d_qk, len, &mut wide);
            }
            for (((q, out), p), running) in
                q.chunks_exact(d_qk).zip(out.chunks_exact_mut(d_v)).zip(&mut scores).zip(&mut running)
            {
                let p = &mut p[..len];
                if is_widened {
                    dots::<FMA, f32>(q, TypedRows { rows: &wide, stride: d_qk, scales: &[] }, p);
                } else {
                    dots::<FMA, E>(q, keys, p);
                }
                rescale(p, keys.scales);
                p.iter_mut().for_each(|p| *p *= scale);
                if let Some(cap) = cap {
                    soft_cap::<FMA>(p, cap);
                }
                running.take::<FMA>(p, out);
                rescale(p, values.scales);
            }
            if is_widened {
                widen(values, d_v, len, &mut wide);
            }
            for (out, p) in out.chunks_exact_mut(d_v).zip(&scores) {
                if is_widened {
                    add_rows::<FMA, f32>(&p[..len], TypedRows { rows: &wide, stride: d_v, scales: &[] }, out);
                } else {
                    add_rows::<FMA, E>(&p[..len], values, out);
                }
            }
            j0 += len;
        }
        let mut lse = [0.0; N];
        for ((lse, out), running) in lse.iter_mut().zip(out.chunks_exact_mut(d_v)).zip(running) {
            *lse = running.finish(out);
        }
        lse
    }
}

/// The running softmax of a row, in base 2.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    sum: f32,
}

impl Running {
    /// Replaces scores by their exponentials, and scales what `out` holds to their maximum.
    #[inline(always)]
    fn take<const FMA: bool>(&mut self, p: &mut [f32], out: &mut [f32]) {
        let block_max = max(p);
        let new = if block_max > self.max { block_max } else { self.max };
        // Only NaN scores so far: any finite maximum makes the row NaN.
        let sum = exponentiate::<FMA>(p, if new == f32::NEG_INFINITY { 0.0 } else { new });
        if new > self.max {
            let factor = exp2::<FMA>(self.max - new);
            self.sum *= factor;
            out.iter_mut().for_each(|o| *o *= factor);
            self.max = new;
        }
        self.sum += sum;
    }

    /// Divides by the sum, and returns the natural log-sum-exp.
    #[inline(always)]
    fn finish(self, out: &mut [f32]) -> f32 {
        // No visible key: the sum is 0, the output stays exactly 0, and the logarithm gives -inf.
        let inverse = if self.sum == 0.0 { 0.0 } else { 1.0 / self.sum };
        out.iter_mut().for_each(|o| *o *= inverse);
        let max = if self.max == f32::NEG_INFINITY { 0.0 } else { self.max };
        (max + self.sum.log2()) * std::f32::consts::LN_2
    }
}

/// Writes `len` rows of width `d` as `f32`.
#[inline(always)]
fn widen<E: Element>(rows: TypedRows<'_, E>, d: usize, len: usize, out: &mut [f32]) {
    for (out, row) in out.chunks_exact_mut(d).zip(rows.rows.chunks(rows.stride)).take(len) {
        for (out, x) in out.iter_mut().zip(&row[..d]) {
            *out = x.to_f32();
        }
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
