//! Teacher maps in the same pass: the largest probability of every block (PAPER(seerattention §3.2)).
//!
//! The walk keeps the maximum score `r` of each row and block of keys; when the row's log-sum-exp is known, `exp(r - lse)` is the largest
//! probability in the block, exactly. Only one tile of queries is held at a time: `64 n_blk` numbers.

use std::ops::Range;

use crate::kernel::{RowBits, TILE};
use crate::{AttnError, BlockShape};

/// The maps that [`crate::Attention::prefill_into`] fills.
#[derive(Debug)]
pub struct Teacher<'a> {
    /// The grids of the blocks.
    pub shape: BlockShape,
    /// `[n_q, rows, cols]`: the largest probability of each block.
    pub map_2d: Option<&'a mut [f32]>,
    /// `[n_q, t_q, cols]`: the largest probability of each query in each block of keys.
    pub map_1d: Option<&'a mut [f32]>,
}

impl Teacher<'_> {
    pub(super) fn check(&mut self, n_q: usize, t_q: usize, t_k: usize) -> Result<(), AttnError> {
        crate::kv::check_len("queries of the teacher", t_q, self.shape.t_q)?;
        crate::kv::check_len("keys of the teacher", t_k, self.shape.t_k)?;
        let (rows, cols) = self.shape.blocks();
        for (what, map, rows) in [("map_2d", &mut self.map_2d, rows), ("map_1d", &mut self.map_1d, t_q)] {
            if let Some(map) = map {
                crate::kv::check_len(what, n_q * rows * cols, map.len())?;
                map.fill(0.0);
            }
        }
        Ok(())
    }

    /// Adds what a tile of queries of head `h` found.
    pub(super) fn take(&mut self, h: usize, queries: &Range<usize>, t_q: usize, maps: &TileMaps) {
        let (rows, cols) = self.shape.blocks();
        if let Some(map) = &mut self.map_1d {
            map[(h * t_q + queries.start) * cols..][..maps.map_1d.len()].copy_from_slice(&maps.map_1d);
        }
        if let Some(map) = &mut self.map_2d {
            let map = &mut map[(h * rows + maps.first_row) * cols..][..maps.map_2d.len()];
            map.iter_mut().zip(&maps.map_2d).for_each(|(all, &own)| *all = nan_max(*all, own));
        }
    }
}

/// What a tile of queries adds to the maps.
pub(super) struct TileMaps {
    map_1d: Vec<f32>,
    first_row: usize,
    map_2d: Vec<f32>,
}

/// The maxima of scores, in base 2, of the rows of a tile.
#[derive(Clone, Debug)]
pub(super) struct BlockMaxima {
    shape: BlockShape,
    cols: usize,
    t_k: usize,
    wants: (bool, bool),
    /// `[64][cols]`.
    maxima: Vec<f32>,
}

impl BlockMaxima {
    pub(super) fn of(teacher: &Teacher<'_>, t_k: usize) -> Self {
        let cols = teacher.shape.blocks().1;
        let wants = (teacher.map_1d.is_some(), teacher.map_2d.is_some());
        BlockMaxima { shape: teacher.shape, cols, t_k, wants, maxima: vec![f32::NEG_INFINITY; TILE * cols] }
    }

    pub(super) fn start(&mut self) {
        self.maxima.fill(f32::NEG_INFINITY);
    }

    /// Whether blocks are the tiles of the walk, whose maxima the softmax knows.
    fn is_tiled(&self) -> bool {
        self.shape.k.size() == TILE && self.shape.k.phase() == 0
    }

    /// Takes the maxima of tile `tile`.
    pub(super) fn take_tile(&mut self, rows: usize, tile: usize, tile_max: &[f32; TILE]) {
        if self.is_tiled() {
            for (row, &max) in self.maxima.chunks_exact_mut(self.cols).zip(tile_max).take(rows) {
                row[tile] = max;
            }
        }
    }

    /// Takes scores of the 64 keys from `j0` on, for blocks that are not tiles.
    pub(super) fn take_scores(&mut self, rows: usize, j0: usize, (scores, scale): (&[f32], f32), bits: RowBits<'_>) {
        if self.is_tiled() {
            return;
        }
        let keys = TILE.min(self.t_k - j0);
        for (r, row) in self.maxima.chunks_exact_mut(self.cols).enumerate().take(rows) {
            let bits = bits.map_or(u64::MAX, |bits| bits[r]);
            for (j, &score) in scores[r * TILE..][..keys].iter().enumerate() {
                if bits >> j & 1 == 1 {
                    let max = &mut row[self.shape.k.block_of(j0 + j)];
                    *max = nan_max(*max, score * scale);
                }
            }
        }
    }

    /// The maps of `queries` with log-sum-exps in base 2.
    pub(super) fn maps(&self, queries: &Range<usize>, lse: &[f32; TILE], exp2: impl Fn(f32) -> f32) -> TileMaps {
        let grid = self.shape.q;
        let first_row = grid.block_of(queries.start);
        let n_rows = grid.block_of(queries.end - 1) + 1 - first_row;
        let mut map_1d = Vec::new();
        let mut map_2d = if self.wants.1 { vec![0.0; n_rows * self.cols] } else { Vec::new() };
        for ((i, row), &lse) in queries.clone().zip(self.maxima.chunks_exact(self.cols)).zip(lse) {
            // A row that sees nothing has maxima and a log-sum-exp of -inf.
            let largest = |&max: &f32| if max == f32::NEG_INFINITY { 0.0 } else { exp2(max - lse) };
            if self.wants.1 {
                let all = &mut map_2d[(grid.block_of(i) - first_row) * self.cols..][..self.cols];
                all.iter_mut().zip(row).for_each(|(all, max)| *all = nan_max(*all, largest(max)));
            }
            if self.wants.0 {
                map_1d.extend(row.iter().map(largest));
            }
        }
        TileMaps { map_1d, first_row, map_2d }
    }
}

/// The larger number, or NaN when the new one is.
fn nan_max(old: f32, new: f32) -> f32 {
    if new > old || new.is_nan() { new } else { old }
}
