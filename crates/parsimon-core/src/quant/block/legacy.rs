//! The blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! | type | layout | weight |
//! |---|---|---|
//! | Q4_0 | d, qs[16] | `d (q - 8)` |
//! | Q4_1 | d, m, qs[16] | `d q + m` |
//! | Q5_0 | d, qh u32, qs[16] | `d (q - 16)` |
//! | Q5_1 | d, m, qh u32, qs[16] | `d q + m` |
//! | Q8_0 | d, i8[32] | `d q` |
//!
//! Byte `j` of `qs` holds weight `j` in its low nibble and weight `j + 16` in its high one; bit `j` of `qh` is the fifth bit of
//! weight `j`. The trap: the two halves of a block lie in one byte, they are not neighbours.

use super::f16_at;

pub(super) fn q4_0(block: &[u8; 18], codes: &mut [u8; 32], scales: &mut [f32; 1], _: &mut [f32; 1]) {
    scales[0] = f16_at(block, 0);
    nibbles(&block[2..], codes);
}

pub(super) fn q4_1(block: &[u8; 20], codes: &mut [u8; 32], scales: &mut [f32; 1], offsets: &mut [f32; 1]) {
    (scales[0], offsets[0]) = (f16_at(block, 0), f16_at(block, 2));
    nibbles(&block[4..], codes);
}

pub(super) fn q5_0(block: &[u8; 22], codes: &mut [u8; 32], scales: &mut [f32; 1], _: &mut [f32; 1]) {
    scales[0] = f16_at(block, 0);
    nibbles(&block[6..], codes);
    fifth_bits(&block[2..6], codes);
}

pub(super) fn q5_1(block: &[u8; 24], codes: &mut [u8; 32], scales: &mut [f32; 1], offsets: &mut [f32; 1]) {
    (scales[0], offsets[0]) = (f16_at(block, 0), f16_at(block, 2));
    nibbles(&block[8..], codes);
    fifth_bits(&block[4..8], codes);
}

/// Codes are `q + 128`.
pub(super) fn q8_0(block: &[u8; 34], codes: &mut [u8; 32], scales: &mut [f32; 1], _: &mut [f32; 1]) {
    scales[0] = f16_at(block, 0);
    for (code, q) in codes.iter_mut().zip(&block[2..]) {
        *code = q ^ 0x80;
    }
}

fn nibbles(qs: &[u8], codes: &mut [u8; 32]) {
    let (low, high) = codes.split_at_mut(16);
    for ((q, low), high) in qs.iter().zip(low).zip(high) {
        *low = q & 15;
        *high = q >> 4;
    }
}

fn fifth_bits(qh: &[u8], codes: &mut [u8; 32]) {
    for (&bits, codes) in qh.iter().zip(codes.as_chunks_mut::<8>().0) {
        let with_bits = u64::from_le_bytes(*codes) | spread_bits(bits) << 4;
        *codes = with_bits.to_le_bytes();
    }
}

/// Bit `i` of `bits` as byte `i` (0 or 1) of the result.
pub(super) fn spread_bits(bits: u8) -> u64 {
    // Byte `i` of the product is `bits`; of it, the mask keeps bit `i`. Adding 0x7f carries any kept bit to the top of its byte.
    let kept = (u64::from(bits) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    ((kept + 0x7f7f_7f7f_7f7f_7f7f) >> 7) & 0x0101_0101_0101_0101
}
