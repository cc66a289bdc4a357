//! Lists of the blocks that are computed.
//!
//! Queries and keys are cut into blocks by a [`Grid`] each. A [`BlockList`] names, for every block of queries, the blocks of keys that it may see, in
//! compressed rows. What the mask hides stays hidden: an element is visible if its block is listed and the mask allows it.

use std::num::NonZeroU32;
use std::ops::Range;

use crate::{AttnError, HeadMap};

/// Blocks of `size` positions; position `t` lies in block `(t + phase) / size`.
///
/// A phase makes the first block shorter: in a chunk of a longer prompt, or behind padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    size: NonZeroU32,
    phase: u32,
}

impl Grid {
    /// A grid.
    ///
    /// # Errors
    ///
    /// [`AttnError::ZeroDim`] for blocks without positions, [`AttnError::Limit`] unless `phase < size`.
    pub fn try_new(size: u32, phase: u32) -> Result<Self, AttnError> {
        let size = NonZeroU32::new(size).ok_or(AttnError::ZeroDim { what: "block size" })?;
        if phase >= size.get() {
            return Err(AttnError::Limit { what: "phase", actual: phase as usize, limit: size.get() as usize - 1 });
        }
        Ok(Grid { size, phase })
    }

    /// Positions of a whole block.
    pub fn size(self) -> usize {
        self.size.get() as usize
    }

    /// How many positions the first block lacks.
    pub fn phase(self) -> usize {
        self.phase as usize
    }

    /// The block of position `t`.
    pub fn block_of(self, t: usize) -> usize {
        (t + self.phase()) / self.size()
    }

    /// Blocks of `t` positions.
    pub fn blocks(self, t: usize) -> usize {
        if t == 0 { 0 } else { self.block_of(t - 1) + 1 }
    }

    /// The positions of a block, cut to `t` positions.
    pub fn range(self, block: usize, t: usize) -> Range<usize> {
        let start = (block * self.size()).saturating_sub(self.phase());
        let end = ((block + 1) * self.size()).saturating_sub(self.phase()).min(t);
        start.min(end)..end
    }
}

/// Which blocks of keys each block of queries may see, for one list of heads.
///
/// Lists belong to `heads` heads: one for all, one a key head, or one a query head; query head `h` uses list `floor(h heads / n_q)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockList {
    q: Grid,
    k: Grid,
    heads: usize,
    rows: usize,
    row_ptr: Vec<u32>,
    cols: Vec<u32>,
}

/// What a list is about: the two grids and the numbers of positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockShape {
    /// The grid of queries.
    pub q: Grid,
    /// The grid of keys.
    pub k: Grid,
    /// Queries.
    pub t_q: usize,
    /// Keys.
    pub t_k: usize,
}

impl BlockShape {
    /// Blocks of queries and of keys.
    pub fn blocks(&self) -> (usize, usize) {
        (self.q.blocks(self.t_q), self.k.blocks(self.t_k))
    }

    /// How many blocks of keys begin at or before the last position of a block of queries, queries being the last positions.
    pub fn causal_blocks(&self, row: usize) -> usize {
        let end = (self.q.range(row, self.t_q).end + self.t_k).saturating_sub(self.t_q);
        self.k.blocks(end.min(self.t_k))
    }
}

impl BlockList {
    /// A list in compressed rows: block row `r` of list head `h` has the columns `cols[row_ptr[h rows + r]..row_ptr[h rows + r + 1]]`, ascending.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when `row_ptr` does not have `heads rows + 1` entries that end at the number of columns, [`AttnError::BlockList`] for
    /// rows that run backwards, or columns that are out of range, not ascending or double.
    pub fn try_new(shape: BlockShape, heads: usize, row_ptr: Vec<u32>, cols: Vec<u32>) -> Result<Self, AttnError> {
        let (rows, n_cols) = shape.blocks();
        if heads == 0 {
            return Err(AttnError::ZeroDim { what: "heads of a block list" });
        }
        let shape_error = |what, expected, actual| Err(AttnError::Shape { what, expected, actual });
        if row_ptr.len() != heads * rows + 1 {
            return shape_error("row_ptr", heads * rows + 1, row_ptr.len());
        }
        if row_ptr[0] != 0 || row_ptr[row_ptr.len() - 1] as usize != cols.len() {
            return shape_error("cols", row_ptr[row_ptr.len() - 1] as usize, cols.len());
        }
        for (i, ends) in row_ptr.windows(2).enumerate() {
            let error = |reason| Err(AttnError::BlockList { head: i / rows, row: i % rows, reason });
            if ends[0] > ends[1] || ends[1] as usize > cols.len() {
                return error("row_ptr runs backwards or beyond the columns");
            }
            let row = &cols[ends[0] as usize..ends[1] as usize];
            if row.windows(2).any(|pair| pair[0] >= pair[1]) {
                return error("columns are not ascending and unique");
            }
            if row.last().is_some_and(|&col| col as usize >= n_cols) {
                return error("a column is out of range");
            }
        }
        Ok(BlockList { q: shape.q, k: shape.k, heads, rows, row_ptr, cols })
    }

    /// The list of the blocks that `is_listed(head, row, col)` names.
    pub fn from_fn(shape: BlockShape, heads: usize, mut is_listed: impl FnMut(usize, usize, usize) -> bool) -> Self {
        let (rows, n_cols) = shape.blocks();
        let (mut row_ptr, mut cols) = (vec![0], Vec::new());
        for head in 0..heads {
            for row in 0..rows {
                cols.extend((0..n_cols).filter(|&col| is_listed(head, row, col)).map(|col| col as u32));
                row_ptr.push(cols.len() as u32);
            }
        }
        BlockList { q: shape.q, k: shape.k, heads, rows, row_ptr, cols }
    }

    /// All blocks that begin at or before the last query of their row.
    pub fn causal(shape: BlockShape, heads: usize) -> Self {
        Self::from_fn(shape, heads, |_, row, col| col < shape.causal_blocks(row))
    }

    /// Of every row, the same columns as `select` names, ascending and unique; columns out of range are left out.
    pub(crate) fn from_rows(
        shape: BlockShape,
        heads: usize,
        mut select: impl FnMut(usize, usize, &mut Vec<u32>),
    ) -> Self {
        let (rows, n_cols) = shape.blocks();
        let (mut row_ptr, mut cols, mut row_cols) = (vec![0], Vec::new(), Vec::new());
        for head in 0..heads {
            for row in 0..rows {
                row_cols.clear();
                select(head, row, &mut row_cols);
                row_cols.sort_unstable();
                row_cols.dedup();
                cols.extend(row_cols.iter().copied().filter(|&col| (col as usize) < n_cols));
                row_ptr.push(cols.len() as u32);
            }
        }
        BlockList { q: shape.q, k: shape.k, heads, rows, row_ptr, cols }
    }

    /// The grid of queries.
    pub fn q_grid(&self) -> Grid {
        self.q
    }

    /// The grid of keys.
    pub fn k_grid(&self) -> Grid {
        self.k
    }

    /// List heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Blocks of queries.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns of a row, ascending.
    pub fn row(&self, head: usize, row: usize) -> &[u32] {
        let at = head * self.rows + row;
        &self.cols[self.row_ptr[at] as usize..self.row_ptr[at + 1] as usize]
    }

    /// The compressed rows: where each begins, and all columns.
    pub fn as_csr(&self) -> (&[u32], &[u32]) {
        (&self.row_ptr, &self.cols)
    }

    /// Listed blocks over the blocks that begin at or before the last query of their row.
    pub fn density(&self, shape: &BlockShape) -> f64 {
        let all: usize = (0..self.rows).map(|row| shape.causal_blocks(row)).sum();
        self.cols.len() as f64 / (all * self.heads).max(1) as f64
    }

    /// The list head of a query head.
    pub(crate) fn head_of(&self, h: usize, n_q: usize) -> usize {
        h * self.heads / n_q
    }

    /// Whether the list fits an attention.
    pub(crate) fn check(&self, heads: HeadMap, t_q: usize, t_k: usize) -> Result<(), AttnError> {
        if ![1, heads.n_k(), heads.n_q()].contains(&self.heads) {
            let reason = "lists belong to one head, to every key head or to every query head";
            return Err(AttnError::BlockList { head: self.heads, row: 0, reason });
        }
        let shape = BlockShape { q: self.q, k: self.k, t_q, t_k };
        let (rows, cols) = shape.blocks();
        if rows != self.rows {
            return Err(AttnError::Shape { what: "block rows", expected: rows, actual: self.rows });
        }
        match self.cols.iter().position(|&col| col as usize >= cols) {
            Some(at) => {
                let row = self.row_ptr.partition_point(|&start| start as usize <= at) - 1;
                Err(AttnError::BlockList { head: row / rows, row: row % rows, reason: "a column is out of range" })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
