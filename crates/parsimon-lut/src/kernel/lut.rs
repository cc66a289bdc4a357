//! Bit-serial lookup.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512bw;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vbmi;

#[cfg(target_arch = "x86_64")]
pub(super) use avx512bw::row_place as avx512bw_row_place;
use parsimon_simd::Level;

use super::{Geometry, Tile, Tokens};

pub(super) fn run(body: Level, geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    match body {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vbmi => vbmi::run(geometry, tile, tokens, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512bw::run(geometry, tile, tokens, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::run(geometry, tile, tokens, out),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => neon::run(geometry, tile, tokens, out),
        _ => scalar::run(geometry, tile, tokens, out),
    }
}
