//! A matrix of rows and heads, cut into tiles that threads write side by side.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// Rows `rows` of one head of `[n, heads, d]`, borrowed for writing.
pub(crate) struct HeadRows<'a> {
    /// The first row of the head.
    base: *mut f32,
    rows: usize,
    stride: usize,
    d: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is the only way to its numbers, as a mutable slice of them would be.
unsafe impl Send for HeadRows<'_> {}

impl HeadRows<'_> {
    /// Row `r` of the tile.
    pub(crate) fn row_mut(&mut self, r: usize) -> &mut [f32] {
        assert!(r < self.rows, "a row of the tile");
        // SAFETY: `split_heads` checked that rows and heads lie in the matrix; no other tile has this row of this head, and the borrow of `self` keeps
        // this tile from giving it out twice.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(r * self.stride), self.d) }
    }
}

/// Cuts `matrix [n, heads, d]` into a tile for every range of rows and every head, rows first.
///
/// # Panics
///
/// When the ranges are not ascending, or do not lie in the matrix.
pub(crate) fn split_heads<'a>(
    matrix: &'a mut [f32],
    (heads, d): (usize, usize),
    rows: &[Range<usize>],
) -> Vec<HeadRows<'a>> {
    let stride = heads * d;
    assert!(rows.iter().all(|rows| rows.start <= rows.end && rows.end * stride <= matrix.len()), "rows of the matrix");
    assert!(rows.windows(2).all(|pair| pair[0].end <= pair[1].start), "rows are ascending");
    let base = matrix.as_mut_ptr();
    let tile = |rows: &Range<usize>, h: usize| {
        // SAFETY: the row begins inside the matrix, or at its end when there are no rows.
        let base = unsafe { base.add(rows.start * stride + if rows.is_empty() { 0 } else { h * d }) };
        HeadRows { base, rows: rows.len(), stride, d, owner: PhantomData }
    };
    rows.iter().flat_map(|rows| (0..heads).map(move |h| tile(rows, h))).collect()
}
