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
#[cfg(target_arch = "x86_64")]
mod x86;

use parsimon_simd::Level;

use crate::Element;

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

/// Calls `each(row, sum, norm)` for every row in order; `norm` is 0 unless it was asked for.
///
/// `level` is lowered to what the process can run.
pub(crate) fn scan(level: Level, sums: Sums, query: &Wide, rows: Rows<'_>, each: impl FnMut(usize, f64, f64)) {
    #[cfg(target_arch = "x86_64")]
    if let Some(each) = x86::scan(level, sums, query, rows, each) {
        portable::scan(level, sums, query, rows, each);
    }
    #[cfg(not(target_arch = "x86_64"))]
    portable::scan(level, sums, query, rows, each);
}

#[cfg(test)]
mod tests;
