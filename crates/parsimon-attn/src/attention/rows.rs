//! The rows of a unit: query heads at one position that walk the cache together.

use std::marker::PhantomData;
use std::ops::Range;

use half::{bf16, f16};
use parsimon_simd::math::{exp2, lane_sum};
use parsimon_simd::{Level, Vectorize, vectorize};

use super::decode::Query;
use crate::kv::{Element, TypedRows};
use crate::softmax::{exponentiate, max, modify, mul_add};
use crate::{AttnConfig, KvDtype, KvView, ScoreMod};

/// The most query heads of a unit.
pub(super) const UNIT_MAX: usize = 64;

/// Keys at a time.
const CHUNK: usize = 64;

const LANES: usize = 16;

/// Rows of an inner step.
const STEP: usize = 4;

/// The widest rows that heads share as `f32`: a chunk of them fits the first cache.
const WIDE_MAX: usize = 128;

/// Attends the rows `q [rows, d_qk]`, query heads from `h` on, to the keys in `spans`; writes `out [rows, d_v]`, normalized, and `lse [rows]`.
pub(super) fn attend(
    config: &AttnConfig,
    level: Level,
    (q, h): (&[f32], usize),
    query: &Query<'_>,
    spans: &mut dyn Iterator<Item = Range<usize>>,
    out: &mut [f32],
    lse: &mut [f32],
) {
    let kv = query.kv;
    let unit = Unit { config, q, h, kv, position: query.position };
    match kv.dtype() {
        KvDtype::F32 => vectorize(level, Walk::<f32> { unit, spans, out, lse, element: PhantomData }),
        KvDtype::F16 => vectorize(level, Walk::<f16> { unit, spans, out, lse, element: PhantomData }),
        KvDtype::Bf16 => vectorize(level, Walk::<bf16> { unit, spans, out, lse, element: PhantomData }),
        KvDtype::Int8 => vectorize(level, Walk::<i8> { unit, spans, out, lse, element: PhantomData }),
    }
}

#[derive(Clone, Copy)]
struct Unit<'a> {
    config: &'a AttnConfig,
    q: &'a [f32],
    h: usize,
    kv: KvView<'a>,
    position: i64,
}

struct Walk<'a, E> {
    unit: Unit<'a>,
    spans: &'a mut dyn Iterator<Item = Range<usize>>,
    out: &'a mut [f32],
    lse: &'a mut [f32],
    element: PhantomData<E>,
}

/// The running softmax of the rows.
struct State {
    scores: [[f32; CHUNK]; UNIT_MAX],
    running: [Running; UNIT_MAX],
    /// A chunk as `f32`, for elements that are slow to convert and rows that share them.
    wide: [f32; CHUNK * WIDE_MAX],
}

impl State {
    #[inline(always)]
    fn new() -> Self {
        State {
            scores: [[0.0; CHUNK]; UNIT_MAX],
            running: [Running { max: f32::NEG_INFINITY, sum: 0.0 }; UNIT_MAX],
            wide: [0.0; CHUNK * WIDE_MAX],
        }
    }
}

impl<E: Element> Vectorize for Walk<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Walk { unit, spans, out, lse, .. } = self;
        let d_v = unit.config.d_v;
        let mut state = State::new();
        out.fill(0.0);
        for Range { start: mut j0, end } in spans {
            while j0 < end {
                // Chunks end where pages do, so that pages and plain rows have the same bits.
                let len = unit.run_len(j0).min(end - j0).min(CHUNK - j0 % CHUNK);
                unit.scores::<FMA, E>(&mut state, j0, len, lse.len());
                unit.softmax::<FMA>(&mut state, j0, len, out);
                unit.values::<FMA, E>(&mut state, j0, len, out);
                j0 += len;
            }
        }
        for ((out, lse), running) in out.chunks_exact_mut(d_v).zip(lse).zip(state.running) {
            *lse = running.finish(out);
        }
    }
}

impl Unit<'_> {
    /// Positions from `j0` on whose keys, and whose values, lie together.
    #[inline(always)]
    fn run_len(&self, j0: usize) -> usize {
        self.kv.k_run(0, j0).1.min(self.kv.v_run(0, j0).1)
    }

    /// The rows from `r` on that share what `head_of` says.
    #[inline(always)]
    fn sharing(&self, r: usize, rows: usize, head_of: impl Fn(usize) -> usize) -> (usize, Range<usize>) {
        let head = head_of(self.h + r);
        (head, r..(r..rows).find(|&r| head_of(self.h + r) != head).unwrap_or(rows))
    }

    /// Scores of `len` keys from `j0` on, a key head at a time.
    #[inline(always)]
    fn scores<const FMA: bool, E: Element>(&self, state: &mut State, j0: usize, len: usize, n_rows: usize) {
        let (heads, d) = (self.config.heads, self.config.d_qk);
        let mut r = 0;
        while r < n_rows {
            let (head, rows) = self.sharing(r, n_rows, |h| heads.k_of(h));
            let keys = E::rows(self.kv.k_run(head, j0).0);
            r = rows.end;
            let (q, p) = (&self.q[rows.start * d..rows.end * d], &mut state.scores[rows.clone()]);
            if E::IS_SLOW && rows.len() > 1 && d <= WIDE_MAX {
                widen(keys, d, len, &mut state.wide);
                dots::<FMA, f32>(q, TypedRows { rows: &state.wide, stride: d, scales: &[] }, len, p);
            } else {
                dots::<FMA, E>(q, keys, len, p);
            }
            p.iter_mut().for_each(|p| rescale(&mut p[..len], keys.scales));
        }
    }

    /// Scores to probabilities, and outputs to their maxima.
    #[inline(always)]
    fn softmax<const FMA: bool>(&self, state: &mut State, j0: usize, len: usize, out: &mut [f32]) {
        let config = self.config;
        let scale = config.dot_scale();
        let rows = out.chunks_exact_mut(config.d_v).zip(&mut state.scores).zip(&mut state.running);
        for (r, ((out, p), running)) in rows.enumerate() {
            let p = &mut p[..len];
            p.iter_mut().for_each(|p| *p *= scale);
            if config.score_mod != ScoreMod::None {
                modify::<FMA>(p, &config.score_mod, self.h + r, self.position, j0);
            }
            running.take::<FMA>(p, out);
        }
    }

    /// Adds the values of `len` keys from `j0` on, a value head at a time.
    #[inline(always)]
    fn values<const FMA: bool, E: Element>(&self, state: &mut State, j0: usize, len: usize, out: &mut [f32]) {
        let (heads, d) = (self.config.heads, self.config.d_v);
        let n_rows = out.len() / d;
        let mut r = 0;
        while r < n_rows {
            let (head, rows) = self.sharing(r, n_rows, |h| heads.v_of(h));
            let values = E::rows(self.kv.v_run(head, j0).0);
            r = rows.end;
            let (out, p) = (&mut out[rows.start * d..rows.end * d], &mut state.scores[rows.clone()]);
            p.iter_mut().for_each(|p| rescale(&mut p[..len], values.scales));
            if E::IS_SLOW && rows.len() > 1 && d <= WIDE_MAX {
                widen(values, d, len, &mut state.wide);
                add_rows::<FMA, f32>(p, len, TypedRows { rows: &state.wide, stride: d, scales: &[] }, out);
            } else {
                add_rows::<FMA, E>(p, len, values, out);
            }
        }
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

/// `out[r][j] = <q[r], row j>`.
#[inline(always)]
fn dots<const FMA: bool, E: Element>(q: &[f32], rows: TypedRows<'_, E>, len: usize, out: &mut [[f32; CHUNK]]) {
    let d = q.len() / out.len();
    let mut at = 0;
    for (q, out) in q.chunks(STEP * d).zip(out.chunks_mut(STEP)) {
        match out {
            [_, _, _, _] => dot_rows::<FMA, E, 4>(q, d, rows, len, out),
            [_, _, _] => dot_rows::<FMA, E, 3>(q, d, rows, len, out),
            [_, _] => dot_rows::<FMA, E, 2>(q, d, rows, len, out),
            _ => dot_rows::<FMA, E, 1>(q, d, rows, len, out),
        }
        at += out.len();
    }
    debug_assert!(at > 0, "a unit has rows");
}

/// As [`dots`], of `R` rows that read a key together, each sum in 16 lanes that are added in one order whatever `R` is.
#[inline(always)]
fn dot_rows<const FMA: bool, E: Element, const R: usize>(
    q: &[f32],
    d: usize,
    rows: TypedRows<'_, E>,
    len: usize,
    out: &mut [[f32; CHUNK]],
) {
    let q: [&[f32]; R] = std::array::from_fn(|r| &q[r * d..][..d]);
    let q_blocks: [&[[f32; LANES]]; R] = q.map(|q| q.as_chunks().0);
    let out: &mut [[f32; CHUNK]; R] = out.first_chunk_mut().expect("R rows");
    for (j, k) in rows.rows.chunks(rows.stride).enumerate().take(len) {
        let k = &k[..d];
        let (k_blocks, k_rest) = k.as_chunks::<LANES>();
        let mut acc = [[0.0f32; LANES]; R];
        for (c, k) in k_blocks.iter().enumerate() {
            for (acc, q) in acc.iter_mut().zip(q_blocks) {
                add_products::<FMA, E>(acc, &q[c], k);
            }
        }
        for r in 0..R {
            let rest = q[r][d - k_rest.len()..].iter().zip(k_rest);
            out[r][j] = lane_sum(acc[r]) + rest.map(|(q, k)| q * k.to_f32()).sum::<f32>();
        }
    }
}

/// `acc += a b`, lane by lane.
#[inline(always)]
fn add_products<const FMA: bool, E: Element>(acc: &mut [f32; LANES], a: &[f32; LANES], b: &[E; LANES]) {
    for (acc, (&a, &b)) in acc.iter_mut().zip(a.iter().zip(b)) {
        *acc = mul_add::<FMA>(a, b.to_f32(), *acc);
    }
}

/// `out[r] += sum_j p[r][j] row j`, in the order of the rows.
#[inline(always)]
fn add_rows<const FMA: bool, E: Element>(p: &[[f32; CHUNK]], len: usize, rows: TypedRows<'_, E>, out: &mut [f32]) {
    let d = out.len() / p.len();
    for (p, out) in p.chunks(STEP).zip(out.chunks_mut(STEP * d)) {
        match p {
            [_, _, _, _] => add_to_rows::<FMA, E, 4>(p, len, rows, out),
            [_, _, _] => add_to_rows::<FMA, E, 3>(p, len, rows, out),
            [_, _] => add_to_rows::<FMA, E, 2>(p, len, rows, out),
            _ => add_to_rows::<FMA, E, 1>(p, len, rows, out),
        }
    }
}

#[inline(always)]
fn add_to_rows<const FMA: bool, E: Element, const R: usize>(
    p: &[[f32; CHUNK]],
    len: usize,
    rows: TypedRows<'_, E>,
    out: &mut [f32],
) {
    let d = out.len() / R;
    let mut c = 0;
    while c + 4 * LANES <= d {
        add_columns::<FMA, E, R, { 4 * LANES }>(p, len, rows, out, c);
        c += 4 * LANES;
    }
    while c + LANES <= d {
        add_columns::<FMA, E, R, LANES>(p, len, rows, out, c);
        c += LANES;
    }
    for c in c..d {
        add_columns::<FMA, E, R, 1>(p, len, rows, out, c);
    }
}

#[inline(always)]
fn add_columns<const FMA: bool, E: Element, const R: usize, const W: usize>(
    p: &[[f32; CHUNK]],
    len: usize,
    rows: TypedRows<'_, E>,
    out: &mut [f32],
    c: usize,
) {
    let d = out.len() / R;
    let mut acc = [[0.0f32; W]; R];
    for (acc, out) in acc.iter_mut().zip(out.chunks_exact(d)) {
        acc.copy_from_slice(&out[c..][..W]);
    }
    for (j, row) in rows.rows.chunks(rows.stride).take(len).enumerate() {
        let row: &[E; W] = row[c..].first_chunk().expect("a row is as wide as the outputs");
        for (acc, p) in acc.iter_mut().zip(p) {
            for lane in 0..W {
                acc[lane] = mul_add::<FMA>(p[j], row[lane].to_f32(), acc[lane]);
            }
        }
    }
    for (acc, out) in acc.iter().zip(out.chunks_exact_mut(d)) {
        out[c..][..W].copy_from_slice(acc);
    }
}

/// Writes the scores of all query heads, `q [n_q, d_qk]`, and the keys `keys`: `out [n_q, keys]` in natural units.
pub(super) fn score_into(
    config: &AttnConfig,
    level: Level,
    q: &[f32],
    kv: KvView<'_>,
    keys: Range<usize>,
    out: &mut [f32],
) {
    let d = config.d_qk;
    let position = kv.len() as i64 - 1;
    for (at, q) in q.chunks(UNIT_MAX * d).enumerate() {
        let unit = Unit { config, q, h: at * UNIT_MAX, kv, position };
        let out = &mut out[at * UNIT_MAX * keys.len()..];
        let out = &mut out[..q.len() / d * keys.len()];
        match kv.dtype() {
            KvDtype::F32 => vectorize(level, Score::<f32> { unit, keys: keys.clone(), out, element: PhantomData }),
            KvDtype::F16 => vectorize(level, Score::<f16> { unit, keys: keys.clone(), out, element: PhantomData }),
            KvDtype::Bf16 => vectorize(level, Score::<bf16> { unit, keys: keys.clone(), out, element: PhantomData }),
            KvDtype::Int8 => vectorize(level, Score::<i8> { unit, keys: keys.clone(), out, element: PhantomData }),
        }
    }
}

struct Score<'a, E> {
    unit: Unit<'a>,
    keys: Range<usize>,
    out: &'a mut [f32],
    element: PhantomData<E>,
}

impl<E: Element> Vectorize for Score<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Score { unit, keys, out, .. } = self;
        let config = unit.config;
        let rows = unit.q.len() / config.d_qk;
        let mut state = State::new();
        let mut j0 = keys.start;
        while j0 < keys.end {
            let len = unit.run_len(j0).min(keys.end - j0).min(CHUNK - j0 % CHUNK);
            unit.scores::<FMA, E>(&mut state, j0, len, rows);
            for (r, (p, out)) in state.scores.iter_mut().zip(out.chunks_exact_mut(keys.len())).enumerate() {
                let p = &mut p[..len];
                p.iter_mut().for_each(|p| *p *= config.dot_scale());
                modify::<FMA>(p, &config.score_mod, unit.h + r, unit.position, j0);
                let out = &mut out[j0 - keys.start..][..len];
                out.iter_mut().zip(p).for_each(|(out, p)| *out = *p * std::f32::consts::LN_2);
            }
            j0 += len;
        }
    }
}
