//! The codebook blocks of 256 weights: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.
//!
//! An index selects a row of a grid: 4 or 8 small integers. Signs lie beside it, one bit a weight (set is negative); XXS and XS
//! store seven of eight, the eighth being their parity. Per 32 weights `ib`:
//!
//! | type | index | signs | scale |
//! |---|---|---|---|
//! | IQ2_XXS | 4 bytes | 4 x 7 bits of a u32 | `d (0.5 + s) / 4`, `s` = its top 4 bits |
//! | IQ2_XS | 4 x 9 bits of a u16 | its other 7 bits | the same, a nibble per 16 weights |
//! | IQ2_S | 4 x (8 + 2) bits | 4 bytes | the same |
//! | IQ3_XXS | 8 bytes | 4 x 7 bits of a u32 | `d (0.5 + s) / 2` |
//! | IQ3_S | 8 x (8 + 1) bits | 4 bytes | `d (1 + 2 s)`, a nibble per 32 weights |
//! | IQ1_S | 4 x (8 + 3) bits | | `d (2 s + 1)`, 3 bits; weights are grid +- 1/8 |
//! | IQ1_M | 4 x (8 + 3) bits | | likewise, 3 bits per 16 weights; `d` is spread over the scales' top nibbles |
//!
//! The grids are data of the ggml project; `src/quant/data/LICENSE.md` says whose they are.

use super::{f16_at, u16_at, u32_at};

static IQ1: [u8; 2048 * 8] = *include_bytes!("../data/grid_iq1_s.i8.bin");
static IQ2_S: [u8; 1024 * 8] = *include_bytes!("../data/grid_iq2_s.i8.bin");
static IQ2_XS: [u8; 512 * 8] = *include_bytes!("../data/grid_iq2_xs.i8.bin");
static IQ2_XXS: [u8; 256 * 8] = *include_bytes!("../data/grid_iq2_xxs.i8.bin");
static IQ3_S: [u8; 512 * 4] = *include_bytes!("../data/grid_iq3_s.i8.bin");
static IQ3_XXS: [u8; 256 * 4] = *include_bytes!("../data/grid_iq3_xxs.i8.bin");

/// What the `1 / 8` of IQ1 is.
const IQ1_DELTA: f32 = 0.125;

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (ib, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let at = 2 + 8 * ib;
        let word = u32_at(block, at + 4);
        let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
        for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            signed(scale, row::<8>(&IQ2_XXS, block[at + l].into()), seven_signs(word, l), out);
        }
    }
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let q = u16_at(block, 2 + 2 * i);
        let scale = d * (0.5 + nibble(&block[66..], i / 2)) * 0.25;
        signed(scale, row::<8>(&IQ2_XS, usize::from(q & 511)), seven_signs(u32::from(q >> 9), 0), out);
    }
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = block[66 + i / 4] >> (2 * (i % 4)) & 3;
        let scale = d * (0.5 + nibble(&block[74..], i / 2)) * 0.25;
        signed(scale, row::<8>(&IQ2_S, index(block[2 + i], high)), block[34 + i], out);
    }
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u32_at(block, 66 + 4 * (i / 4));
        let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
        let signs = seven_signs(word, i % 4);
        let (low, high) = out.split_at_mut(4);
        signed(scale, row::<4>(&IQ3_XXS, block[2 + 2 * i].into()), signs, low);
        signed(scale, row::<4>(&IQ3_XXS, block[3 + 2 * i].into()), signs >> 4, high);
    }
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let high = block[66 + i / 8] >> (i % 8) & 1;
        let scale = d * (1.0 + 2.0 * nibble(&block[106..], i / 8));
        let signs = block[74 + i / 2] >> (4 * (i % 2));
        signed(scale, row::<4>(&IQ3_S, index(block[2 + i], high)), signs, out);
    }
}

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let qh = u16_at(block, 34 + 2 * (i / 4));
        let high = (qh >> (3 * (i % 4)) & 7) as u8;
        let scale = d * f32::from(2 * (qh >> 12 & 7) + 1);
        shifted(scale, index(block[2 + i], high), qh & 0x8000 != 0, out);
    }
}

pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let words: [u16; 4] = std::array::from_fn(|i| u16_at(block, 48 + 2 * i));
    let d = words.iter().enumerate().fold(0, |d, (i, word)| d | word >> 12 << (4 * i));
    let d = half::f16::from_bits(d).to_f32();
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = block[32 + i / 2] >> (4 * (i % 2));
        let scale = words[i / 8] >> (3 * (i / 2 % 4)) & 7;
        shifted(d * f32::from(2 * scale + 1), index(block[i], high & 7), high & 8 != 0, out);
    }
}

/// A grid index of eight low bits and some high ones.
fn index(low: u8, high: u8) -> usize {
    usize::from(low) | usize::from(high) << 8
}

fn row<const N: usize>(grid: &'static [u8], index: usize) -> &'static [u8; N] {
    &grid.as_chunks::<N>().0[index]
}

fn nibble(bytes: &[u8], i: usize) -> f32 {
    f32::from(bytes[i / 2] >> (4 * (i % 2)) & 15)
}

/// The `k`-th seven sign bits of `word`, with their parity as the eighth.
fn seven_signs(word: u32, k: usize) -> u8 {
    let bits = (word >> (7 * k) & 127) as u8;
    bits | ((bits.count_ones() & 1) as u8) << 7
}

fn signed(scale: f32, grid: &[u8], signs: u8, out: &mut [f32]) {
    for (j, (w, &value)) in out.iter_mut().zip(grid).enumerate() {
        let magnitude = scale * f32::from(value as i8);
        *w = if signs >> j & 1 == 0 { magnitude } else { -magnitude };
    }
}

fn shifted(scale: f32, index: usize, down: bool, out: &mut [f32; 8]) {
    let delta = if down { -IQ1_DELTA } else { IQ1_DELTA };
    for (w, &value) in out.iter_mut().zip(row::<8>(&IQ1, index)) {
        *w = scale * (f32::from(value as i8) + delta);
    }
}
