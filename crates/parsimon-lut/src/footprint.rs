//! The bytes of a matrix that is not packed yet.

use parsimon_core::quant::QuantError;

use crate::activations::{K_STEP, groups_in_row, is_supported_group};
use crate::kernel::TILE_M_MAX;
use crate::pack::Layout;
use crate::{Kernel, PackError, Traits};

/// What is stored of the zeros of a matrix; [`LowBitMatrix`](crate::LowBitMatrix) takes the least that holds them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum StoredZeros {
    /// Nothing: all groups have the same zero point, or real zeros of `-s / 2`.
    #[default]
    Uniform,
    /// A byte a group: zero points that differ.
    Points,
    /// Four bytes a group: real zeros, or zero points beyond a byte.
    Reals,
}

/// What a matrix takes when it is packed, from its shape alone: with `T` rows a tile, `b'` bits of a code in the stream and `G` columns a group
///
/// ```text
/// codes     = ceil(m / T) T * ceil(k / 32) 32 * b' / 8          Elut: ceil(m / T) T * (fives of a row), see [`crate::kernel`]
/// scales    = ceil(m / T) T * ceil(k / G) * 2                   groups of 16 are counted in pairs
/// constants = ceil(m / T) T * ceil(k / G) * (0, 1 or 4)         see [`StoredZeros`]
/// ```
///
/// ```
/// use parsimon_lut::{Footprint, Plan, StoredZeros, Traits};
/// use parsimon_simd::Level;
///
/// let traits = Traits { bits: 2, ternary: false, group: 128 };
/// let plan = Plan::new(traits, Level::Avx512Vbmi)?;
/// let footprint = Footprint::try_new(plan.kernel, traits, (11008, 4096), StoredZeros::Uniform)?;
/// assert_eq!(footprint.codes, 11008 * 4096 * 2 / 8);
/// assert_eq!(footprint.scales, 11008 * 4096 / 128 * 2);
/// # Ok::<(), parsimon_lut::PackError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Bytes of the streams of all tiles.
    pub codes: usize,
    /// Bytes of the scales.
    pub scales: usize,
    /// Bytes of the constants of the zeros.
    pub constants: usize,
}

impl Footprint {
    /// What a matrix of `shape` (outputs, inputs) takes in the layout of `kernel`.
    ///
    /// # Errors
    ///
    /// What [`LowBitMatrix::from_quantized`](crate::LowBitMatrix::from_quantized) says of such a matrix: [`PackError::Quant`] for an empty one
    /// or one beyond the address space, [`PackError::UnsupportedGroup`], [`PackError::UnsupportedBits`].
    pub fn try_new(
        kernel: Kernel,
        traits: Traits,
        shape: (usize, usize),
        zeros: StoredZeros,
    ) -> Result<Self, PackError> {
        let ((m, k), bits) = (shape, traits.bits);
        if m == 0 || k == 0 || traits.group == 0 {
            return Err(QuantError::EmptyShape { m, k, group: traits.group }.into());
        }
        let group = traits.group.min(k);
        if !is_supported_group(group, k) {
            return Err(PackError::UnsupportedGroup { group, k });
        }
        let unsupported = || PackError::UnsupportedBits { kernel: kernel.name(), bits, group };
        let stored_bits = kernel.stored_bits(bits, group).ok_or_else(unsupported)?;
        // A byte a code is the widest stream, and four bytes a column are more than any row's groups take.
        let widest = m.checked_next_multiple_of(TILE_M_MAX).zip(k.checked_next_multiple_of(K_STEP));
        if widest.and_then(|(m, k)| m.checked_mul(k)?.checked_mul(8)).is_none() {
            return Err(QuantError::TooLarge { m, k }.into());
        }
        let tiles = m.div_ceil(kernel.tile_m());
        let layout = Layout { kernel, bits: usize::from(stored_bits), k, group };
        let groups = tiles * kernel.tile_m() * groups_in_row(k, group);
        let bytes_of_zeros = match zeros {
            StoredZeros::Uniform => 0,
            StoredZeros::Points => 1,
            StoredZeros::Reals => size_of::<f32>(),
        };
        Ok(Footprint {
            codes: tiles * layout.tile_bytes(),
            scales: groups * size_of::<u16>(),
            constants: groups * bytes_of_zeros,
        })
    }

    /// All of it: what [`LowBitMatrix::bytes`](crate::LowBitMatrix::bytes) will be.
    pub fn bytes(&self) -> usize {
        self.codes + self.scales + self.constants
    }
}

#[cfg(test)]
mod tests;
