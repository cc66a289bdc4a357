//! The lookup kernels: layouts, bodies, and which one runs where.
//!
//! | kernel | level | rows a tile | lookup | accumulation | `b` | `G` |
//! |---|---|---|---|---|---|---|
//! | [`Kernel::Scalar`] | `scalar` | 32 | indexed load | i32 | 1-4 | 16, 32j, row |
//! | [`Kernel::Avx2`] | `avx2`, `avx512`, `avx512vnni` | 32 | `vpshufb` of one table | i16 by `vpmaddubsw`, flushed every 64 columns | 1-4 | 16, 32j, row |
//! | [`Kernel::Avx512Vbmi`] | `avx512vbmi`, `avx512bf16` | 64 | `vpermb` over four tables | i32 by `vpdpbusd` | 1-4 | 16, 32j, row |
//! | tables | `avx512` and above; else portable | | `f32` sums, rounded to bytes | | | |
//! | NEON | | | not built yet: runs `Scalar` | | | |
//!
//! # Layouts
//!
//! Rows are padded to the tile with scale 0, columns to 32 with code 0 (their activations are 0, so their tables are 0). A tile is
//! one contiguous stream, read once from start to end. With `nib(row, k, p) = sum_t bit_p(q[row, k + t]) << t`:
//!
//! - *paired* (`Scalar`, `Avx2`): for every 8 columns `k0`, for every plane `p`, 32 bytes: byte `r` =
//!   `nib(m0 + r, k0, p) | nib(m0 + r, k0 + 4, p) << 4`.
//! - *quad* (`Avx512Vbmi`, PAPER(tmac §3.4), own form): for every 32 columns `k0`, plane `p` and 16 rows `rb`, 64 bytes: byte `4 r + s` =
//!   `nib(m0 + 16 rb + r, k0 + 4 s, p) | nib(m0 + 16 rb + r, k0 + 16 + 4 s, p) << 4`. Four neighbouring bytes are one row looked up in four
//!   tables, so one dot-product lane is one row.
//!
//! # Steps
//!
//! Integer sums run over *steps* of 16, 32 or 64 columns that never straddle a table scale or a weight group. A step's integer times its table
//! scale is added to the group's `f32` sum; at the end of a group, `f += s / 2 * (sum + o * beta)`, or with real zeros
//! `f += s / 2 * sum + (s / 2 + z) * beta`.

#[allow(unsafe_code)]
#[cfg(target_arch = "x86_64")]
mod avx2;
#[allow(unsafe_code)]
#[cfg(target_arch = "x86_64")]
mod avx512;
#[allow(unsafe_code)]
mod dense;
mod scalar;
#[allow(unsafe_code)]
#[cfg(target_arch = "x86_64")]
pub(crate) mod table;

pub(crate) use dense::gemm_into;
use parsimon_simd::Level;

use crate::PackError;

/// Which body the caller wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Backend {
    /// The best body for this machine.
    #[default]
    Auto,
    /// The best body for a machine of exactly this level; for tests and comparisons.
    Exact(Level),
}

/// A body with its layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kernel {
    /// Portable code on the paired layout.
    Scalar,
    /// `vpshufb` on the paired layout.
    Avx2,
    /// `vpermb` and `vpdpbusd` on the quad layout.
    Avx512Vbmi,
}

/// Rows of the largest tile.
pub(crate) const TILE_M_MAX: usize = 64;

impl Kernel {
    /// The kernel of a backend.
    ///
    /// # Errors
    ///
    /// [`PackError::BackendUnavailable`] when this process cannot run the level.
    pub fn select(backend: Backend) -> Result<Kernel, PackError> {
        let best = Level::best();
        let level = match backend {
            Backend::Auto => best,
            Backend::Exact(wanted) if best.includes(wanted) => wanted,
            Backend::Exact(wanted) => return Err(PackError::BackendUnavailable { wanted, best }),
        };
        Ok(if level.includes(Level::Avx512Vbmi) {
            Kernel::Avx512Vbmi
        } else if level.includes(Level::Avx2) {
            Kernel::Avx2
        } else {
            Kernel::Scalar
        })
    }

    /// Rows of a tile.
    pub fn tile_m(self) -> usize {
        match self {
            Kernel::Scalar | Kernel::Avx2 => 32,
            Kernel::Avx512Vbmi => 64,
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "lut-scalar",
            Kernel::Avx2 => "lut-avx2",
            Kernel::Avx512Vbmi => "lut-avx512vbmi",
        }
    }
}

/// What all tiles of a matrix have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    pub(crate) bits: usize,
    pub(crate) k_padded: usize,
    /// Columns of a weight group; the last one may be short.
    pub(crate) group: usize,
    /// Columns of a table scale.
    pub(crate) ags: usize,
}

impl Geometry {
    /// Columns whose integer sum is scaled at once.
    pub(crate) fn step(&self) -> usize {
        let whole_row = self.group >= self.k_padded;
        match self.group {
            16 => 16,
            group if (whole_row || group.is_multiple_of(64)) && self.ags.is_multiple_of(64) => 64,
            _ => 32,
        }
    }
}

/// The weights of one tile: the stream, then scales and offsets as `[group][row]`.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    pub(crate) stream: &'a [u8],
    /// `f16` bits of `s`.
    pub(crate) scales: &'a [u16],
    pub(crate) constants: Constants<'a>,
}

/// What multiplies `beta`, `[group][row]`.
#[derive(Clone, Copy)]
pub(crate) enum Constants<'a> {
    /// `o = 2 zp - 2^b + 1`, times `s / 2`.
    Offsets(&'a [i8]),
    /// `s / 2 + z`.
    Real(&'a [f32]),
}

/// The tables of one token.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) tables: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) betas: &'a [f32],
}

/// One tile times one token: `out[r]` for the tile's rows.
pub(crate) fn run(kernel: Kernel, geometry: &Geometry, tile: Tile<'_>, act: Lookup<'_>, out: &mut [f32]) {
    debug_assert_eq!(out.len(), kernel.tile_m());
    match kernel {
        Kernel::Scalar => scalar::run(geometry, tile, act, out),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => avx2::run(geometry, tile, act, out),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vbmi => avx512::run(geometry, tile, act, out),
        #[cfg(not(target_arch = "x86_64"))]
        Kernel::Avx2 | Kernel::Avx512Vbmi => {
            unreachable!("`Kernel::select` never picks an x86 body on another processor")
        }
    }
}
