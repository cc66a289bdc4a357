//! `tbl` on the paired layout (PAPER(tmac §3.3), form ours).
//!
//! A table is one register and one instruction looks up 16 rows. The bytes of one plane of a step are widened and added into 16 bits, and the
//! planes joined by shifts at its end: at most `2 * 127 * (2^b - 1)` a pair of tables, so eight pairs (64 columns) of 4 bits stay below 2^15.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::aarch64::*;

use parsimon_simd::Neon;
use parsimon_simd::arm::{load_128, prefetch};

use crate::kernel::neon::{GroupRows, LANES, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks, scales_at};
use crate::table::{ENTRIES, LOOKUP};

const ROWS: usize = 32;
const PAIR: usize = 2 * LOOKUP;

/// Registers of 4 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// Registers of 16 looked-up bytes in a tile.
const HALVES: usize = ROWS / 16;

/// Columns of the longest step that 16-bit sums hold.
const STEP_MAX: usize = 64;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 2048;

/// Sums of 16 rows in 16 bits: low and high eight.
type Words = [int16x8_t; 2];

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Neon::try_new().expect("the kernel was picked for this level, so it is there");
    by_blocks!(tokens, out, ROWS, [2, 1], |acts: T, block| {
        // SAFETY: the token proves the features of `body`.
        unsafe {
            match geometry.bits {
                1 => body::<1, T>(geometry, tile, &acts, block),
                2 => body::<2, T>(geometry, tile, &acts, block),
                3 => body::<3, T>(geometry, tile, &acts, block),
                4 => body::<4, T>(geometry, tile, &acts, block),
                bits => unreachable!("packing refuses {bits} bits"),
            }
        }
    });
}

/// `T` tokens.
#[target_feature(enable = "neon")]
fn body<const B: usize, const T: usize>(geometry: &Geometry, tile: &Tile<'_>, acts: &[Act<'_>; T], out: &mut [f32]) {
    let step = geometry.step(STEP_MAX);
    let planes: &[[[[u8; 16]; HALVES]; B]] = tile.stream.as_chunks().0.as_chunks().0.as_chunks().0;
    let tables: [&[[[u8; ENTRIES]; 2]]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
    let mut total = [[vdupq_n_f32(0.0); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut sums = [[vdupq_n_f32(0.0); T]; BLOCKS];
        for t in 0..T {
            let start = vdupq_n_f32(tile.start(geometry, acts[t].betas[g]));
            sums.iter_mut().for_each(|sums| sums[t] = start);
        }
        let mut k0 = begin;
        while k0 < end {
            let next = end.min(k0 + step);
            let pairs = k0 / PAIR..next / PAIR;
            for line in (pairs.start * B * ROWS..pairs.end * B * ROWS).step_by(LINE) {
                prefetch(tile.stream, line + PREFETCH);
            }
            let scales = scales_at(acts, scale_idx.advance());
            let mut step_tables: [&[[[u8; ENTRIES]; 2]]; T] = [&[]; T];
            for t in 0..T {
                step_tables[t] = &tables[t][pairs.clone()];
            }
            let integers = look_up_step::<B, T>(&planes[pairs.clone()], &step_tables);
            for t in 0..T {
                let floats = widen(integers[t]);
                for block in 0..BLOCKS {
                    sums[block][t] = vfmaq_n_f32(sums[block][t], floats[block], scales[t]);
                }
            }
            k0 = next;
        }
        for block in 0..BLOCKS {
            let rows = GroupRows::load(tile, g, ROWS, block, 0.5);
            for t in 0..T {
                total[block][t] = rows.finish(sums[block][t], acts[t].betas[g], total[block][t]);
            }
        }
    }
    store(&total, out);
}

/// The sums of a step: all planes, `2^p` times plane `p`.
#[inline]
#[target_feature(enable = "neon")]
fn look_up_step<const B: usize, const T: usize>(
    planes: &[[[[u8; 16]; HALVES]; B]],
    tables: &[&[[[u8; ENTRIES]; 2]]; T],
) -> [[Words; HALVES]; T] {
    let mut sums = [[[vdupq_n_s16(0); 2]; HALVES]; T];
    for p in 0..B {
        let mut acc = [[[vdupq_n_s16(0); 2]; HALVES]; T];
        for pair in 0..planes.len() {
            for half in 0..HALVES {
                let bytes = load_128(&planes[pair][p][half]);
                let (low, high) = (vandq_u8(bytes, vdupq_n_u8(0x0f)), vshrq_n_u8::<4>(bytes));
                for t in 0..T {
                    let table = |i: usize| vreinterpretq_s8_u8(load_128(&tables[t][pair][i]));
                    let (u, v) = (vqtbl1q_s8(table(0), low), vqtbl1q_s8(table(1), high));
                    let [low, high] = &mut acc[t][half];
                    *low = vaddq_s16(*low, vaddl_s8(vget_low_s8(u), vget_low_s8(v)));
                    *high = vaddq_s16(*high, vaddl_high_s8(u, v));
                }
            }
        }
        let shift = vdupq_n_s16(p as i16);
        for t in 0..T {
            for half in 0..HALVES {
                for i in 0..2 {
                    sums[t][half][i] = vaddq_s16(sums[t][half][i], vshlq_s16(acc[t][half][i], shift));
                }
            }
        }
    }
    sums
}

/// The sums as floats, four rows a register.
#[inline]
#[target_feature(enable = "neon")]
fn widen(words: [Words; HALVES]) -> [float32x4_t; BLOCKS] {
    let mut floats = [vdupq_n_f32(0.0); BLOCKS];
    for half in 0..HALVES {
        for i in 0..2 {
            let words = words[half][i];
            floats[4 * half + 2 * i] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
            floats[4 * half + 2 * i + 1] = vcvtq_f32_s32(vmovl_high_s16(words));
        }
    }
    floats
}
