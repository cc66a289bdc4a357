//! The K blocks of 256 weights with scales of scales: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
//!
//! | type | layout | weight | groups of |
//! |---|---|---|---|
//! | Q2_K | scales[16], qs[64], d @80, dmin @82 | `d sc q - dmin mn` | 16 |
//! | Q3_K | hmask[32], qs[64], scales[12], d @108 | `d (sc - 32) (q - 4)` | 16 |
//! | Q4_K | d, dmin, scales[12], qs[128] | `d sc q - dmin mn` | 32 |
//! | Q5_K | d, dmin, scales[12], qh[32], qs[128] | `d sc q - dmin mn` | 32 |
//! | Q6_K | ql[128], qh[64], i8 scales[16], d @208 | `d sc (q - 32)` | 16 |
//!
//! The traps: `d` stands first in two of them and last in three; the 6-bit scales of Q3_K and of Q4_K are packed differently;
//! the third bit of Q3_K is inverted (a set bit of `hmask` means that 4 is *not* subtracted), so that `q` in 0..8 with zero
//! point 4 is the same thing.

use super::f16_at;

pub(super) fn q2_k(block: &[u8; 84], codes: &mut [u8; 256], scales: &mut [f32; 16], offsets: &mut [f32; 16]) {
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for i in 0..16 {
        scales[i] = d * f32::from(block[i] & 15);
        offsets[i] = -(dmin * f32::from(block[i] >> 4));
    }
    crumbs(&block[16..80], codes);
}

pub(super) fn q3_k(block: &[u8; 110], codes: &mut [u8; 256], scales: &mut [f32; 16], _: &mut [f32; 16]) {
    let d = f16_at(block, 108);
    let packed = &block[96..108];
    for (i, scale) in scales.iter_mut().enumerate() {
        let low = if i < 8 { packed[i] & 15 } else { packed[i - 8] >> 4 };
        let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        *scale = d * f32::from((low | high << 4) as i8 - 32);
    }
    crumbs(&block[32..96], codes);
    for (bit, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, mask) in codes.iter_mut().zip(&block[..32]) {
            *code |= (mask >> bit & 1) << 2;
        }
    }
}

pub(super) fn q4_k(block: &[u8; 144], codes: &mut [u8; 256], scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    scales_and_mins(block, scales, offsets);
    nibble_runs(&block[16..], codes);
}

pub(super) fn q5_k(block: &[u8; 176], codes: &mut [u8; 256], scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    scales_and_mins(block, scales, offsets);
    nibble_runs(&block[48..], codes);
    for (i, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, high) in codes.iter_mut().zip(&block[16..48]) {
            *code |= (high >> i & 1) << 4;
        }
    }
}

pub(super) fn q6_k(block: &[u8; 210], codes: &mut [u8; 256], scales: &mut [f32; 16], _: &mut [f32; 16]) {
    let d = f16_at(block, 208);
    for (scale, sc) in scales.iter_mut().zip(&block[192..208]) {
        *scale = d * f32::from(*sc as i8);
    }
    let halves = block[..128].chunks_exact(64).zip(block[128..192].chunks_exact(32));
    for (codes, (ql, qh)) in codes.as_chunks_mut::<128>().0.iter_mut().zip(halves) {
        let (first, second) = ql.split_at(32);
        let (q12, q34) = codes.split_at_mut(64);
        let ((q1, q2), (q3, q4)) = (q12.split_at_mut(32), q34.split_at_mut(32));
        for l in 0..32 {
            q1[l] = first[l] & 15 | (qh[l] & 3) << 4;
            q2[l] = second[l] & 15 | (qh[l] >> 2 & 3) << 4;
            q3[l] = first[l] >> 4 | (qh[l] >> 4 & 3) << 4;
            q4[l] = second[l] >> 4 | (qh[l] >> 6) << 4;
        }
    }
}

/// The eight 6-bit scales and minima of Q4_K and Q5_K, times `d` at byte 0 and `-dmin` at byte 2.
fn scales_and_mins(block: &[u8], scales: &mut [f32; 8], offsets: &mut [f32; 8]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let s = &block[4..16];
    for j in 0..8 {
        let (sc, mn) = if j < 4 {
            (s[j] & 63, s[j + 4] & 63)
        } else {
            (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
        };
        scales[j] = d * f32::from(sc);
        offsets[j] = -(dmin * f32::from(mn));
    }
}

/// Per half of 128 codes and per shift 0, 2, 4, 6: 32 codes of two bits from the half's 32 bytes.
pub(super) fn crumbs(qs: &[u8], codes: &mut [u8; 256]) {
    for (codes, qs) in codes.as_chunks_mut::<128>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        let [q0, q1, q2, q3] = codes.as_chunks_mut::<32>().0 else { unreachable!("128 is 4 times 32") };
        for l in 0..32 {
            q0[l] = qs[l] & 3;
            q1[l] = qs[l] >> 2 & 3;
            q2[l] = qs[l] >> 4 & 3;
            q3[l] = qs[l] >> 6;
        }
    }
}

/// Per run of 32 bytes: 32 codes from the low nibbles, then 32 from the high ones.
fn nibble_runs(qs: &[u8], codes: &mut [u8; 256]) {
    for (codes, qs) in codes.as_chunks_mut::<64>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        let (low, high) = codes.split_at_mut(32);
        for ((q, low), high) in qs.iter().zip(low).zip(high) {
            *low = q & 15;
            *high = q >> 4;
        }
    }
}
