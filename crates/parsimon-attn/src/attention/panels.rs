//! Keys and values packed for the tiles, once per head and only where a row may see them.

use rayon::prelude::*;

use crate::kernel::{Kernel, PackBuffers, TILE};
use crate::{HeadMap, KvView};

/// Packed keys and values of a call, in the layouts of [`crate::kernel`].
pub(super) struct Panels<'a, K: Kernel> {
    n_tiles: usize,
    depth: usize,
    width: usize,
    keys: &'a [K::Cell],
    values: &'a [K::Cell],
    /// Whether all values of a head and tile are finite.
    is_finite: Vec<bool>,
}

/// Which tiles of keys some head reads, and which of values: `[n_k, tiles]` and `[n_v, tiles]`.
pub(super) struct Needed {
    pub(super) keys: Vec<bool>,
    pub(super) values: Vec<bool>,
}

impl Needed {
    pub(super) fn none(heads: HeadMap, len: usize) -> Self {
        let n_tiles = len.div_ceil(TILE);
        Needed { keys: vec![false; heads.n_k() * n_tiles], values: vec![false; heads.n_v() * n_tiles] }
    }

    pub(super) fn add(&mut self, heads: HeadMap, h: usize, tiles: &[u32]) {
        let (k, v) = (self.keys.len() / heads.n_k() * heads.k_of(h), self.values.len() / heads.n_v() * heads.v_of(h));
        for &tile in tiles {
            self.keys[k + tile as usize] = true;
            self.values[v + tile as usize] = true;
        }
    }
}

impl<'a, K: Kernel> Panels<'a, K> {
    pub(super) fn pack(
        kernel: K,
        heads: HeadMap,
        kv: KvView<'_>,
        needed: &Needed,
        buffers: &'a mut PackBuffers,
    ) -> Self {
        let (d_qk, d_v) = kv.dims();
        let n_tiles = kv.len().div_ceil(TILE);
        let (depth, width) = (d_qk.div_ceil(K::DEPTH), d_v.next_multiple_of(16));
        let [keys, values] = K::buffers(buffers);
        keys.resize(heads.n_k() * n_tiles * depth * TILE);
        values.resize(heads.n_v() * n_tiles * width * TILE / K::DEPTH);
        let mut is_finite = vec![true; heads.n_v() * n_tiles];
        let tiles = keys.par_chunks_exact_mut(depth * TILE).zip(&needed.keys).enumerate();
        tiles.filter(|(_, (_, needed))| **needed).for_each_init(
            || (vec![0.0; depth * K::DEPTH], vec![K::Cell::default(); TILE * depth]),
            |(row, cells), (at, (tile, _))| {
                let (head, j0) = (at / n_tiles, at % n_tiles * TILE);
                key_cells::<K>(kv, (head, j0), row, cells);
                kernel.pack_keys(cells, depth, tile);
            },
        );
        let tiles = values.par_chunks_exact_mut(width * TILE / K::DEPTH).zip(&mut is_finite).zip(&needed.values);
        tiles.enumerate().filter(|(_, (_, needed))| **needed).for_each_init(
            || vec![0.0; K::DEPTH * width],
            |rows, (at, ((tile, is_finite), _))| {
                *is_finite = pack_values::<K>(kv, (at / n_tiles, at % n_tiles * TILE), rows, tile);
            },
        );
        Panels { n_tiles, depth, width, keys, values, is_finite }
    }

    /// A tile of keys: `[2][depth][32]`.
    pub(super) fn keys(&self, head: usize, tile: usize) -> &[K::Cell] {
        &self.keys[(head * self.n_tiles + tile) * self.depth * TILE..][..self.depth * TILE]
    }

    /// A tile of values: `[64 / DEPTH][width]`.
    pub(super) fn values(&self, head: usize, tile: usize) -> &[K::Cell] {
        let len = self.width * TILE / K::DEPTH;
        &self.values[(head * self.n_tiles + tile) * len..][..len]
    }

    /// Whether all values of a tile are finite, so that a probability of 0 hides them.
    pub(super) fn is_finite(&self, head: usize, tile: usize) -> bool {
        self.is_finite[head * self.n_tiles + tile]
    }
}

/// The cells `[64][depth]` of the keys from `j0` on, 0 beyond the last; `row` is scratch.
fn key_cells<K: Kernel>(kv: KvView<'_>, (head, j0): (usize, usize), row: &mut [f32], cells: &mut [K::Cell]) {
    let d = kv.dims().0;
    let len = TILE.min(kv.len() - j0);
    for (t, cells) in cells.chunks_exact_mut(row.len() / K::DEPTH).enumerate() {
        if t < len {
            kv.k_into(head, j0 + t, &mut row[..d]);
        } else {
            row.fill(0.0);
        }
        for (cell, numbers) in cells.iter_mut().zip(row.chunks_exact(K::DEPTH)) {
            *cell = K::cell([numbers[0], numbers[K::DEPTH - 1]]);
        }
    }
}

/// Packs the values from `j0` on and says whether all are finite; `rows` is scratch of `[DEPTH][width]`.
fn pack_values<K: Kernel>(kv: KvView<'_>, (head, j0): (usize, usize), rows: &mut [f32], out: &mut [K::Cell]) -> bool {
    let (d, width) = (kv.dims().1, rows.len() / K::DEPTH);
    let len = TILE.min(kv.len() - j0);
    let mut exponent = 0;
    for (i, cells) in out.chunks_exact_mut(width).enumerate() {
        for (t, row) in rows.chunks_exact_mut(width).enumerate() {
            if K::DEPTH * i + t < len {
                kv.v_into(head, j0 + K::DEPTH * i + t, &mut row[..d]);
            } else {
                row.fill(0.0);
            }
        }
        let (first, last) = (&rows[..width], &rows[(K::DEPTH - 1) * width..]);
        for ((cell, &first), &last) in cells.iter_mut().zip(first).zip(last) {
            exponent = exponent.max(first.to_bits() & EXPONENT).max(last.to_bits() & EXPONENT);
            *cell = K::cell([first, last]);
        }
    }
    exponent != EXPONENT
}

/// The exponent of a float, all ones in what is not finite.
const EXPONENT: u32 = 0x7f80_0000;
