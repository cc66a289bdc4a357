//! Many queries: tiles of 64 queries walk tiles of 64 keys with a running softmax (the FlashAttention recurrence).
//!
//! For a tile, with row maxima `m`, sums `l` and outputs `O`, each tile of scores `S` gives
//!
//! ```text
//! m' = max(m, rowmax S)     P = 2^(S - m')     l = l 2^(m - m') + rowsum P     O = O 2^(m - m') + P V
//! ```
//!
//! and at the end `o = O / l`. Which tiles are walked, and which elements of them count, [`Visibility`] says: the mask, padding and block
//! lists are the same to the loops.

use std::ops::Range;

use parsimon_simd::math::exp2;
use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use super::panels::{Needed, Panels};
use super::teacher::{BlockMaxima, Teacher, TileMaps};
use super::visibility::{Cover, Visibility};
use crate::kernel::scatter::{HeadRows, split_heads};
use crate::kernel::{Aligned, Kernel, PackBuffers, Portable, ROWS, SoftmaxTile, TILE};
use crate::softmax::modify;
use crate::{AttnConfig, Compute, KvView, ScoreMod};

/// Tiles of queries that walk keys together: their states fit the second cache.
const GROUP_MAX: usize = 4;

/// A checked call.
pub(super) struct Prefill<'a> {
    pub(super) config: &'a AttnConfig,
    pub(super) level: Level,
    pub(super) q: &'a [f32],
    pub(super) kv: KvView<'a>,
    pub(super) visibility: Visibility<'a>,
}

impl Prefill<'_> {
    pub(super) fn run(
        &self,
        out: &mut [f32],
        lse: Option<&mut [f32]>,
        teacher: Option<Teacher<'_>>,
        buffers: &mut PackBuffers,
    ) {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::kernel::{Avx512F32, Avx512Pairs};
            use parsimon_simd::{Avx512, Avx512Bf16};
            if self.config.compute == Compute::Bf16
                && self.level.includes(Level::Avx512Bf16)
                && let Some(token) = Avx512Bf16::try_new()
            {
                return self.run_with(Avx512Pairs(token), out, lse, teacher, buffers);
            }
            if self.level.includes(Level::Avx512)
                && let Some(token) = Avx512::try_new()
            {
                return self.run_with(Avx512F32(token), out, lse, teacher, buffers);
            }
        }
        self.run_with(Portable(self.level), out, lse, teacher, buffers);
    }

    fn run_with<K: Kernel>(
        &self,
        kernel: K,
        out: &mut [f32],
        lse: Option<&mut [f32]>,
        mut teacher: Option<Teacher<'_>>,
        buffers: &mut PackBuffers,
    ) {
        let AttnConfig { heads, d_v, .. } = *self.config;
        let n_q = heads.n_q();
        let mut needed = Needed::none(heads, self.kv.len());
        let mut items = Vec::new();
        let mut tiles = Vec::new();
        let query_tiles = self.visibility.query_tiles();
        // Tiles do not depend on how they are grouped; there must be enough groups for all threads.
        let groups = query_tiles.len() * n_q / (4 * rayon::current_num_threads()).max(1);
        for group in query_tiles.chunks(groups.clamp(1, GROUP_MAX)) {
            for h in 0..n_q {
                let mut cost = 0;
                for queries in group {
                    self.visibility.key_tiles(h, queries, &mut tiles);
                    needed.add(heads, h, &tiles);
                    cost += tiles.len();
                }
                items.push(Item { cost, h, queries: group, out: Vec::new() });
            }
        }
        let mut tiles = split_heads(out, (n_q, d_v), &query_tiles).into_iter();
        let mut lse = lse.map(|lse| split_heads(lse, (n_q, 1), &query_tiles).into_iter());
        for items in items.chunks_mut(n_q) {
            for at in 0..items[0].queries.len() * n_q {
                let lse = lse.as_mut().and_then(Iterator::next);
                items[at % n_q].out.extend(tiles.next().map(|out| (out, lse)));
            }
        }
        // The longest first, so that no thread ends with a long one.
        items.sort_by_key(|item| std::cmp::Reverse(item.cost));
        let panels = Panels::<K>::pack(kernel, heads, self.kv, &needed, buffers);
        let maxima = teacher.as_ref().map(|teacher| BlockMaxima::of(teacher, self.kv.len()));
        let maps: Vec<Vec<TileMaps>> = items
            .par_iter_mut()
            .map_init(
                || vec![Tile::<K>::new(self.config, maxima.clone()); GROUP_MAX],
                |tiles, item| self.walk(kernel, &panels, item, tiles),
            )
            .collect();
        if let Some(teacher) = &mut teacher {
            for (item, maps) in items.iter().zip(&maps) {
                for (queries, maps) in item.queries.iter().zip(maps) {
                    teacher.take(item.h, queries, self.visibility.t_q, maps);
                }
            }
        }
    }
}

/// Tiles of queries of one head that walk keys together, and where their results go.
struct Item<'a> {
    cost: usize,
    h: usize,
    queries: &'a [Range<usize>],
    out: Vec<(HeadRows<'a>, Option<HeadRows<'a>>)>,
}

impl Prefill<'_> {
    /// Walks the keys once for several tiles of queries of a head: what one has read is near for the next.
    fn walk<K: Kernel>(
        &self,
        kernel: K,
        panels: &Panels<'_, K>,
        item: &mut Item<'_>,
        tiles: &mut [Tile<K>],
    ) -> Vec<TileMaps> {
        let Item { h, queries, out, .. } = item;
        let tiles = &mut tiles[..queries.len()];
        for (tile, queries) in tiles.iter_mut().zip(*queries) {
            tile.start(self, *h, queries);
        }
        while let Some(next) = tiles.iter().filter_map(Tile::next).min() {
            for (tile, queries) in tiles.iter_mut().zip(*queries) {
                if tile.next() == Some(next) {
                    tile.step(self, kernel, panels, (*h, queries), next as usize);
                    tile.done += 1;
                }
            }
        }
        let results = tiles.iter().zip(*queries).zip(out);
        results.filter_map(|((tile, queries), (out, lse))| tile.finish(queries, out, lse.as_mut())).collect()
    }
}

/// The state of a tile of queries, used for one after the other.
#[derive(Clone)]
struct Tile<K: Kernel> {
    depth: usize,
    width: usize,
    q: Aligned<K::Cell>,
    /// The tiles of keys to walk, and how many of them are done.
    key_tiles: Vec<u32>,
    done: usize,
    /// `[64][64]`: scores, then probabilities.
    scores: Aligned<f32>,
    /// `[64][width]`.
    out: Aligned<f32>,
    max: [f32; TILE],
    sum: [f32; TILE],
    tile_max: [f32; TILE],
    maxima: Option<BlockMaxima>,
}

impl<K: Kernel> Tile<K> {
    fn new(config: &AttnConfig, maxima: Option<BlockMaxima>) -> Self {
        let (depth, width) = (config.d_qk.div_ceil(K::DEPTH), config.d_v.next_multiple_of(16));
        Tile {
            depth,
            width,
            q: Aligned::zeroed(TILE * depth),
            key_tiles: Vec::new(),
            done: 0,
            scores: Aligned::zeroed(TILE * TILE),
            out: Aligned::zeroed(TILE * width),
            max: [0.0; TILE],
            sum: [0.0; TILE],
            tile_max: [0.0; TILE],
            maxima,
        }
    }

    fn next(&self) -> Option<u32> {
        self.key_tiles.get(self.done).copied()
    }

    /// One tile of keys.
    fn step(
        &mut self,
        call: &Prefill<'_>,
        kernel: K,
        panels: &Panels<'_, K>,
        (h, queries): (usize, &Range<usize>),
        tile: usize,
    ) {
        let heads = call.config.heads;
        let rows = queries.len();
        let cover = call.visibility.cover(h, queries, tile * TILE);
        let bits = match &cover {
            Cover::None => return,
            Cover::All => None,
            Cover::Part(bits) => Some(&**bits),
        };
        let keys = panels.keys(heads.k_of(h), tile);
        kernel.scores(rows, self.depth, (&self.q, keys), bits, &mut self.scores);
        let scale = self.modify(call, h, queries, tile * TILE);
        if let Some(maxima) = &mut self.maxima {
            maxima.take_scores(rows, tile * TILE, (&self.scores, scale), bits);
        }
        kernel.softmax(SoftmaxTile {
            rows,
            scale,
            bits,
            scores: &mut self.scores,
            max: &mut self.max,
            sum: &mut self.sum,
            out: &mut self.out,
            tile_max: &mut self.tile_max,
        });
        if let Some(maxima) = &mut self.maxima {
            maxima.take_tile(rows, tile, &self.tile_max);
        }
        let v_head = heads.v_of(h);
        match bits {
            Some(bits) if !panels.is_finite(v_head, tile) => self.add_visible(call.kv, v_head, tile * TILE, bits),
            _ => kernel.values(rows, &self.scores, panels.values(v_head, tile), bits, &mut self.out),
        }
    }

    /// Packs queries and forgets the last tile.
    fn start(&mut self, call: &Prefill<'_>, h: usize, queries: &Range<usize>) {
        let AttnConfig { heads, d_qk, .. } = *call.config;
        // Scales must not be negative, so that the largest score comes from the largest product.
        let sign = if call.config.dot_scale() < 0.0 { -1.0 } else { 1.0 };
        let groups = self.q.chunks_exact_mut(self.depth * ROWS).enumerate();
        for (group, cells) in groups.take(queries.len().div_ceil(ROWS)) {
            for r in 0..ROWS {
                // Rows beyond the tile repeat the last one; their results are never read.
                let i = (queries.start + group * ROWS + r).min(queries.end - 1);
                let q = &call.q[(i * heads.n_q() + h) * d_qk..][..d_qk];
                for (c, numbers) in q.chunks(K::DEPTH).enumerate() {
                    let last = numbers.get(K::DEPTH - 1).copied().unwrap_or_default();
                    cells[c * ROWS + r] = K::cell([sign * numbers[0], sign * last]);
                }
            }
        }
        call.visibility.key_tiles(h, queries, &mut self.key_tiles);
        self.done = 0;
        self.max = [f32::NEG_INFINITY; TILE];
        self.sum = [0.0; TILE];
        self.out.fill(0.0);
        if let Some(maxima) = &mut self.maxima {
            maxima.start();
        }
    }

    /// Applies the score modifier, and returns what turns scores into base 2.
    fn modify(&mut self, call: &Prefill<'_>, h: usize, queries: &Range<usize>, j0: usize) -> f32 {
        let scale = call.config.dot_scale().abs();
        if call.config.score_mod == ScoreMod::None {
            return scale;
        }
        let position = queries.start as i64 + call.kv.len() as i64 - call.visibility.t_q as i64;
        let scores = &mut self.scores[..queries.len() * TILE];
        vectorize(call.level, Modify { scores, scale, modifier: &call.config.score_mod, h, position, j0 });
        1.0
    }

    /// `O += P V`, key by key: a value that a row does not see must not be touched when it is not finite.
    fn add_visible(&mut self, kv: KvView<'_>, v_head: usize, j0: usize, bits: &[u64; TILE]) {
        let d_v = kv.dims().1;
        let mut value = vec![0.0; d_v];
        for (r, (out, &bits)) in self.out.chunks_exact_mut(self.width).zip(bits).enumerate() {
            for j in (0..TILE).filter(|j| bits >> j & 1 == 1) {
                kv.v_into(v_head, j0 + j, &mut value);
                let p = K::probability(&self.scores, r, j);
                out.iter_mut().zip(&value).for_each(|(o, v)| *o += p * v);
            }
        }
    }

    fn finish(
        &self,
        queries: &Range<usize>,
        out: &mut HeadRows<'_>,
        mut lse: Option<&mut HeadRows<'_>>,
    ) -> Option<TileMaps> {
        let mut row_lse = [f32::NEG_INFINITY; TILE];
        for (r, row_lse) in row_lse.iter_mut().enumerate().take(queries.len()) {
            // No visible key: the sum is 0, the output stays exactly 0, and the logarithm gives -inf.
            let inverse = if self.sum[r] == 0.0 { 0.0 } else { 1.0 / self.sum[r] };
            let row = &self.out[r * self.width..][..self.width];
            out.row_mut(r).iter_mut().zip(row).for_each(|(out, o)| *out = o * inverse);
            let max = if self.max[r] == f32::NEG_INFINITY { 0.0 } else { self.max[r] };
            *row_lse = max + self.sum[r].log2();
            if let Some(lse) = &mut lse {
                lse.row_mut(r)[0] = *row_lse * std::f32::consts::LN_2;
            }
        }
        self.maxima.as_ref().map(|maxima| maxima.maps(queries, &row_lse, exp2::<false>))
    }
}

/// Scales and modifies the scores of a tile.
struct Modify<'a> {
    scores: &'a mut [f32],
    scale: f32,
    modifier: &'a ScoreMod,
    h: usize,
    position: i64,
    j0: usize,
}

impl Vectorize for Modify<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Modify { scores, scale, modifier, h, position, j0 } = self;
        for (r, row) in scores.chunks_exact_mut(TILE).enumerate() {
            row.iter_mut().for_each(|s| *s *= scale);
            modify::<FMA>(row, modifier, h, position + r as i64, j0);
        }
    }
}
