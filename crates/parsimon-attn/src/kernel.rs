//! The inner loops of a tile: 64 queries of one head by 64 keys.
//!
//! | body | elements | scores | exponentials | values |
//! |---|---|---|---|---|
//! | `portable` (scalar, AVX2, NEON) | `f32` | 4 rows x 16 keys, vectorized by the compiler | 16 lanes | 4 rows x 16 columns |
//! | `avx512` | `f32` | 8 rows x 32 keys, 16 sums in registers | 16 lanes, `vscalefps` | 4 rows x 64 columns |
//! | `avx512bf16` | `bf16` pairs | as `avx512`, `vdpbf16ps` | as `avx512`, rounded to `bf16` | as `avx512`, `vdpbf16ps` |
//!
//! # Layouts
//!
//! A *cell* is what a product consumes at once: a number, or a pair of `bf16` that lie behind each other in depth. With `depth = ceil(d_qk / DEPTH)`:
//!
//! - queries `[64 / 8][depth][8]`, keys `[2][depth][32]`: the 8 rows and 32 keys of an inner step lie together;
//! - scores `[64][64]`, which become probabilities in place (pairs of `bf16` in the first half of a row);
//! - values `[64 / DEPTH][width]`, outputs `[64][width]` in `f32`, `width` a multiple of 16.
//!
//! What a row does not see is given as 64 bits a row. A masked score is exactly 0 as a probability, whatever its key holds.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod peak;
mod portable;
pub(crate) mod scatter;

pub(crate) use aligned::Aligned;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512F32;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512bf16::Avx512Pairs;
pub use peak::{Peak, run_peak};
pub(crate) use portable::Portable;

/// Queries and keys of a tile.
pub(crate) const TILE: usize = 64;

/// Queries that lie together.
pub(crate) const ROWS: usize = 8;

/// Keys that lie together.
pub(crate) const PANEL: usize = 32;

/// Which keys of a tile each row sees; `None` for all.
pub(crate) type RowBits<'a> = Option<&'a [u64; TILE]>;

/// The inner loops for one instruction set and element.
pub(crate) trait Kernel: Copy + Send + Sync {
    /// What queries, keys and values are packed as.
    type Cell: Copy + Default + Send + Sync;

    /// Numbers of a cell.
    const DEPTH: usize;

    /// The cell of [`Kernel::DEPTH`] numbers, the others being ignored.
    fn cell(numbers: [f32; 2]) -> Self::Cell;

    /// `keys [2][depth][32]` from rows of cells `[64][depth]`.
    fn pack_keys(&self, cells: &[Self::Cell], depth: usize, keys: &mut [Self::Cell]) {
        for (panel, rows) in keys.chunks_exact_mut(depth * PANEL).zip(cells.chunks_exact(PANEL * depth)) {
            for (i, keys) in panel.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
                for (key, row) in keys.iter_mut().zip(rows.chunks_exact(depth)) {
                    *key = row[i];
                }
            }
        }
    }

    /// Where a call keeps packed keys and values.
    fn buffers(buffers: &mut PackBuffers) -> &mut [Aligned<Self::Cell>; 2];

    /// Probability `j` of row `r` after [`Kernel::softmax`].
    fn probability(scores: &[f32], r: usize, j: usize) -> f32;

    /// `S = Q K^T` of the first `rows` rows; what no row of a group sees may be left out.
    fn scores(
        &self,
        rows: usize,
        depth: usize,
        operands: (&[Self::Cell], &[Self::Cell]),
        bits: RowBits<'_>,
        scores: &mut [f32],
    );

    /// One step of the running softmax.
    fn softmax(&self, tile: SoftmaxTile<'_>);

    /// `O += P V` of the first `rows` rows.
    fn values(&self, rows: usize, p: &[f32], values: &[Self::Cell], bits: RowBits<'_>, out: &mut [f32]);
}

/// Packed keys and values, kept from call to call.
#[derive(Clone, Default, Debug)]
pub(crate) struct PackBuffers {
    floats: [Aligned<f32>; 2],
    pairs: [Aligned<u32>; 2],
}

/// The state of [`Kernel::softmax`]: scores to probabilities, sums and outputs rescaled where a maximum grew.
pub(crate) struct SoftmaxTile<'a> {
    pub(crate) rows: usize,
    /// What turns scores into base 2; not negative.
    pub(crate) scale: f32,
    pub(crate) bits: RowBits<'a>,
    pub(crate) scores: &'a mut [f32],
    /// Running maxima, in base 2.
    pub(crate) max: &'a mut [f32; TILE],
    pub(crate) sum: &'a mut [f32; TILE],
    /// `[64][width]`.
    pub(crate) out: &'a mut [f32],
    /// The maxima of this tile alone, in base 2; -inf for rows that see nothing of it.
    pub(crate) tile_max: &'a mut [f32; TILE],
}

/// The bits that any of `n` rows from `r` on sees.
#[inline(always)]
pub(crate) fn union(bits: RowBits<'_>, r: usize, n: usize) -> u64 {
    bits.map_or(u64::MAX, |bits| bits[r..][..n].iter().fold(0, |all, row| all | row))
}

/// The range that holds all bits, empty when there is none.
#[inline(always)]
pub(crate) fn span(bits: u64) -> std::ops::Range<usize> {
    if bits == 0 { 0..0 } else { bits.trailing_zeros() as usize..TILE - bits.leading_zeros() as usize }
}

#[cfg(test)]
mod tests;
