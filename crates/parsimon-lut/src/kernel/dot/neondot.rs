//! `sdot` on the dot layout (own form).
//!
//! A register holds four codes of four rows; four of sixteen activations, a lane of another register, multiply all of them. The instruction takes
//! signed bytes: codes up to 4 bits are that already, 8-bit codes lose 128 and the sum of the activations times 128 is added back.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::aarch64::*;
use std::ops::Range;

use parsimon_simd::NeonDot;
use parsimon_simd::arm::{dot_lane, load_128, prefetch};

use super::ROWS;
use crate::activations::K_STEP;
use crate::kernel::neon::{GroupRows, LANES, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks, scales_at};

/// Registers of 4 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// The bytes of a register for every row of a tile.
type Line = [[u8; 16]; BLOCKS];

/// The activations of 32 columns: two registers of four quads.
type Quads = [[u8; 16]; 2];

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 2048;

/// Columns of the longest step: 8-bit codes times 8-bit activations stay below 2^15 a column.
const STEP_MAX: usize = 1 << 15;

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    NeonDot::try_new().expect("the kernel was picked for this level, so it is there");
    let halves = geometry.group < K_STEP;
    by_blocks!(tokens, out, ROWS, [4, 2, 1], |acts: T, block| {
        // Of 32 registers, 16 hold sums.
        const RB: usize = if T == 4 { BLOCKS / 2 } else { BLOCKS };
        // SAFETY: the token proves the features of `body`.
        unsafe {
            match (geometry.bits, halves) {
                (1, false) => body::<1, T, RB, false>(geometry, tile, &acts, block),
                (2, false) => body::<2, T, RB, false>(geometry, tile, &acts, block),
                (4, false) => body::<4, T, RB, false>(geometry, tile, &acts, block),
                (8, false) => body::<8, T, RB, false>(geometry, tile, &acts, block),
                (2, true) => body::<2, T, RB, true>(geometry, tile, &acts, block),
                (4, true) => body::<4, T, RB, true>(geometry, tile, &acts, block),
                (8, true) => body::<8, T, RB, true>(geometry, tile, &acts, block),
                (bits, _) => unreachable!("packing widens {bits} bits, and refuses one bit in groups of 16"),
            }
        }
    });
}

/// `T` tokens; `RB` registers of rows at a time; `HALVES` for weight groups of 16 columns, which take one half of 32 columns at a time.
#[target_feature(enable = "neon,dotprod")]
fn body<const B: usize, const T: usize, const RB: usize, const HALVES: bool>(
    geometry: &Geometry,
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    out: &mut [f32],
) {
    let step = geometry.step(STEP_MAX);
    let chunks: &[[Line; B]] = tile.stream.as_chunks().0.as_chunks().0.as_chunks().0;
    let activations: [&[Quads]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
    let mut total = [[vdupq_n_f32(0.0); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut starts = [vdupq_n_f32(0.0); T];
        for t in 0..T {
            starts[t] = vdupq_n_f32(0.5 * tile.start(geometry, acts[t].betas[g]));
        }
        let group_scale_idx = scale_idx;
        for part in 0..BLOCKS / RB {
            scale_idx = group_scale_idx;
            let mut sums = [starts; RB];
            let mut k0 = begin;
            while k0 < end {
                let next = end.min(k0 + step);
                let lines = match (HALVES, k0.is_multiple_of(K_STEP)) {
                    (false, _) => 0..B,
                    (true, true) => 0..B / 2,
                    (true, false) => B / 2..B,
                };
                let mut acc = Sums { rows: [[vdupq_n_s32(0); T]; RB], activations: [vdupq_n_s32(0); T] };
                for chunk in k0 / K_STEP..next.div_ceil(K_STEP) {
                    for line in (0..size_of::<[Line; B]>()).step_by(CACHE_LINE) {
                        prefetch(tile.stream, chunk * size_of::<[Line; B]>() + line + PREFETCH);
                    }
                    acc.add_chunk(&chunks[chunk], &activations, chunk, lines.clone(), part * RB);
                }
                let scales = scales_at(acts, scale_idx.advance());
                for t in 0..T {
                    for rb in 0..RB {
                        sums[rb][t] = vfmaq_n_f32(sums[rb][t], vcvtq_f32_s32(acc.row::<B>(rb, t)), scales[t]);
                    }
                }
                k0 = next;
            }
            for rb in 0..RB {
                let rows = GroupRows::load(tile, g, ROWS, part * RB + rb, 1.0);
                for t in 0..T {
                    let total = &mut total[part * RB + rb][t];
                    *total = rows.finish(sums[rb][t], acts[t].betas[g], *total);
                }
            }
        }
    }
    store(&total, out);
}

/// The integer sums of a step.
struct Sums<const T: usize, const RB: usize> {
    rows: [[int32x4_t; T]; RB],
    /// Of the activations alone, in every lane; only 8-bit codes need it.
    activations: [int32x4_t; T],
}

impl<const T: usize, const RB: usize> Sums<T, RB> {
    /// Adds `lines` of 32 columns, for the registers from `first_block`.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn add_chunk<const B: usize>(
        &mut self,
        chunk: &[Line; B],
        activations: &[&[Quads]; T],
        at: usize,
        lines: Range<usize>,
        first_block: usize,
    ) {
        let mask = vdupq_n_u8(0xff >> (8 - B));
        for line in lines {
            let mut rest = [vdupq_n_u8(0); RB];
            for rb in 0..RB {
                rest[rb] = load_128(&chunk[line][first_block + rb]);
            }
            for part in 0..8 / B {
                let mut codes = [vdupq_n_s8(0); RB];
                for rb in 0..RB {
                    if B == 8 {
                        codes[rb] = vreinterpretq_s8_u8(veorq_u8(rest[rb], vdupq_n_u8(128)));
                    } else {
                        codes[rb] = vreinterpretq_s8_u8(vandq_u8(rest[rb], mask));
                        rest[rb] = shift_codes::<B>(rest[rb]);
                    }
                }
                let quad = line * (8 / B) + part;
                for t in 0..T {
                    let sixteen = vreinterpretq_s8_u8(load_128(&activations[t][at][quad / 4]));
                    for rb in 0..RB {
                        self.rows[rb][t] = dot_quad(quad % 4, self.rows[rb][t], codes[rb], sixteen);
                    }
                    if B == 8 {
                        self.activations[t] = dot_quad(quad % 4, self.activations[t], vdupq_n_s8(1), sixteen);
                    }
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn row<const B: usize>(&self, rb: usize, t: usize) -> int32x4_t {
        if B == 8 { vaddq_s32(self.rows[rb][t], vshlq_n_s32::<7>(self.activations[t])) } else { self.rows[rb][t] }
    }
}

/// `sums + codes * activations[4 quad..]`; `quad` is constant where this is inlined into an unrolled loop.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_quad(quad: usize, sums: int32x4_t, codes: int8x16_t, activations: int8x16_t) -> int32x4_t {
    match quad {
        0 => dot_lane::<0>(sums, codes, activations),
        1 => dot_lane::<1>(sums, codes, activations),
        2 => dot_lane::<2>(sums, codes, activations),
        _ => dot_lane::<3>(sums, codes, activations),
    }
}

/// The next code of every byte in its lowest bits.
#[inline]
#[target_feature(enable = "neon")]
fn shift_codes<const B: usize>(bytes: uint8x16_t) -> uint8x16_t {
    match B {
        1 => vshrq_n_u8::<1>(bytes),
        2 => vshrq_n_u8::<2>(bytes),
        _ => vshrq_n_u8::<4>(bytes),
    }
}
