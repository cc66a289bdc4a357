//! Many queries: tiles of 64 queries walk blocks of 64 keys with a running softmax (the FlashAttention recurrence).
//!
//! For a tile, with row maxima `m`, sums `l` and outputs `O`, each block of scores `S` gives
//!
//! ```text
//! m' = max(m, rowmax S)     P = 2^(S - m')     l = l 2^(m - m') + rowsum P     O = O 2^(m - m') + P V
//! ```
//!
//! and at the end `o = O / l`. A masked score is never exponentiated together with a value: each row begins
//! at its first visible key and stops at its last.

use std::ops::Range;

use parsimon_simd::math::exp2;
use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use super::decode::mul_add;
use super::panels::{PANEL, Panels};
use crate::softmax::{exponentiate, max, soft_cap};
use crate::{AttnConfig, KvView};

/// Queries of a tile and keys of a block.
const TILE: usize = 64;

/// Queries of the inner kernel.
const ROWS: usize = 4;

pub(super) fn forward(config: &AttnConfig, q: &[f32], kv: KvView<'_>, out: &mut [f32], mut lse: Option<&mut [f32]>) {
    let AttnConfig { heads, d_qk, d_v, .. } = *config;
    let n_q = heads.n_q();
    let t_q = q.len() / (n_q * d_qk);
    let panels = Panels::pack(heads, kv);
    let items: Vec<(usize, usize)> = (0..t_q).step_by(TILE).flat_map(|i0| (0..n_q).map(move |h| (i0, h))).collect();
    // The last tiles see the most keys: they go first, so that no thread ends with a long one.
    let tiles: Vec<TileOutput> = items
        .par_iter()
        .rev()
        .map(|&(i0, h)| {
            let tile = Tile { config, q, panels: &panels, t_q, t_k: kv.len(), i0, h };
            // Eight 512-bit sums fill a core that has 32 registers; with 16 of 256 bits they would spill.
            if Level::best().includes(Level::Avx512) {
                vectorize(Level::best(), Wide(tile))
            } else {
                vectorize(Level::best(), Narrow(tile))
            }
        })
        .collect();
    for (&(i0, h), tile) in items.iter().rev().zip(&tiles) {
        for (r, (row, &row_lse)) in tile.out.chunks_exact(d_v).zip(&tile.lse).enumerate() {
            let at = (i0 + r) * n_q + h;
            out[at * d_v..][..d_v].copy_from_slice(row);
            if let Some(lse) = &mut lse {
                lse[at] = row_lse;
            }
        }
    }
}

struct TileOutput {
    /// `[rows, d_v]`.
    out: Vec<f32>,
    lse: Vec<f32>,
}

/// Queries `i0..i0 + 64` of head `h`.
struct Tile<'a> {
    config: &'a AttnConfig,
    q: &'a [f32],
    panels: &'a Panels,
    t_q: usize,
    t_k: usize,
    i0: usize,
    h: usize,
}

struct Wide<'a>(Tile<'a>);
struct Narrow<'a>(Tile<'a>);

impl Vectorize for Wide<'_> {
    type Output = TileOutput;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> TileOutput {
        self.0.run::<FMA, 32>()
    }
}

impl Vectorize for Narrow<'_> {
    type Output = TileOutput;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> TileOutput {
        self.0.run::<FMA, 16>()
    }
}

/// The running state of a tile.
struct State {
    rows: usize,
    d_v_padded: usize,
    /// `[TILE][TILE]`: scores, then probabilities.
    scores: Vec<f32>,
    /// `[TILE][d_v_padded]`.
    out: Vec<f32>,
    max: [f32; TILE],
    sum: [f32; TILE],
}

impl Tile<'_> {
    #[inline(always)]
    fn run<const FMA: bool, const W: usize>(&self) -> TileOutput {
        let d_v = self.config.d_v;
        let rows = TILE.min(self.t_q - self.i0);
        let d_v_padded = d_v.next_multiple_of(PANEL);
        let mut state = State {
            rows,
            d_v_padded,
            scores: vec![0.0; TILE * TILE],
            out: vec![0.0; TILE * d_v_padded],
            max: [f32::NEG_INFINITY; TILE],
            sum: [0.0; TILE],
        };
        let (first, end) = (self.visible(0).start / TILE * TILE, self.visible(rows - 1).end);
        for j0 in (first..end).step_by(TILE) {
            self.score_block::<FMA, W>(&mut state, j0);
            self.softmax_block::<FMA>(&mut state, j0);
            self.value_block::<FMA, W>(&mut state, j0);
        }
        let mut output = TileOutput { out: Vec::with_capacity(rows * d_v), lse: Vec::with_capacity(rows) };
        for r in 0..rows {
            // No visible key: the sum is 0, the output stays exactly 0, and the logarithm gives -inf.
            let inverse = if state.sum[r] == 0.0 { 0.0 } else { 1.0 / state.sum[r] };
            output.out.extend(state.out[r * d_v_padded..][..d_v].iter().map(|o| o * inverse));
            let max = if state.max[r] == f32::NEG_INFINITY { 0.0 } else { state.max[r] };
            output.lse.push((max + state.sum[r].log2()) * std::f32::consts::LN_2);
        }
        output
    }

    /// Keys that row `r` of the tile sees.
    #[inline(always)]
    fn visible(&self, r: usize) -> Range<usize> {
        self.config.mask.visible(self.i0 + r, self.t_q, self.t_k)
    }

    /// Keys that row `r` of the tile sees of the 64 from `j0` on, counted from there.
    #[inline(always)]
    fn visible_in(&self, r: usize, j0: usize) -> Range<usize> {
        let Range { start, end } = self.visible(r);
        start.saturating_sub(j0).min(TILE)..end.saturating_sub(j0).min(TILE)
    }

    /// `S = scale log2(e) Q K^T`, capped where there is a cap, for 64 keys from `j0`.
    #[inline(always)]
    fn score_block<const FMA: bool, const W: usize>(&self, state: &mut State, j0: usize) {
        let AttnConfig { heads, d_qk, .. } = *self.config;
        let scale = self.config.dot_scale();
        let q_row = |r: usize| {
            // Rows beyond the tile repeat the last one; their results are never read.
            let at = (self.i0 + r.min(state.rows - 1)) * heads.n_q() + self.h;
            &self.q[at * d_qk..][..d_qk]
        };
        for p in 0..TILE.min(self.t_k - j0).div_ceil(PANEL) {
            let panel = self.panels.keys(heads.k_of(self.h), j0 / PANEL + p);
            for r in (0..state.rows).step_by(ROWS) {
                let q: [&[f32]; ROWS] = std::array::from_fn(|i| q_row(r + i));
                for c in (0..PANEL).step_by(W) {
                    let mut acc = [[0.0f32; W]; ROWS];
                    for (dim, k) in panel.iter().enumerate() {
                        let k: &[f32; W] = k[c..].first_chunk().expect("W divides the panel");
                        for (acc, q) in acc.iter_mut().zip(q) {
                            add_scaled::<FMA, W>(acc, q[dim], k);
                        }
                    }
                    for (i, acc) in acc.iter().enumerate() {
                        let scores = &mut state.scores[(r + i) * TILE + p * PANEL + c..][..W];
                        scores.iter_mut().zip(acc).for_each(|(s, a)| *s = a * scale);
                    }
                }
            }
        }
        if let Some(cap) = self.config.soft_cap {
            soft_cap::<FMA>(&mut state.scores[..state.rows * TILE], cap);
        }
    }

    /// Scores to probabilities; sums and outputs are rescaled where a maximum grew.
    #[inline(always)]
    fn softmax_block<const FMA: bool>(&self, state: &mut State, j0: usize) {
        for r in 0..state.rows {
            let keys = self.visible_in(r, j0);
            if keys.is_empty() {
                continue;
            }
            let scores = &mut state.scores[r * TILE..][keys];
            let block_max = max(scores);
            let old = state.max[r];
            let new = if block_max > old { block_max } else { old };
            // Only NaN scores so far: any finite maximum makes the row NaN.
            let shift = if new == f32::NEG_INFINITY { 0.0 } else { new };
            let sum = exponentiate::<FMA>(scores, shift);
            if new > old {
                let factor = exp2::<FMA>(old - new);
                state.sum[r] *= factor;
                state.out[r * state.d_v_padded..][..state.d_v_padded].iter_mut().for_each(|o| *o *= factor);
                state.max[r] = new;
            }
            state.sum[r] += sum;
        }
    }

    /// `O += P V`.
    #[inline(always)]
    fn value_block<const FMA: bool, const W: usize>(&self, state: &mut State, j0: usize) {
        let v_head = self.config.heads.v_of(self.h);
        for r in (0..state.rows).step_by(ROWS) {
            let whole =
                state.rows >= r + ROWS && self.visible(r).end >= j0 + TILE && self.visible(r + ROWS - 1).start <= j0;
            for p in 0..state.d_v_padded / PANEL {
                let values = &self.panels.values(v_head, p)[j0..];
                for c in (p * PANEL..(p + 1) * PANEL).step_by(W) {
                    if whole {
                        self.value_rows::<FMA, W, ROWS>(state, r, c, 0, &values[..TILE]);
                        continue;
                    }
                    // Where rows begin or end at different keys, one at a time: a masked key's value must not be touched.
                    for r in r..state.rows.min(r + ROWS) {
                        let keys = self.visible_in(r, j0);
                        self.value_rows::<FMA, W, 1>(state, r, c, keys.start, &values[keys]);
                    }
                }
            }
        }
    }

    /// `values` of the keys from `from` on.
    #[inline(always)]
    fn value_rows<const FMA: bool, const W: usize, const R: usize>(
        &self,
        state: &mut State,
        r: usize,
        c: usize,
        from: usize,
        values: &[[f32; PANEL]],
    ) {
        let State { scores, out, d_v_padded, .. } = state;
        let mut acc = [[0.0f32; W]; R];
        for (i, acc) in acc.iter_mut().enumerate() {
            acc.copy_from_slice(&out[(r + i) * *d_v_padded + c..][..W]);
        }
        let p: [&[f32]; R] = std::array::from_fn(|i| &scores[(r + i) * TILE + from..][..values.len()]);
        for (j, v) in values.iter().enumerate() {
            let v: &[f32; W] = v[c % PANEL..].first_chunk().expect("W divides the panel");
            for (acc, p) in acc.iter_mut().zip(p) {
                add_scaled::<FMA, W>(acc, p[j], v);
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            out[(r + i) * *d_v_padded + c..][..W].copy_from_slice(acc);
        }
    }
}

/// `acc += a x`.
#[inline(always)]
fn add_scaled<const FMA: bool, const W: usize>(acc: &mut [f32; W], a: f32, x: &[f32; W]) {
    for (acc, &x) in acc.iter_mut().zip(x) {
        *acc = mul_add::<FMA>(a, x, *acc);
    }
}
