//! Products of at most 256 centroids by lookup inside registers.
//!
//! Centroids are bytes on a grid of their own for every output dimension, so that a table of 256 entries is four registers: two permutes with
//! complementary masks look 64 codes up. With a residual book the two bytes are on one grid and never exceed 255 together; one byte addition
//! makes the weight. `vpdpbusd` multiplies it with activations of 8 bits. With `lo` the sum of the smallest centroids of both books,
//!
//! ```text
//! y_t = delta_t sum_p a_p acc_{t,p} + lo_t sum_p a_p sum_{c in p} xq_c        acc_{t,p} = sum_{c in p} byte_t(code_c) xq_c
//! ```
//!
//! The offset multiplies the sum of the *quantized* activations. Activations have a scale for every [`Segments`] piece; the first columns, whose
//! inputs are largest, have small pieces. Sums are integers within a piece (below 256 * 255 * 127 < 2^31), so they are exact.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use parsimon_simd::Avx512Vbmi;
use parsimon_simd::Level;

#[cfg(target_arch = "x86_64")]
mod vbmi;

/// Columns of a register.
pub(crate) const COLUMNS: usize = 64;

/// Entries of a table.
pub(crate) const ENTRIES: usize = 256;

/// Tables of the output dimensions of one group of columns.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    /// `[v]`
    pub(crate) main: Vec<[u8; ENTRIES]>,
    /// `[v]`, or empty.
    pub(crate) residual: Vec<[u8; ENTRIES]>,
    /// `[v]`
    pub(crate) delta: Vec<f32>,
    /// `[v]`: the smallest centroids of both books together.
    pub(crate) lo: Vec<f32>,
}

impl Tables {
    /// Puts centroids `[K][v]` on the grid; also the squared error and the energy, centroids weighted by how often they occur.
    pub(crate) fn new(main: &[f32], residual: &[f32], v: usize, counts: (&[u64], &[u64])) -> (Self, f64, f64) {
        let mut tables = Tables { main: Vec::new(), residual: Vec::new(), delta: Vec::new(), lo: Vec::new() };
        let (mut error, mut energy) = (0.0, 0.0);
        let range = |book: &[f32], t: usize| {
            let values = book.iter().skip(t).step_by(v);
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &c| (lo.min(f64::from(c)), hi.max(f64::from(c))))
        };
        for t in 0..v {
            let (lo, hi) = range(main, t);
            let (other_lo, other_hi) = if residual.is_empty() { (0.0, 0.0) } else { range(residual, t) };
            let steps = if residual.is_empty() { 255.0 } else { 254.0 };
            let width = (hi - lo) + (other_hi - other_lo);
            let delta = if width > 0.0 { width / steps } else { 1.0 };
            let mut table = |book: &[f32], lo: f64, counts: &[u64]| {
                let mut table = [0u8; ENTRIES];
                for (code, &c) in book.iter().skip(t).step_by(v).enumerate() {
                    let byte = ((f64::from(c) - lo) / delta).round_ties_even();
                    table[code] = byte as u8;
                    let count = counts[code] as f64;
                    error += count * (lo + delta * byte - f64::from(c)).powi(2);
                    energy += count * f64::from(c).powi(2);
                }
                table
            };
            tables.main.push(table(main, lo, counts.0));
            if !residual.is_empty() {
                tables.residual.push(table(residual, other_lo, counts.1));
            }
            tables.delta.push(delta as f32);
            tables.lo.push((lo + other_lo) as f32);
        }
        (tables, error, energy)
    }
}

/// How the padded columns are cut: pieces that share a scale of activations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segments {
    /// Piece, in columns of 64, with its group.
    pub(crate) pieces: Vec<(Range<usize>, usize)>,
    /// Padded columns of a group.
    pub(crate) group_padded: usize,
    groups: usize,
}

impl Segments {
    /// Four pieces of 64 columns, then pieces of 256, none across groups.
    pub(crate) fn new(groups: usize, group_size: usize) -> Self {
        let group_padded = group_size.next_multiple_of(COLUMNS);
        let mut pieces: Vec<(Range<usize>, usize)> = Vec::new();
        for g in 0..groups {
            let end = (g + 1) * group_padded / COLUMNS;
            let mut at = g * group_padded / COLUMNS;
            while at < end {
                let len = if pieces.len() < 4 { 1 } else { 4 };
                let piece = at..(at + len).min(end);
                at = piece.end;
                pieces.push((piece, g));
            }
        }
        Segments { pieces, group_padded, groups }
    }

    pub(crate) fn padded(&self) -> usize {
        self.groups * self.group_padded
    }
}

/// The codes of a matrix: for every row block and 64 columns 64 main codes, and after them 64 residual ones where there are any.
#[derive(Clone, Debug)]
pub(crate) struct Codes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) has_residual: bool,
}

/// Activations of one token, as 8-bit integers.
#[derive(Clone, Default, Debug)]
pub(crate) struct Quantized {
    /// Padded columns, two's complement.
    pub(crate) x: Vec<u8>,
    /// A scale for every piece.
    pub(crate) scales: Vec<f32>,
    /// `sum_p a_p sum_c xq_c` of every group.
    pub(crate) sums: Vec<f32>,
}

impl Quantized {
    /// Of activations `[columns]` in the order of codes.
    pub(crate) fn new(xs: &[f32], group_size: usize, segments: &Segments) -> Self {
        let mut out = Quantized {
            x: vec![0; segments.padded()],
            scales: Vec::with_capacity(segments.pieces.len()),
            sums: vec![0.0; segments.groups],
        };
        for (piece, g) in &segments.pieces {
            // Columns of the piece without the padding at the end of the group.
            let first = piece.start * COLUMNS - g * segments.group_padded;
            let last = (piece.end * COLUMNS - g * segments.group_padded).min(group_size);
            let xs = &xs[g * group_size + first..g * group_size + last];
            let scale = xs.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            let to = &mut out.x[piece.start * COLUMNS..][..xs.len()];
            let mut sum = 0i32;
            for (to, x) in to.iter_mut().zip(xs) {
                let code = (x * inverse).round_ties_even() as i8;
                *to = code as u8;
                sum += i32::from(code);
            }
            out.scales.push(scale);
            out.sums[*g] += scale * sum as f32;
        }
        out
    }
}

/// What a product needs beside the tokens.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) v: usize,
    pub(crate) tables: &'a [Tables],
    pub(crate) segments: &'a Segments,
    pub(crate) codes: &'a Codes,
}

/// Adds the products of row blocks: `out [blocks * v][n]`.
pub(crate) fn add(level: Level, matrix: &Matrix<'_>, tokens: &[Quantized], blocks: Range<usize>, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level.includes(Level::Avx512Vbmi)
        && let Some(token) = Avx512Vbmi::try_new()
    {
        return vbmi::add(token, matrix, tokens, blocks, out);
    }
    let _ = level;
    scalar(matrix, tokens, blocks, out);
}

/// The plain body: the same integers, the same scales, sums in another order.
fn scalar(matrix: &Matrix<'_>, tokens: &[Quantized], blocks: Range<usize>, out: &mut [f32]) {
    let Matrix { v, tables, segments, codes } = *matrix;
    let planes = 1 + usize::from(codes.has_residual);
    let stride = segments.padded() * planes;
    let n = tokens.len();
    for (r, block) in blocks.enumerate() {
        let codes = &codes.bytes[block * stride..][..stride];
        for (i, token) in tokens.iter().enumerate() {
            for t in 0..v {
                let mut y = 0.0f32;
                for ((piece, g), &scale) in segments.pieces.iter().zip(&token.scales) {
                    let tables = &tables[*g];
                    let mut acc = 0i32;
                    for register in piece.clone() {
                        let codes = &codes[register * COLUMNS * planes..][..COLUMNS * planes];
                        for (c, &x) in token.x[register * COLUMNS..][..COLUMNS].iter().enumerate() {
                            let mut byte = i32::from(tables.main[t][usize::from(codes[c])]);
                            if planes == 2 {
                                byte += i32::from(tables.residual[t][usize::from(codes[COLUMNS + c])]);
                            }
                            acc += byte * i32::from(x as i8);
                        }
                    }
                    y += tables.delta[t] * (scale * acc as f32);
                }
                for (tables, sum) in tables.iter().zip(&token.sums) {
                    y += tables.lo[t] * sum;
                }
                out[(r * v + t) * n + i] += y;
            }
        }
    }
}

#[cfg(test)]
mod tests;
