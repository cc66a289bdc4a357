//! Which rows of a stored matrix make a layer: all, a part of a fused one, or heads in another order.

use std::ops::Range;

use parsimon_core::quant::{GroupQuantized, Zeros};

/// Rows of a stored matrix, in the order of the layer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Rows {
    /// Rows of the stored matrix.
    pub(crate) total: usize,
    /// `None` is all as they stand.
    chosen: Option<Vec<usize>>,
}

impl Rows {
    pub(crate) fn all(total: usize) -> Self {
        Rows { total, chosen: None }
    }

    pub(crate) fn part(range: Range<usize>, total: usize) -> Self {
        Rows { total, chosen: Some(range.collect()) }
    }

    /// Undoes llama.cpp's order of rotated heads: row `(h, half, i)` stands at `(h, i, half)`.
    pub(crate) fn unpermuted(total: usize, head_dim: usize) -> Self {
        let half = head_dim / 2;
        let stored = |row: usize| {
            let (head, within) = (row / head_dim, row % head_dim);
            head * head_dim + 2 * (within % half) + within / half
        };
        Rows { total, chosen: Some((0..total).map(stored).collect()) }
    }

    /// Rows of the layer.
    pub(crate) fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.total, Vec::len)
    }

    /// The rows of `row_len` elements each.
    pub(crate) fn of<T: Copy>(&self, values: Vec<T>, row_len: usize) -> Vec<T> {
        match &self.chosen {
            None => values,
            Some(rows) => self.gather(rows, &values, row_len),
        }
    }

    /// As [`of`](Self::of), from borrowed values; `None` where they are all as they stand.
    pub(crate) fn of_slice<T: Copy>(&self, values: &[T], row_len: usize) -> Option<Vec<T>> {
        self.chosen.as_ref().map(|rows| self.gather(rows, values, row_len))
    }

    fn gather<T: Copy>(&self, rows: &[usize], values: &[T], row_len: usize) -> Vec<T> {
        let mut chosen = Vec::with_capacity(rows.len() * row_len);
        rows.iter().for_each(|&row| chosen.extend(&values[row * row_len..][..row_len]));
        chosen
    }

    /// The rows of a quantized matrix.
    pub(crate) fn of_quantized(&self, matrix: GroupQuantized) -> GroupQuantized {
        let Some(rows) = &self.chosen else { return matrix };
        let n_groups = matrix.n_groups();
        GroupQuantized {
            m: rows.len(),
            codes: self.of(matrix.codes, matrix.k),
            scales: self.of(matrix.scales, n_groups),
            zeros: match matrix.zeros {
                Zeros::Points(points) => Zeros::Points(self.of(points, n_groups)),
                Zeros::Real(reals) => Zeros::Real(self.of(reals, n_groups)),
            },
            ..matrix
        }
    }
}

#[cfg(test)]
mod tests;
