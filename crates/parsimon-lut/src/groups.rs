//! Scales and zeros of a matrix as the kernels read them: `[tile][group][row]`, padded with zeros.

use half::f16;
use parsimon_core::quant::{GroupQuantized, Zeros};

use crate::Kernel;
use crate::storage::Values;
use crate::symmetrize::offset;

/// The largest `f16` exponent a scale gets: 2^15, the one below infinity.
const EXPONENT_MAX: i32 = 15;

/// The smallest exponent at which `f16` has all its digits.
const EXPONENT_MIN: i32 = -14;

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Groups {
    /// The power of two that all scales and constants are relative to.
    pub(crate) unit_exponent: i32,
    /// `f16` bits.
    pub(crate) scales: Values<u16>,
    pub(crate) constants: PackedConstants,
}

/// What multiplies `beta`; see [`crate::kernel::Constants`].
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum PackedConstants {
    Uniform(f32),
    Offsets(Values<i8>),
    Real(Values<f32>),
}

impl Groups {
    /// Packs the groups of a valid matrix; a row has `padded_groups`.
    pub(crate) fn pack(matrix: &GroupQuantized, kernel: Kernel, padded_groups: usize) -> Groups {
        let (tile_m, n_groups) = (kernel.tile_m(), matrix.n_groups());
        let len = matrix.m.next_multiple_of(tile_m) * padded_groups;
        // The place of element `i` of `[m, n_groups]`.
        let place = |i: usize| {
            let (row, g) = (i / n_groups, i % n_groups);
            (row / tile_m * padded_groups + g) * tile_m + kernel.row_place(row % tile_m)
        };
        let unit_exponent = unit_exponent(&matrix.scales);
        let to_unit = power_of_two(-unit_exponent);
        let mut scales = vec![0; len];
        for (i, &scale) in matrix.scales.iter().enumerate() {
            scales[place(i)] = f16::from_f64(f64::from(scale) * to_unit).to_bits();
        }
        // w = (q - (2^b - 1) / 2) s - c: see the crate documentation.
        let offset_of = |point: u16| offset(point, matrix.bits);
        let constants = match &matrix.zeros {
            Zeros::Points(points) => pack_offsets(points.iter().map(|&point| offset_of(point)), len, place)
                .unwrap_or_else(|| {
                    let constant =
                        |i: usize| 0.5 * f64::from(offset_of(points[i])) * rounded(matrix.scales[i], to_unit);
                    PackedConstants::Real(place_all(points.len(), len, place, |i| constant(i) as f32).into())
                }),
            Zeros::Real(reals) => {
                let constant = |i: usize| (0.5 * f64::from(matrix.scales[i]) + f64::from(reals[i])) * to_unit;
                let constants = place_all(reals.len(), len, place, |i| constant(i) as f32);
                let largest = constants.iter().fold(0.0f32, |max, c| max.max(c.abs()));
                if largest == 0.0 { PackedConstants::Uniform(0.0) } else { PackedConstants::Real(constants.into()) }
            }
        };
        Groups { unit_exponent, scales: scales.into(), constants }
    }

    /// The factor of all outputs.
    pub(crate) fn unit(&self) -> f32 {
        power_of_two(self.unit_exponent) as f32
    }

    pub(crate) fn bytes(&self) -> usize {
        let constants = match &self.constants {
            PackedConstants::Uniform(_) => 0,
            PackedConstants::Offsets(offsets) => offsets.len(),
            PackedConstants::Real(reals) => 4 * reals.len(),
        };
        2 * self.scales.len() + constants
    }

    /// `s` and `c` of `w = (q - middle) s - c`, at a place.
    pub(crate) fn scale_and_constant(&self, at: usize) -> (f32, f32) {
        let scale = self.unit() * f16::from_bits(self.scales[at]).to_f32();
        let constant = match &self.constants {
            PackedConstants::Uniform(offset) => 0.5 * offset * scale,
            PackedConstants::Offsets(offsets) => 0.5 * f32::from(offsets[at]) * scale,
            PackedConstants::Real(reals) => self.unit() * reals[at],
        };
        (scale, constant)
    }
}

/// The exponents that [`unit_exponent`] gives: those of finite `f32` values, brought below [`EXPONENT_MAX`].
pub(crate) const UNIT_EXPONENTS: std::ops::RangeInclusive<i32> = -149 - (EXPONENT_MAX - 1)..=127 - (EXPONENT_MAX - 1);

/// 0 where `f16` holds all scales; else what brings the largest near the upper end.
fn unit_exponent(scales: &[f32]) -> i32 {
    let exponent = |scale: f32| f64::from(scale).abs().log2().floor() as i32;
    let nonzero = || scales.iter().copied().filter(|&scale| scale != 0.0);
    let largest = nonzero().map(f32::abs).fold(0.0, f32::max);
    let smallest = nonzero().map(f32::abs).fold(f32::INFINITY, f32::min);
    if largest == 0.0 || (exponent(largest) < EXPONENT_MAX && exponent(smallest) >= EXPONENT_MIN) {
        return 0;
    }
    exponent(largest) - (EXPONENT_MAX - 1)
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

/// A scale as it is stored.
fn rounded(scale: f32, to_unit: f64) -> f64 {
    f16::from_f64(f64::from(scale) * to_unit).to_f64()
}

/// Offsets that are all equal, or fit a byte; `None` where they do not.
fn pack_offsets(
    offsets: impl Iterator<Item = i32> + Clone,
    len: usize,
    place: impl Fn(usize) -> usize,
) -> Option<PackedConstants> {
    let first = offsets.clone().next()?;
    if offsets.clone().all(|offset| offset == first) {
        return Some(PackedConstants::Uniform(first as f32));
    }
    let mut packed = vec![0; len];
    for (i, offset) in offsets.enumerate() {
        packed[place(i)] = i8::try_from(offset).ok()?;
    }
    Some(PackedConstants::Offsets(packed.into()))
}

fn place_all(n: usize, len: usize, place: impl Fn(usize) -> usize, value: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut placed = vec![0.0; len];
    (0..n).for_each(|i| placed[place(i)] = value(i));
    placed
}

#[cfg(test)]
mod tests;
