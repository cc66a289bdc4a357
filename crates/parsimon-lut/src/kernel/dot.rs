//! Integer dot products of unsigned codes with 8-bit activations.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neondot;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vnni;

use parsimon_simd::Level;

use super::{Geometry, Tile, Tokens};

/// Rows of a tile.
const ROWS: usize = 32;

pub(super) fn run(body: Level, geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    match body {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => vnni::run(geometry, tile, tokens, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::run(geometry, tile, tokens, out),
        #[cfg(target_arch = "aarch64")]
        Level::NeonDot => neondot::run(geometry, tile, tokens, out),
        _ => scalar::run(geometry, tile, tokens, out),
    }
}
