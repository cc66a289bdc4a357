//! From one code a byte to the stream of a kernel.

use crate::Kernel;
use crate::activations::K_STEP;
use crate::table::LOOKUP;

/// The codes of a matrix `[m, k]`, read as if padded with zeros.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    pub(crate) bits: usize,
    pub(crate) k: usize,
    pub(crate) codes: &'a [u8],
}

impl Codes<'_> {
    /// Bytes of the stream of one tile.
    pub(crate) fn tile_bytes(&self, kernel: Kernel) -> usize {
        kernel.tile_m() * self.k.next_multiple_of(K_STEP) * self.bits / 8
    }

    /// Writes the stream of the tile that starts at row `m0`; the layouts are described in [`crate::kernel`].
    pub(crate) fn pack_tile(&self, kernel: Kernel, m0: usize, stream: &mut [u8]) {
        debug_assert_eq!(stream.len(), self.tile_bytes(kernel));
        match kernel {
            Kernel::Scalar | Kernel::Avx2 => self.pack_paired(m0, stream),
            Kernel::Avx512Vbmi => self.pack_quad(m0, stream),
        }
    }

    fn pack_paired(&self, m0: usize, stream: &mut [u8]) {
        for (i, line) in stream.chunks_exact_mut(32).enumerate() {
            let (pair, p) = (i / self.bits, i % self.bits);
            let k0 = pair * 2 * LOOKUP;
            for (r, byte) in line.iter_mut().enumerate() {
                *byte = self.nibble(m0 + r, k0, p) | self.nibble(m0 + r, k0 + LOOKUP, p) << 4;
            }
        }
    }

    fn pack_quad(&self, m0: usize, stream: &mut [u8]) {
        for (i, line) in stream.chunks_exact_mut(64).enumerate() {
            let (chunk, p, rb) = (i / (4 * self.bits), i / 4 % self.bits, i % 4);
            let k0 = chunk * K_STEP;
            for (j, byte) in line.iter_mut().enumerate() {
                let (row, s) = (m0 + 16 * rb + j / 4, j % 4);
                let low = self.nibble(row, k0 + LOOKUP * s, p);
                *byte = low | self.nibble(row, k0 + K_STEP / 2 + LOOKUP * s, p) << 4;
            }
        }
    }

    /// `sum_t bit_p(q[row, k0 + t]) << t`; rows and columns outside are zero.
    fn nibble(&self, row: usize, k0: usize, p: usize) -> u8 {
        let begin = row * self.k;
        let Some(row) = self.codes.get(begin..begin + self.k) else { return 0 };
        let end = row.len().min(k0 + LOOKUP);
        let quad = row.get(k0..end).unwrap_or_default();
        quad.iter().enumerate().fold(0, |nibble, (t, q)| nibble | (q >> p & 1) << t)
    }
}

#[cfg(test)]
mod tests;
