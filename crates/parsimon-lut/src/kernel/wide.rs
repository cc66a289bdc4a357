//! Products with many tokens: weights become bfloat16 once, a strip of rows at a time, and tiles multiply them.
//!
//! Lookups and integer dot products cost the same for every token; from some tens of tokens on it is cheaper to widen the codes. A *strip*
//! of at most 64 rows is widened [`CHUNK`] columns at a time into [`Panel`]s, `w = bf16((q - middle) s - c)`, which every token then reads from
//! the cache:
//!
//! ```text
//! out[t, r] = sum_c bf16(w[r, c]) bf16(x[t, c])        products exact in f32, sums in f32
//! ```
//!
//! | body | widening | product |
//! |---|---|---|
//! | `scalar` | a code at a time, any layout | multiply, columns in pairs |
//! | `amx` | 16 rows a register: quad, dot and five layouts; others as `scalar` | `tdpbf16ps`, 32 tokens by 32 rows |
//!
//! A code becomes a float without a conversion: as the upper bits of the mantissa of 256 it is `256 + q`, and one multiply-add gives
//! `(256 + q) s + (c0 - 256 s)`. An activation keeps 8 bits, as many as the largest of a block of 8-bit integers does, so this form is at least
//! as exact as the others.

mod scalar;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod unpack;

use bytemuck::{Pod, Zeroable};
use half::f16;
use parsimon_simd::Level;

use super::{Constants, Tile};
use crate::activations::K_STEP;
use crate::pack::Layout;

/// Rows of a panel.
const LANES: usize = 16;

/// Rows of a strip, where the kernel's tile has as many.
const STRIP_ROWS: usize = 64;

/// Columns that are widened at a time: the panels of 32 rows take 32 KiB.
const CHUNK: usize = 512;

/// Tokens whose sums are in tiles together; rows of activations are padded to half of it.
pub(crate) const TOKEN_STEP: usize = 16;

/// Tokens for which panels are widened once: their activations stay in the second-level cache.
const TOKENS_MAX: usize = 512;

/// Columns 2 i and 2 i + 1 of 16 rows at `[i]`, for 16 pairs of columns.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C, align(64))]
struct Panel([[[u16; 2]; LANES]; K_STEP / 2]);

/// A tile of weights in the stream of its kernel.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) tile: Tile<'a>,
    /// `(2^b - 1) / 2`.
    pub(crate) middle: f32,
}

/// Activations in bfloat16.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Rows of at least `k_padded` numbers; as many as `n` rounded up to [`TOKEN_STEP`].
    pub(crate) bytes: &'a [u8],
    pub(crate) n: usize,
    /// Bytes from row to row.
    pub(crate) stride: usize,
    pub(crate) k_padded: usize,
}

/// What a thread keeps between strips.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    panels: Vec<Panel>,
    /// `[n][rows of the strip]`.
    sums: Vec<f32>,
    /// Codes of ternary bytes, `[column][64 rows]`.
    codes: Vec<[u8; STRIP_ROWS]>,
}

/// Whether this process multiplies tiles, and widens the layout in registers.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "no layout is widened there"))]
pub(crate) fn is_fast(layout: &Layout) -> bool {
    #[cfg(target_arch = "x86_64")]
    let is_widened = unpack::Form::of(layout).is_some();
    #[cfg(not(target_arch = "x86_64"))]
    let is_widened = false;
    is_widened && Level::best().includes(Level::Amx)
}

/// Rows of a strip.
pub(crate) fn strip_rows(layout: &Layout) -> usize {
    layout.kernel.tile_m().min(STRIP_ROWS)
}

/// The sums of a strip, `strip` from the top of its tile: `[n][strip_rows]`, padded to [`TOKEN_STEP`] tokens.
pub(crate) fn run<'s>(weights: &Weights<'_>, strip: usize, x: &Rows<'_>, scratch: &'s mut Scratch) -> &'s [f32] {
    let rows = strip_rows(weights.layout);
    let blocks = rows / LANES;
    let Scratch { panels, sums, codes } = scratch;
    sums.clear();
    sums.resize(x.n.next_multiple_of(TOKEN_STEP) * rows, 0.0);
    for tokens in (0..x.n).step_by(TOKENS_MAX) {
        let x = x.range(tokens, TOKENS_MAX.min(x.n - tokens));
        let sums = &mut sums[tokens * rows..][..x.n.next_multiple_of(TOKEN_STEP) * rows];
        for first in (0..x.k_padded).step_by(CHUNK) {
            let columns = first..x.k_padded.min(first + CHUNK);
            panels.resize(blocks * columns.len() / K_STEP, Panel::zeroed());
            widen(weights, strip * rows, columns.clone(), codes, panels);
            multiply(&x, columns, panels, rows, sums);
        }
    }
    &scratch.sums
}

impl<'a> Rows<'a> {
    fn range(&self, first: usize, n: usize) -> Rows<'a> {
        Rows { bytes: &self.bytes[first * self.stride..], n, ..*self }
    }
}

/// Panels `[pair of row blocks][32 columns][row block]` of `rows` and `columns`.
fn widen(
    weights: &Weights<'_>,
    first_row: usize,
    columns: std::ops::Range<usize>,
    codes: &mut Vec<[u8; STRIP_ROWS]>,
    panels: &mut [Panel],
) {
    #[cfg(target_arch = "x86_64")]
    if let (Some(token), Some(form)) = (parsimon_simd::Avx512Bf16::try_new(), unpack::Form::of(weights.layout)) {
        return unpack::widen(token, form, weights, first_row, columns, codes, panels);
    }
    codes.clear();
    scalar::widen(weights, first_row, columns, panels);
}

/// `sums += x[.., columns] * panels`.
fn multiply(x: &Rows<'_>, columns: std::ops::Range<usize>, panels: &[Panel], rows: usize, sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = parsimon_simd::Amx::try_new() {
        return tiles::multiply(token, x, columns, panels, rows, sums);
    }
    scalar::multiply(x, columns, panels, rows, sums);
}

/// Where the panel of 32 columns `step` and 16 rows `block` stands, of `steps`.
fn panel_idx(steps: usize, step: usize, block: usize) -> usize {
    (block / 2 * steps + step) * 2 + block % 2
}

/// The scale and `c0 - 256 s` of the place `at` of a tile's groups, where `w = q s + c0`.
fn scale_and_base(weights: &Weights<'_>, at: usize) -> (f32, f32) {
    let scale = f16::from_bits(weights.tile.scales[at]).to_f32();
    let base = match weights.tile.constants {
        Constants::Uniform(offset) => -(256.0 + weights.middle + 0.5 * offset) * scale,
        Constants::Offsets(offsets) => -(256.0 + weights.middle + 0.5 * f32::from(offsets[at])) * scale,
        Constants::Real(reals) => (-(256.0 + weights.middle)).mul_add(scale, -reals[at]),
    };
    (scale, base)
}
