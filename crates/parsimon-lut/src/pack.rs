//! From one code a byte to the stream of a kernel, and back.

use parsimon_simd::Level;

use crate::activations::{K_STEP, fives_in_row};
use crate::table::LOOKUP;
use crate::{Kernel, Method, trit};

/// What the stream of a matrix looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) kernel: Kernel,
    /// Bits of a code in the stream.
    pub(crate) bits: usize,
    pub(crate) k: usize,
    /// Columns that share a scale.
    pub(crate) group: usize,
}

/// The codes of a matrix `[m, k]` with the order of its columns.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) order: Option<&'a [u32]>,
}

impl Layout {
    /// Bytes of the stream of one tile.
    pub(crate) fn tile_bytes(&self) -> usize {
        match self.kernel.method() {
            Method::Elut => self.kernel.tile_m() * fives_in_row(self.k, self.group),
            Method::Lut | Method::Dot => self.kernel.tile_m() * self.k.next_multiple_of(K_STEP) * self.bits / 8,
        }
    }

    /// Columns of a row as the stream has them.
    fn k_padded(&self) -> usize {
        match self.kernel.method() {
            Method::Elut => trit::FIVE * fives_in_row(self.k, self.group),
            Method::Lut | Method::Dot => self.k.next_multiple_of(K_STEP),
        }
    }

    /// Whether 64 rows of a tile are looked up in four tables at once.
    fn is_quad(&self) -> bool {
        self.kernel.level().includes(Level::Avx512Vbmi)
    }

    /// Writes the stream of the tile that starts at row `m0`; the layouts are described in [`crate::kernel`].
    pub(crate) fn pack_tile(&self, codes: Codes<'_>, m0: usize, scratch: &mut Vec<u8>, stream: &mut [u8]) {
        debug_assert_eq!(stream.len(), self.tile_bytes());
        let rows = self.pad_rows(codes, m0, scratch);
        match self.kernel.method() {
            Method::Lut if self.is_quad() => self.pack_quad(rows, stream),
            Method::Lut => self.pack_paired(rows, stream),
            Method::Dot => self.pack_dot(rows, stream),
            Method::Elut => self.pack_fives(rows, stream),
        }
    }

    /// The rows of a tile, `[tile_m][k_padded]`, with code 0 (trit 0 of a five) where there is no weight.
    fn pad_rows<'s>(&self, codes: Codes<'_>, m0: usize, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        let neutral = if self.kernel.method() == Method::Elut { 1 } else { 0 };
        let k_padded = self.k_padded();
        scratch.clear();
        scratch.resize(self.kernel.tile_m() * k_padded, neutral);
        for (row, padded) in codes.codes.chunks_exact(self.k).skip(m0).zip(scratch.chunks_exact_mut(k_padded)) {
            match (codes.order, self.kernel.method()) {
                (None, Method::Elut) => {
                    let padded_group = self.group.next_multiple_of(trit::FIVE);
                    for (group, padded) in row.chunks(self.group).zip(padded.chunks_mut(padded_group)) {
                        padded[..group.len()].copy_from_slice(group);
                    }
                }
                (Some(order), Method::Elut) => {
                    let padded_group = self.group.next_multiple_of(trit::FIVE);
                    for (group, padded) in order.chunks(self.group).zip(padded.chunks_mut(padded_group)) {
                        for (code, &i) in padded.iter_mut().zip(group) {
                            *code = row[i as usize];
                        }
                    }
                }
                (None, _) => padded[..self.k].copy_from_slice(row),
                (Some(order), _) => {
                    for (code, &i) in padded.iter_mut().zip(order) {
                        *code = row[i as usize];
                    }
                }
            }
        }
        scratch
    }

    fn pack_paired(&self, rows: &[u8], stream: &mut [u8]) {
        let tile_m = self.kernel.tile_m();
        for (r, row) in rows.chunks_exact(self.k_padded()).enumerate() {
            for (pair, quads) in row.as_chunks::<LOOKUP>().0.as_chunks::<2>().0.iter().enumerate() {
                for p in 0..self.bits {
                    stream[(pair * self.bits + p) * tile_m + r] = nibble(quads[0], p) | nibble(quads[1], p) << 4;
                }
            }
        }
    }

    fn pack_quad(&self, rows: &[u8], stream: &mut [u8]) {
        const LINE: usize = 64;
        for (r, row) in rows.chunks_exact(self.k_padded()).enumerate() {
            let (rb, lane) = (r / 16, r % 16);
            for (chunk, quads) in row.as_chunks::<LOOKUP>().0.as_chunks::<8>().0.iter().enumerate() {
                for p in 0..self.bits {
                    let line = &mut stream[((chunk * self.bits + p) * 4 + rb) * LINE..][4 * lane..][..4];
                    for (s, byte) in line.iter_mut().enumerate() {
                        *byte = nibble(quads[s], p) | nibble(quads[s + 4], p) << 4;
                    }
                }
            }
        }
    }

    fn pack_dot(&self, rows: &[u8], stream: &mut [u8]) {
        let (tile_m, per_byte) = (self.kernel.tile_m(), 8 / self.bits);
        for (r, row) in rows.chunks_exact(self.k_padded()).enumerate() {
            for (block, columns) in row.chunks_exact(4 * per_byte).enumerate() {
                let mut bytes = 0u32;
                for (i, four) in columns.as_chunks::<4>().0.iter().enumerate() {
                    // A code has fewer bits than its place, so no byte runs over.
                    bytes |= u32::from_le_bytes(*four) << (i * self.bits);
                }
                stream[block * 4 * tile_m + 4 * r..][..4].copy_from_slice(&bytes.to_le_bytes());
            }
        }
    }

    fn pack_fives(&self, rows: &[u8], stream: &mut [u8]) {
        let tile_m = self.kernel.tile_m();
        for (r, row) in rows.chunks_exact(self.k_padded()).enumerate() {
            for (five, codes) in row.as_chunks::<{ trit::FIVE }>().0.iter().enumerate() {
                stream[five * tile_m + r] = trit::encode(codes);
            }
        }
    }

    /// The code at row `r` of a tile, column `c` of the stream's order.
    pub(crate) fn code(&self, stream: &[u8], r: usize, c: usize) -> u8 {
        let tile_m = self.kernel.tile_m();
        match self.kernel.method() {
            Method::Elut => {
                let (group, within) = (c / self.group, c % self.group);
                let five = group * self.group.div_ceil(trit::FIVE) + within / trit::FIVE;
                trit::decode(stream[five * tile_m + r])[within % trit::FIVE]
            }
            Method::Dot => {
                let columns = 4 * 8 / self.bits;
                let byte = stream[c / columns * 4 * tile_m + 4 * r + c % 4];
                byte >> (c % columns / 4 * self.bits) & (u8::MAX >> (8 - self.bits))
            }
            Method::Lut => (0..self.bits).fold(0, |code, p| code | self.plane_bit(stream, r, c, p) << p),
        }
    }

    fn plane_bit(&self, stream: &[u8], r: usize, c: usize, p: usize) -> u8 {
        let (at, high) = if self.is_quad() {
            let line = (c / K_STEP * self.bits + p) * 4 + r / 16;
            (line * 64 + 4 * (r % 16) + c % 16 / LOOKUP, c % K_STEP / 16)
        } else {
            ((c / 8 * self.bits + p) * self.kernel.tile_m() + r, c % 8 / LOOKUP)
        };
        stream[at] >> (4 * high + c % LOOKUP) & 1
    }
}

/// `sum_t bit_p(quad[t]) << t`.
fn nibble(quad: [u8; LOOKUP], p: usize) -> u8 {
    let bits = u32::from_le_bytes(quad) >> p & 0x0101_0101;
    // Bit 0 of byte t moves to bit 24 + t.
    (bits.wrapping_mul(0x0102_0408) >> 24) as u8 & 15
}

#[cfg(test)]
mod tests;
