//! Gradients of dense and block-sparse attention.
//!
//! ```text
//! P = exp(S - lse)     D = rowsum(dO O)     dP = dO V^T     dS = P (dP - D) mod'(S)
//! dQ += scale dS K     dK += scale dS^T Q     dV += P^T dO
//! ```
//!
//! `dQ` walks the queries of a head; `dK` and `dV` walk the queries that see a tile of keys, for every query head that shares it, so that each output has one
//! writer and one order of sums.

use rayon::prelude::*;

use parsimon_simd::{Level, Vectorize, vectorize};

use super::Attention;
use super::visibility::{Cover, Visibility};
use crate::kernel::TILE;
use crate::kv::check_len;
use crate::softmax::mul_add;
use crate::{AttnConfig, AttnError, BlockList, KvView, ScoreMod};

/// What [`Attention::backward_into`] reads: queries, outputs and log-sum-exps of the forward pass, and the gradient of the outputs.
#[derive(Clone, Copy, Debug)]
pub struct BackwardArgs<'a> {
    /// `[t_q, n_q, d_qk]`.
    pub q: &'a [f32],
    /// Keys and values.
    pub kv: KvView<'a>,
    /// The blocks that were seen; `None` for all.
    pub blocks: Option<&'a BlockList>,
    /// `[t_q, n_q, d_v]`.
    pub o: &'a [f32],
    /// `[t_q, n_q]`.
    pub lse: &'a [f32],
    /// `[t_q, n_q, d_v]`.
    pub d_o: &'a [f32],
}

/// Where [`Attention::backward_into`] writes.
#[derive(Debug)]
pub struct Grads<'a> {
    /// `[t_q, n_q, d_qk]`.
    pub dq: &'a mut [f32],
    /// `[t_k, n_k, d_qk]`.
    pub dk: &'a mut [f32],
    /// `[t_k, n_v, d_v]`.
    pub dv: &'a mut [f32],
}

impl Attention {
    /// Gradients of queries, keys and values. Those of keys and values that several query heads read are sums over these heads; rows that see
    /// nothing give 0.
    ///
    /// # Errors
    ///
    /// As [`Attention::prefill_into`]; nothing is written then.
    pub fn backward_into(&self, args: BackwardArgs<'_>, grads: Grads<'_>) -> Result<(), AttnError> {
        let AttnConfig { heads, d_qk, d_v, .. } = self.config;
        let (n_q, t_k) = (heads.n_q(), args.kv.len());
        let t_q = self.check(args.q, args.kv, args.o, Some(args.lse))?;
        check_len("d_o", t_q * n_q * d_v, args.d_o.len())?;
        check_len("dq", t_q * n_q * d_qk, grads.dq.len())?;
        check_len("dk", t_k * heads.n_k() * d_qk, grads.dk.len())?;
        check_len("dv", t_k * heads.n_v() * d_v, grads.dv.len())?;
        if let Some(blocks) = args.blocks {
            blocks.check(heads, t_q, t_k)?;
        }
        let visibility = Visibility { mask: self.config.mask, t_q, t_k, keys: None, blocks: args.blocks, n_q };
        let pass = Pass::new(self, args, visibility);
        let tasks: Vec<(usize, usize)> = (0..t_q.div_ceil(TILE)).flat_map(|i| (0..n_q).map(move |h| (i, h))).collect();
        let dq: Vec<Vec<f32>> = tasks.par_iter().map(|&(i, h)| pass.queries(i * TILE, h)).collect();
        for (&(i, h), tile) in tasks.iter().zip(&dq) {
            for (r, row) in tile.chunks_exact(d_qk).enumerate() {
                grads.dq[((i * TILE + r) * n_q + h) * d_qk..][..d_qk].copy_from_slice(row);
            }
        }
        for (n, d, out, is_value) in [(heads.n_k(), d_qk, grads.dk, false), (heads.n_v(), d_v, grads.dv, true)] {
            let tasks: Vec<(usize, usize)> =
                (0..t_k.div_ceil(TILE)).flat_map(|j| (0..n).map(move |h| (j, h))).collect();
            let tiles: Vec<Vec<f32>> = tasks.par_iter().map(|&(j, head)| pass.keys(j * TILE, head, is_value)).collect();
            for (&(j, head), tile) in tasks.iter().zip(&tiles) {
                for (r, row) in tile.chunks_exact(d).enumerate() {
                    out[((j * TILE + r) * n + head) * d..][..d].copy_from_slice(row);
                }
            }
        }
        Ok(())
    }
}

/// Rows by head: `[heads][t][d]`, so that loops read them in a line.
struct ByHead {
    d: usize,
    t: usize,
    data: Vec<f32>,
}

impl ByHead {
    fn new(heads: usize, t: usize, d: usize, row_into: impl Fn(usize, usize, &mut [f32]) + Sync) -> Self {
        let mut data = vec![0.0; heads * t * d];
        data.par_chunks_exact_mut(d).enumerate().for_each(|(at, row)| row_into(at / t, at % t, row));
        ByHead { d, t, data }
    }

    fn row(&self, head: usize, t: usize) -> &[f32] {
        &self.data[(head * self.t + t) * self.d..][..self.d]
    }
}

struct Pass<'a> {
    config: &'a AttnConfig,
    level: Level,
    visibility: Visibility<'a>,
    q: ByHead,
    k: ByHead,
    v: ByHead,
    d_o: ByHead,
    /// `[t_q, n_q]`.
    lse: &'a [f32],
    /// `D`, `[t_q, n_q]`.
    deltas: Vec<f32>,
}

/// `P` and `dS` of a tile, `[64][64]` each.
struct TileGrads {
    p: Vec<f32>,
    ds: Vec<f32>,
    bits: Option<Box<[u64; TILE]>>,
}

impl<'a> Pass<'a> {
    fn new(attention: &'a Attention, args: BackwardArgs<'a>, visibility: Visibility<'a>) -> Self {
        let config = &attention.config;
        let AttnConfig { heads, d_qk, d_v, .. } = *config;
        let (n_q, t_q, t_k, kv) = (heads.n_q(), visibility.t_q, visibility.t_k, args.kv);
        let copy = |from: &'a [f32], d: usize| {
            move |h: usize, i: usize, row: &mut [f32]| row.copy_from_slice(&from[(i * n_q + h) * d..][..d])
        };
        let row = |row: (&[f32], &[f32])| row.0.iter().zip(row.1).map(|(a, b)| a * b).sum();
        Pass {
            config,
            level: attention.level,
            visibility,
            q: ByHead::new(n_q, t_q, d_qk, copy(args.q, d_qk)),
            k: ByHead::new(heads.n_k(), t_k, d_qk, |head, t, row| kv.k_into(head, t, row)),
            v: ByHead::new(heads.n_v(), t_k, d_v, |head, t, row| kv.v_into(head, t, row)),
            d_o: ByHead::new(n_q, t_q, d_v, copy(args.d_o, d_v)),
            lse: args.lse,
            deltas: args.d_o.chunks_exact(d_v).zip(args.o.chunks_exact(d_v)).map(row).collect(),
        }
    }

    /// `P` and `dS` of the queries from `i0` and the keys from `j0` on; `None` where nothing is seen.
    fn tile(&self, h: usize, i0: usize, j0: usize) -> Option<TileGrads> {
        let AttnConfig { heads, .. } = *self.config;
        let queries = i0..self.visibility.t_q.min(i0 + TILE);
        let bits = match self.visibility.cover(h, &queries, j0) {
            Cover::None => return None,
            Cover::All => None,
            Cover::Part(bits) => Some(bits),
        };
        let (k_head, v_head) = (heads.k_of(h), heads.v_of(h));
        let keys = TILE.min(self.visibility.t_k - j0);
        let mut tile = TileGrads { p: vec![0.0; TILE * TILE], ds: vec![0.0; TILE * TILE], bits };
        let scale = self.config.scale() as f32;
        for (r, i) in queries.enumerate() {
            let at = i * heads.n_q() + h;
            let position = (i + self.visibility.t_k) as f64 - self.visibility.t_q as f64;
            let (q, d_o) = (self.q.row(h, i), self.d_o.row(h, i));
            let row_bits = tile.bits.as_ref().map_or(u64::MAX, |bits| bits[r]);
            for j in (0..keys).filter(|j| row_bits >> j & 1 == 1) {
                let dots = Dots { pairs: [(q, self.k.row(k_head, j0 + j)), (d_o, self.v.row(v_head, j0 + j))] };
                let [s, dp] = vectorize(self.level, dots);
                let (s, slope) = self.modified(h, s * scale, position - (j0 + j) as f64);
                let p = (s - self.lse[at]).exp();
                tile.p[r * TILE + j] = p;
                tile.ds[r * TILE + j] = p * (dp - self.deltas[at]) * slope * scale;
            }
        }
        Some(tile)
    }

    /// A score after its modifier, and the derivative.
    fn modified(&self, h: usize, s: f32, distance: f64) -> (f32, f32) {
        match &self.config.score_mod {
            ScoreMod::None => (s, 1.0),
            ScoreMod::SoftCap(cap) => {
                let t = (s / cap).tanh();
                (cap * t, 1.0 - t * t)
            }
            ScoreMod::Alibi(slopes) => (s - slopes[h] * distance.abs() as f32, 1.0),
        }
    }

    /// `dQ` of the queries from `i0` on.
    fn queries(&self, i0: usize, h: usize) -> Vec<f32> {
        let d = self.config.d_qk;
        let queries = i0..self.visibility.t_q.min(i0 + TILE);
        let mut dq = vec![0.0; queries.len() * d];
        let mut tiles = Vec::new();
        self.visibility.key_tiles(h, &queries, &mut tiles);
        for j0 in tiles.into_iter().map(|tile| tile as usize * TILE) {
            let Some(tile) = self.tile(h, i0, j0) else { continue };
            for (r, dq) in dq.chunks_exact_mut(d).enumerate() {
                for j in tile.seen(r) {
                    let (a, x) = (tile.ds[r * TILE + j], self.k.row(self.config.heads.k_of(h), j0 + j));
                    vectorize(self.level, Add { a, x, out: dq });
                }
            }
        }
        dq
    }

    /// `dK`, or `dV`, of the keys from `j0` on of a head.
    fn keys(&self, j0: usize, head: usize, is_value: bool) -> Vec<f32> {
        let AttnConfig { heads, d_qk, d_v, .. } = *self.config;
        let (d, sharing) = if is_value { (d_v, heads.n_q() / heads.n_v()) } else { (d_qk, heads.n_q() / heads.n_k()) };
        let keys = TILE.min(self.visibility.t_k - j0);
        let mut out = vec![0.0; keys * d];
        for h in head * sharing..(head + 1) * sharing {
            for i0 in (0..self.visibility.t_q).step_by(TILE) {
                let Some(tile) = self.tile(h, i0, j0) else { continue };
                let (a, x) = if is_value { (&tile.p, &self.d_o) } else { (&tile.ds, &self.q) };
                for r in 0..TILE.min(self.visibility.t_q - i0) {
                    for j in tile.seen(r).filter(|j| *j < keys) {
                        let add = Add { a: a[r * TILE + j], x: x.row(h, i0 + r), out: &mut out[j * d..][..d] };
                        vectorize(self.level, add);
                    }
                }
            }
        }
        out
    }
}

impl TileGrads {
    /// The keys that row `r` sees.
    fn seen(&self, r: usize) -> impl Iterator<Item = usize> + '_ {
        let bits = self.bits.as_ref().map_or(u64::MAX, |bits| bits[r]);
        (0..TILE).filter(move |j| bits >> j & 1 == 1)
    }
}

struct Dots<'a> {
    pairs: [(&'a [f32], &'a [f32]); 2],
}

impl Vectorize for Dots<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f32; 2] {
        self.pairs.map(|(a, b)| {
            let mut lanes = [0.0f32; 16];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
            for (a, b) in a.iter().zip(b) {
                for lane in 0..16 {
                    lanes[lane] = mul_add::<FMA>(a[lane], b[lane], lanes[lane]);
                }
            }
            parsimon_simd::math::lane_sum(lanes) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
        })
    }
}

/// `out += a x`.
struct Add<'a> {
    a: f32,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorize for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = mul_add::<FMA>(self.a, x, *out);
        }
    }
}
