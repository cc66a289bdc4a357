//! Nibbles that index a table of sixteen values: MXFP4, NVFP4, IQ4_NL, IQ4_XS.
//!
//! | type | layout | weight |
//! |---|---|---|
//! | MXFP4 | e8m0 exponent `e`, qs[16] | `2^(e - 128) E2M1[q]`, the table doubled to integers |
//! | NVFP4 | four scales of 4 exponent and 3 mantissa bits, qs[32] | `scale / 2 * E2M1[q]` |
//! | IQ4_NL | d, qs[16] | `d NL[q]` |
//! | IQ4_XS | d, scales_h u16, scales_l[4], qs[128] | `d (ls - 32) NL[q]` |
//!
//! The traps: the 4-bit float table is doubled and the scales halved; scales 0 and 0x7f of NVFP4 both mean zero; a run of NVFP4
//! is 16 weights from 8 bytes, while those of the others are 32 from 16.

use super::{f16_at, u16_at};

/// 4-bit floats (1 sign, 2 exponent, 1 mantissa bit), doubled.
pub(in crate::quant) const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The non-linear levels of IQ4.
const NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    run(e8m0_half(block[0]), &block[1..], &E2M1_DOUBLED, out);
}

pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for ((&scale, qs), out) in block[..4].iter().zip(block[4..].chunks_exact(8)).zip(out.chunks_exact_mut(16)) {
        run(ue4m3_half(scale), qs, &E2M1_DOUBLED, out);
    }
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    run(f16_at(block, 0), &block[2..], &NL, out);
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (f16_at(block, 0), u16_at(block, 2));
    for (ib, (qs, out)) in block[8..].chunks_exact(16).zip(out.chunks_exact_mut(32)).enumerate() {
        let low = block[4 + ib / 2] >> (4 * (ib % 2)) & 15;
        let high = (high >> (2 * ib) & 3) as u8;
        run(d * f32::from((low | high << 4) as i8 - 32), qs, &NL, out);
    }
}

/// The low nibbles, then the high ones, through a table.
fn run(scale: f32, qs: &[u8], table: &[i8; 16], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(qs.len());
    for ((&q, low), high) in qs.iter().zip(low).zip(high) {
        *low = scale * f32::from(table[usize::from(q & 15)]);
        *high = scale * f32::from(table[usize::from(q >> 4)]);
    }
}

/// `2^(e - 128)`: half of the e8m0 scale, because the table is doubled. Exponents 0 and 1 are subnormal.
pub(in crate::quant) fn e8m0_half(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

/// Half of an unsigned float with 4 exponent bits (bias 7) and 3 mantissa bits.
fn ue4m3_half(x: u8) -> f32 {
    if x == 0 || x == 0x7f {
        return 0.0;
    }
    let (exponent, mantissa) = (i32::from(x >> 3 & 15), f32::from(x & 7));
    let value = if exponent == 0 { mantissa * 2f32.powi(-9) } else { (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7) };
    value * 0.5
}
