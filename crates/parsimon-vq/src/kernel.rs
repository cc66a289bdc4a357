//! The kernels: the only place of this crate with `unsafe` code, and that only in `gemm` and in `reg256/vbmi.rs`.
//!
//! | kernel | scalar | avx2, avx512 | avx512vbmi | inner operation |
//! |---|---|---|---|---|
//! | `assign`: nearest centroids | portable | the same, compiled for it | | multiply-add, compare |
//! | `gather`: any codebook, few tokens | portable | the same, compiled for it | | load of a centroid, multiply-add |
//! | `bucket`: any codebook, few tokens | portable | | | addition into a bucket |
//! | `reg256`: 256 centroids at most, few tokens | portable | | `vpermi2b` twice, `vpdpbusd` | integer sums |
//! | `tile`: any codebook, many tokens | portable, gemm crate | | | copy of a centroid, dense product |
//!
//! A product's activations stand in the order of codes, scaled by their columns; outputs are `[rows][tokens]`, so that row blocks are contiguous
//! and run in parallel.

use std::ops::Range;

pub(crate) mod assign;
pub(crate) mod bucket;
pub(crate) mod gather;
#[allow(unsafe_code)]
pub(crate) mod gemm;
#[allow(unsafe_code)]
pub(crate) mod reg256;
pub(crate) mod tile;

/// The task of some row blocks.
pub(crate) struct Rows<'a> {
    pub(crate) blocks: Range<usize>,
    /// Activations `[n][columns]`.
    pub(crate) xs: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) n: usize,
    /// `[blocks * v][n]`, added to.
    pub(crate) out: &'a mut [f32],
}
