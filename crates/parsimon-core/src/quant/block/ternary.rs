//! The blocks of one scale and very few levels: TQ1_0, TQ2_0, Q1_0, Q2_0.
//!
//! | type | layout | weight |
//! |---|---|---|
//! | TQ1_0 | qs[48], qh[4], d @52; five base-3 digits a byte (four in `qh`) | `d (t - 1)`, `t` in 0..3 |
//! | TQ2_0 | qs[64], d @64; four 2-bit codes a byte | `d (q - 1)` |
//! | Q1_0 | d, 128 bits, least significant first | bit ? `d` : `-d` |
//! | Q2_0 | d, 64 codes of 2 bits, least significant first | `d (q - 1)` |
//!
//! The traps: the scale stands last in the TQ types; a byte of TQ1_0 is a fixed-point fraction `ceil(v 256 / 243)`, whose digit `n` is
//! the carry of `3^n byte mod 256` times 3; code 3 is legal in TQ2_0 and Q2_0 and means `2 d`.

use super::f16_at;
use super::k::crumbs;
use super::legacy::spread_bits;

pub(super) fn tq1_0(block: &[u8; 54], codes: &mut [u8; 256], scales: &mut [f32; 1], _: &mut [f32; 1]) {
    scales[0] = f16_at(block, 52);
    let mut rest = codes.as_mut_slice();
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        let mut power: u8 = 1;
        for _ in 0..digits {
            let (run, after) = rest.split_at_mut(bytes.len());
            for (code, byte) in run.iter_mut().zip(bytes) {
                *code = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
            }
            power = power.wrapping_mul(3);
            rest = after;
        }
    }
}

pub(super) fn tq2_0(block: &[u8; 66], codes: &mut [u8; 256], scales: &mut [f32; 1], _: &mut [f32; 1]) {
    scales[0] = f16_at(block, 64);
    crumbs(&block[..64], codes);
}

/// `s = 2 d` and `offset = -d`: bit 1 gives `d`, bit 0 gives `-d`.
pub(super) fn q1_0(block: &[u8; 18], codes: &mut [u8; 128], scales: &mut [f32; 1], offsets: &mut [f32; 1]) {
    let d = f16_at(block, 0);
    (scales[0], offsets[0]) = (2.0 * d, -d);
    for (codes, &bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
        *codes = spread_bits(bits).to_le_bytes();
    }
}

pub(super) fn q2_0(block: &[u8; 18], codes: &mut [u8; 64], scales: &mut [f32; 1], _: &mut [f32; 1]) {
    scales[0] = f16_at(block, 0);
    for (codes, &byte) in codes.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
        // A step of 6 bits moves each code from its place in the byte to the byte of its own.
        let byte = u32::from(byte);
        *codes = ((byte | byte << 6 | byte << 12 | byte << 18) & 0x0303_0303).to_le_bytes();
    }
}
