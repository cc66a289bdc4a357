//! What the NEON bodies share: four rows of a weight group, and the end of a group.

use std::arch::aarch64::*;

use parsimon_simd::arm::{load_f16x4, load_f32x4, store_f32x4};

use super::{Constants, Tile};

/// Rows of a register of sums.
pub(super) const LANES: usize = 4;

/// The scales and constants of four rows of a weight group.
#[derive(Clone, Copy)]
pub(super) struct GroupRows {
    /// `s / 2`, or `s` where sums are not doubled.
    scale: float32x4_t,
    /// What multiplies `beta`; `None` where the group's sum already started with it.
    constant: Option<float32x4_t>,
}

impl GroupRows {
    /// The rows `4 block..` of group `g` of a tile of `rows`; `factor` times the scale multiplies the sums.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn load(tile: &Tile<'_>, g: usize, rows: usize, block: usize, factor: f32) -> Self {
        let at = g * rows / LANES + block;
        let stored = load_f16x4(&tile.scales.as_chunks().0[at]);
        let constant = match tile.constants {
            Constants::Uniform(_) => None,
            Constants::Offsets(offsets) => {
                let offsets = offsets.as_chunks::<LANES>().0[at].map(f32::from);
                Some(vmulq_f32(vmulq_n_f32(stored, 0.5), load_f32x4(&offsets)))
            }
            Constants::Real(reals) => Some(load_f32x4(&reals.as_chunks().0[at])),
        };
        GroupRows { scale: vmulq_n_f32(stored, factor), constant }
    }

    /// `total + factor * s * sum + constant * beta`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn finish(&self, sum: float32x4_t, beta: f32, total: float32x4_t) -> float32x4_t {
        let total = vfmaq_f32(total, self.scale, sum);
        match self.constant {
            Some(constant) => vfmaq_n_f32(total, constant, beta),
            None => total,
        }
    }
}

/// Writes the totals `[block][token]` as `[token][row]`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store<const T: usize, const BLOCKS: usize>(total: &[[float32x4_t; T]; BLOCKS], out: &mut [f32]) {
    for (t, out) in out.as_chunks_mut::<LANES>().0.chunks_exact_mut(BLOCKS).enumerate() {
        for (out, total) in out.iter_mut().zip(total) {
            store_f32x4(out, total[t]);
        }
    }
}
