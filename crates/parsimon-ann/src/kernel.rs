//! Sums over pairs of rows: squared differences, products, and products with the row's own squares.
//!
//! A query is widened once (integers to i16, halves to f32), then whole blocks of rows are summed against it; a body sees one row
//! at a time and the loop over rows lies inside the function that has the CPU features.
//!
//! | rows | query | scalar | avx2 | avx512 | avx512vnni | neon |
//! |---|---|---|---|---|---|---|
//! | u8, i8 | i16 | portable | `vpmaddwd`, 16 a step | `vpmaddwd`, 32 a step | `vpdpwssd`, 32 a step | portable |
//! | f32, bf16 | f32 | portable | portable, compiled for it | portable, compiled for it | as avx512 | portable |
//! | f16 | f32 | portable | `vcvtph2ps`, 8 a step | `vcvtph2ps`, 16 a step | as avx512 | portable |
//!
//! Integer sums are exact and equal in every body. Floats are summed in f32 in a fixed number of lanes per body.

mod portable;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use parsimon_simd::Level;

use crate::Element;

pub(crate) use tile::{LANES, tile};

/// Which sums of a row are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sums {
    /// `sum (q_i - x_i)^2`.
    Squares,
    /// `sum q_i x_i`.
    Products,
    /// `sum q_i x_i` and `sum x_i^2`.
    ProductsAndNorm,
}

/// A query in the form that the bodies take.
#[derive(Clone, Debug)]
pub(crate) enum Wide {
    Float(Vec<f32>),
    Int(Vec<i16>),
}

impl Wide {
    fn len(&self) -> usize {
        match self {
            Wide::Float(query) => query.len(),
            Wide::Int(query) => query.len(),
        }
    }
}

/// Rows `bytes[i * stride..][..dim * element.size()]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) element: Element,
}

impl Rows<'_> {
    /// How many whole rows of `dim` elements there are.
    fn count(&self, dim: usize) -> usize {
        let row = dim * self.element.size();
        if self.bytes.len() < row { 0 } else { (self.bytes.len() - row) / self.stride + 1 }
    }
}

/// Rows whose sums wait in memory at a time.
const BLOCK: usize = 32;

/// Calls `each(row, sum, norm)` for every row in order; `norm` is 0 unless it was asked for.
///
/// `level` is lowered to what the process can run. The bodies write blocks of sums and know nothing of `each`, so that they are
/// compiled once and not for every caller.
#[inline]
pub(crate) fn scan(level: Level, sums: Sums, query: &Wide, rows: Rows<'_>, mut each: impl FnMut(usize, f64, f64)) {
    let n = rows.count(query.len());
    let (mut out, mut norms) = ([0.0; BLOCK], [0.0; BLOCK]);
    for begin in (0..n).step_by(BLOCK) {
        let count = BLOCK.min(n - begin);
        let part = Rows { bytes: &rows.bytes[begin * rows.stride..], ..rows };
        block(level, sums, query, part, &mut out[..count], &mut norms[..count]);
        for i in 0..count {
            each(begin + i, out[i], norms[i]);
        }
    }
}

/// The sum of the first row.
#[inline]
pub(crate) fn one(level: Level, sums: Sums, query: &Wide, rows: Rows<'_>) -> (f64, f64) {
    let (mut out, mut norms) = ([0.0], [0.0]);
    block(level, sums, query, rows, &mut out, &mut norms);
    (out[0], norms[0])
}

/// Writes the sums of the first `out.len()` rows; `norms` is as long and only written where norms are wanted.
fn block(level: Level, sums: Sums, query: &Wide, rows: Rows<'_>, out: &mut [f64], norms: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if x86::block(level, sums, query, rows, out, norms) {
        return;
    }
    portable::block(level, sums, query, rows, out, norms);
}

#[cfg(test)]
mod tests;
