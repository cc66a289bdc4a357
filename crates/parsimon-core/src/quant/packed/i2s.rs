//! I2_S, the flat ternary tensors of bitnet.cpp.
//!
//! The `n = m k` codes `t + 1` of the whole tensor in blocks that know no rows, then the f32 scale at byte `n / 4`, then padding: `n / 4 + 32`
//! bytes. A block of `L` weights is `L / 4` bytes, byte `j` being `v[j] << 6 | v[L/4 + j] << 4 | v[L/2 + j] << 2 | v[3L/4 + j]`.
//!
//! **The trap.** `L` is 128 where the file was written on x86 and 64 where it was written on Arm, the size is the same, and nothing in
//! the file says which. [`I2sBlock`] makes the caller say it.

use super::bitnet::ternary;
use super::{PackedError, check_ternary, checked, elements};
use crate::quant::GroupQuantized;

/// What follows the codes: the scale and its padding.
const TAIL_BYTES: usize = 32;

/// The block of the machine that wrote the file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum I2sBlock {
    /// 128 weights in 32 bytes.
    #[default]
    X86,
    /// 64 weights in 16 bytes.
    Arm64,
}

impl I2sBlock {
    /// Weights of a block.
    pub fn weights(self) -> usize {
        match self {
            I2sBlock::X86 => 128,
            I2sBlock::Arm64 => 64,
        }
    }
}

/// A weight matrix `[m, k]` in I2_S, borrowed from a file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct I2sMatrix<'a> {
    tensor: &'a str,
    m: usize,
    k: usize,
    bytes: &'a [u8],
}

impl<'a> I2sMatrix<'a> {
    /// A matrix over the bytes of `tensor`.
    ///
    /// # Errors
    ///
    /// [`PackedError::Quant`] for an empty or too large shape, [`PackedError::Mismatch`] unless 64 divides `m k`,
    /// [`PackedError::ByteLength`] unless there are `m k / 4 + 32` bytes.
    pub fn try_new(tensor: &'a str, m: usize, k: usize, bytes: &'a [u8]) -> Result<Self, PackedError> {
        let n = elements(tensor, m, k)?;
        if !n.is_multiple_of(I2sBlock::Arm64.weights()) {
            return Err(PackedError::mismatch(tensor, "the number of weights", "a multiple of 64", n));
        }
        let expected = n / 4 + TAIL_BYTES;
        if bytes.len() != expected {
            return Err(PackedError::ByteLength { tensor: tensor.to_owned(), expected, actual: bytes.len() });
        }
        Ok(I2sMatrix { tensor, m, k, bytes })
    }

    /// Output features (rows).
    pub fn m(&self) -> usize {
        self.m
    }

    /// Input features (columns).
    pub fn k(&self) -> usize {
        self.k
    }

    /// The scale of all weights.
    pub fn scale(&self) -> f32 {
        let (codes, tail) = self.bytes.split_at(self.m * self.k / 4);
        debug_assert_eq!(codes.len() + TAIL_BYTES, self.bytes.len());
        f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]])
    }

    /// 2-bit codes `t + 1` with zero point 1, one group a row.
    ///
    /// # Errors
    ///
    /// [`PackedError::Mismatch`] unless whole blocks of this kind hold the tensor, [`PackedError::NotTernary`] for code 3,
    /// [`PackedError::Quant`] for a scale that is not finite.
    pub fn to_group_quantized(&self, block: I2sBlock) -> Result<GroupQuantized, PackedError> {
        let n = self.m * self.k;
        if !n.is_multiple_of(block.weights()) {
            let expected = format!("a multiple of {}", block.weights());
            return Err(PackedError::mismatch(self.tensor, "the number of weights", expected, n));
        }
        let mut codes = vec![0; n];
        match block {
            I2sBlock::X86 => unpack::<32>(self.bytes, &mut codes),
            I2sBlock::Arm64 => unpack::<16>(self.bytes, &mut codes),
        }
        check_ternary(self.tensor, &codes, self.k)?;
        checked(self.tensor, ternary(codes, self.m, self.k, self.scale()))
    }
}

/// Blocks of `4 RUN` codes from `RUN` bytes each.
fn unpack<const RUN: usize>(bytes: &[u8], codes: &mut [u8]) {
    for (codes, bytes) in codes.chunks_exact_mut(4 * RUN).zip(bytes.as_chunks::<RUN>().0) {
        for (codes, shift) in codes.as_chunks_mut::<RUN>().0.iter_mut().zip([6, 4, 2, 0]) {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                *code = byte >> shift & 3;
            }
        }
    }
}
