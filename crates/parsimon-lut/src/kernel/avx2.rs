//! What the AVX2 bodies share: eight rows of a weight group, and the end of a group.

use std::arch::x86_64::*;

use parsimon_simd::x86::{load_f16x8, load_f32x8, store_f32x8};

use super::{Constants, Tile};

/// Rows of a register of sums.
pub(super) const LANES: usize = 8;

/// The scales and constants of eight rows of a weight group.
#[derive(Clone, Copy)]
pub(super) struct GroupRows {
    /// `s / 2`, or `s` where sums are not doubled.
    scale: __m256,
    /// What multiplies `beta`; `None` where the group's sum already started with it.
    constant: Option<__m256>,
}

impl GroupRows {
    /// The rows `8 block..` of group `g` of a tile of `rows`; `factor` times the scale multiplies the sums.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn load(tile: &Tile<'_>, g: usize, rows: usize, block: usize, factor: f32) -> Self {
        let at = g * rows / LANES + block;
        let stored = load_f16x8(&tile.scales.as_chunks().0[at]);
        let constant = match tile.constants {
            Constants::Uniform(_) => None,
            Constants::Offsets(offsets) => {
                let bytes = i64::from_le_bytes(offsets.as_chunks::<LANES>().0[at].map(|o| o as u8));
                let offset = _mm256_cvtepi8_epi32(_mm_set_epi64x(0, bytes));
                let half_scale = _mm256_mul_ps(_mm256_set1_ps(0.5), stored);
                Some(_mm256_mul_ps(half_scale, _mm256_cvtepi32_ps(offset)))
            }
            Constants::Real(reals) => Some(load_f32x8(&reals.as_chunks().0[at])),
        };
        GroupRows { scale: _mm256_mul_ps(_mm256_set1_ps(factor), stored), constant }
    }

    /// `total + factor * s * sum + constant * beta`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn finish(&self, sum: __m256, beta: f32, total: __m256) -> __m256 {
        let total = _mm256_fmadd_ps(self.scale, sum, total);
        match self.constant {
            Some(constant) => _mm256_fmadd_ps(constant, _mm256_set1_ps(beta), total),
            None => total,
        }
    }
}

/// Writes the totals `[block][token]` as `[token][row]`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store<const T: usize, const BLOCKS: usize>(total: &[[__m256; T]; BLOCKS], out: &mut [f32]) {
    for (t, out) in out.as_chunks_mut::<LANES>().0.chunks_exact_mut(BLOCKS).enumerate() {
        for (out, total) in out.iter_mut().zip(total) {
            store_f32x8(out, total[t]);
        }
    }
}
