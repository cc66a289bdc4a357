//! Which keys the rows of a tile see: the mask, the padding and the block list, as 64 bits a row.

use std::ops::Range;

use crate::kernel::TILE;
use crate::{BlockList, Mask};

/// What hides keys in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visibility<'a> {
    pub(super) mask: Mask,
    pub(super) t_q: usize,
    pub(super) t_k: usize,
    /// Whether each key is real.
    pub(super) keys: Option<&'a [bool]>,
    pub(super) blocks: Option<&'a BlockList>,
    pub(super) n_q: usize,
}

/// What a tile of queries sees of a tile of keys.
pub(super) enum Cover {
    /// Nothing.
    None,
    /// Every row sees every key.
    All,
    /// Only what the bits say.
    Part(Box<[u64; TILE]>),
}

impl Visibility<'_> {
    /// Where tiles of queries begin: so that blocks of 64 queries, and their parts, lie in one tile each.
    pub(super) fn query_tiles(&self) -> Vec<Range<usize>> {
        let phase = self.blocks.map_or(0, |blocks| blocks.q_grid().phase() % TILE);
        let starts = std::iter::once(0).chain((TILE - phase..self.t_q).step_by(TILE));
        starts
            .filter(|&start| start < self.t_q)
            .map(|start| start..self.t_q.min((start + phase) / TILE * TILE + TILE - phase))
            .collect()
    }

    fn visible(&self, i: usize) -> Range<usize> {
        self.mask.visible(i, self.t_q, self.t_k)
    }

    /// The tiles of keys that any of `queries` may see, ascending.
    pub(super) fn key_tiles(&self, h: usize, queries: &Range<usize>, tiles: &mut Vec<u32>) {
        tiles.clear();
        let (start, end) = (self.visible(queries.start).start, self.visible(queries.end - 1).end);
        let all = start / TILE..end.div_ceil(TILE);
        let Some(blocks) = self.blocks else {
            tiles.extend(all.map(|tile| tile as u32));
            return;
        };
        let head = blocks.head_of(h, self.n_q);
        for row in blocks.q_grid().block_of(queries.start)..=blocks.q_grid().block_of(queries.end - 1) {
            for &col in blocks.row(head, row) {
                let keys = blocks.k_grid().range(col as usize, end);
                if keys.end > start && !keys.is_empty() {
                    tiles.extend((keys.start.max(start) / TILE..keys.end.div_ceil(TILE)).map(|tile| tile as u32));
                }
            }
        }
        tiles.sort_unstable();
        tiles.dedup();
    }

    /// What `queries` see of the 64 keys from `j0` on, which are among [`Visibility::key_tiles`].
    pub(super) fn cover(&self, h: usize, queries: &Range<usize>, j0: usize) -> Cover {
        let last = queries.end - 1;
        let in_mask = self.visible(queries.start).end >= j0 + TILE && self.visible(last).start <= j0;
        let list = self.blocks.filter(|blocks| {
            let (q, k) = (blocks.q_grid(), blocks.k_grid());
            let key = (j0 + TILE).min(self.t_k) - 1;
            q.block_of(queries.start) != q.block_of(last) || k.block_of(j0) != k.block_of(key)
        });
        if in_mask && list.is_none() && self.keys.is_none() {
            return Cover::All;
        }
        let real = self.real_bits(j0);
        let mut bits = Box::new([0; TILE]);
        let mut listed = (usize::MAX, u64::MAX);
        for (bits, i) in bits.iter_mut().zip(queries.clone()) {
            if let Some(blocks) = list {
                let row = blocks.q_grid().block_of(i);
                if row != listed.0 {
                    listed = (row, self.listed_bits(blocks, h, row, j0));
                }
            }
            *bits = range_bits(&self.visible(i), j0) & real & listed.1;
        }
        match bits.iter().fold((0, u64::MAX), |(any, all), row| (any | row, all & row)) {
            (0, _) => Cover::None,
            (_, u64::MAX) => Cover::All,
            _ => Cover::Part(bits),
        }
    }

    fn real_bits(&self, j0: usize) -> u64 {
        let Some(keys) = self.keys else { return u64::MAX };
        keys[j0..].iter().take(TILE).enumerate().fold(0, |bits, (j, &real)| bits | u64::from(real) << j)
    }

    /// The keys of the blocks that row `row` lists.
    fn listed_bits(&self, blocks: &BlockList, h: usize, row: usize, j0: usize) -> u64 {
        let cols = blocks.row(blocks.head_of(h, self.n_q), row);
        let (first, last) = (blocks.k_grid().block_of(j0), blocks.k_grid().block_of(j0 + TILE - 1));
        let start = cols.partition_point(|&col| (col as usize) < first);
        let near = cols[start..].iter().take_while(|&&col| col as usize <= last);
        near.fold(0, |bits, &col| bits | range_bits(&blocks.k_grid().range(col as usize, self.t_k), j0))
    }
}

/// The bits of a range of keys among the 64 from `j0` on.
fn range_bits(keys: &Range<usize>, j0: usize) -> u64 {
    let start = keys.start.saturating_sub(j0).min(TILE);
    let end = keys.end.saturating_sub(j0).min(TILE);
    if start >= end { 0 } else { (u64::MAX >> (TILE - (end - start))) << start }
}
