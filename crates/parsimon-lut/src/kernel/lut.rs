//! Bit-serial lookup.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vbmi;

use parsimon_simd::Level;

use super::{Geometry, Tile, Tokens};

pub(super) fn run(body: Level, geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    match body {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vbmi => vbmi::run(geometry, tile, tokens, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::run(geometry, tile, tokens, out),
        _ => scalar::run(geometry, tile, tokens, out),
    }
}
