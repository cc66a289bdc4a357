//! What the AVX-512 bodies share: sixteen rows of a weight group, and the end of a group.

use std::arch::x86_64::*;

use parsimon_simd::x86::{load_f16x16, load_f32x16, store_f32x16};

pub(super) use super::scales_at;
use super::{Constants, Tile};

/// Rows of a register of sums.
pub(super) const LANES: usize = 16;

/// The scales and constants of sixteen rows of a weight group.
#[derive(Clone, Copy)]
pub(super) struct GroupRows {
    /// `s / 2`, or `s` where sums are not doubled.
    scale: __m512,
    /// What multiplies `beta`; `None` where the group's sum already started with it.
    constant: Option<__m512>,
}

impl GroupRows {
    /// The rows `16 block..` of group `g` of a tile of `rows`; `factor` times the scale multiplies the sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    pub(super) fn load(tile: &Tile<'_>, g: usize, rows: usize, block: usize, factor: f32) -> Self {
        let at = g * rows / LANES + block;
        let stored = load_f16x16(&tile.scales.as_chunks().0[at]);
        let constant = match tile.constants {
            Constants::Uniform(_) => None,
            Constants::Offsets(offsets) => {
                let bytes = u128::from_le_bytes(offsets.as_chunks::<LANES>().0[at].map(|o| o as u8));
                let offset = _mm512_cvtepi8_epi32(_mm_set_epi64x((bytes >> 64) as i64, bytes as i64));
                let half_scale = _mm512_mul_ps(_mm512_set1_ps(0.5), stored);
                Some(_mm512_mul_ps(half_scale, _mm512_cvtepi32_ps(offset)))
            }
            Constants::Real(reals) => Some(load_f32x16(&reals.as_chunks().0[at])),
        };
        GroupRows { scale: _mm512_mul_ps(_mm512_set1_ps(factor), stored), constant }
    }

    /// `total + factor * s * sum + constant * beta`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn finish(&self, sum: __m512, beta: f32, total: __m512) -> __m512 {
        let total = _mm512_fmadd_ps(self.scale, sum, total);
        match self.constant {
            Some(constant) => _mm512_fmadd_ps(constant, _mm512_set1_ps(beta), total),
            None => total,
        }
    }
}

/// Writes the totals `[block][token]` as `[token][row]`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store<const T: usize, const BLOCKS: usize>(total: &[[__m512; T]; BLOCKS], out: &mut [f32]) {
    for (t, out) in out.as_chunks_mut::<LANES>().0.chunks_exact_mut(BLOCKS).enumerate() {
        for (out, total) in out.iter_mut().zip(total) {
            store_f32x16(out, total[t]);
        }
    }
}
