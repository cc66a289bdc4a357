//! `vpmaddubsw` and `vpmaddwd` on the dot layout (own form).
//!
//! A register holds four codes of eight rows; four activations are broadcast to all of them. Up to 4 bits, one instruction multiplies
//! and adds pairs of columns into 16 bits, where a run of lines is summed before another instruction adds the two sums of a row into 32
//! bits. A pair of 8-bit codes would saturate there, so these are split into even and odd columns of 16 bits, whose pairs are added in 32.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;

use parsimon_simd::Avx2;
use parsimon_simd::x86::{load_256, prefetch};

use super::ROWS;
use crate::kernel::avx2::{GroupRows, LANES, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks, scales_at};

/// Registers of 8 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// Bytes of a register.
const HALF_LINE: usize = 32;

/// Four codes of every row of a tile, or as many as their bytes hold.
type Lines = [[u8; HALF_LINE]; BLOCKS];

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// Columns of the longest step: 8-bit codes times 8-bit activations stay below 2^15 a column.
const STEP_MAX: usize = 1 << 15;

/// Lines that 16-bit sums hold: a pair of columns is at most `2 * 128 * (2^b - 1)` in size, and a line adds `8 / b` pairs to a sum. These
/// are 15 lines of one bit (30720), 10 of two (30720) and 4 of four (30720).
const fn run_lines(bits: u32) -> usize {
    let pair_max = 2 * 128 * ((1 << bits) - 1);
    i16::MAX as usize / pair_max / (8 / bits as usize)
}

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx2::try_new().expect("the kernel was picked for this level, so it is there");
    by_blocks!(tokens, out, ROWS, [4, 2, 1], |acts: T, block| {
        // Sixteen registers: sums, codes and what is left of the line for all of them.
        const RB: usize = if T == 1 { BLOCKS } else { 2 };
        // SAFETY: the token proves the features of `body`.
        unsafe {
            match geometry.bits {
                1 => body::<1, T, RB>(geometry, tile, &acts, block),
                2 => body::<2, T, RB>(geometry, tile, &acts, block),
                4 => body::<4, T, RB>(geometry, tile, &acts, block),
                8 => body::<8, T, RB>(geometry, tile, &acts, block),
                bits => unreachable!("packing widens {bits} bits"),
            }
        }
    });
}

/// `T` tokens; `RB` registers of rows at a time.
#[target_feature(enable = "avx2,fma,f16c")]
fn body<const B: u32, const T: usize, const RB: usize>(
    geometry: &Geometry,
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    out: &mut [f32],
) {
    let quads_a_line = 8 / B as usize;
    let step = geometry.step(STEP_MAX);
    let lines: &[Lines] = tile.stream.as_chunks().0.as_chunks().0;
    let activations: [&[[u8; 4]]; T] = acts.map(|act| act.codes.as_chunks().0);
    let mut total = [[_mm256_setzero_ps(); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut starts = [_mm256_setzero_ps(); T];
        for t in 0..T {
            starts[t] = _mm256_set1_ps(0.5 * tile.start(geometry, acts[t].betas[g]));
        }
        let group_scale_idx = scale_idx;
        for part in 0..BLOCKS / RB {
            scale_idx = group_scale_idx;
            let mut sums = [starts; RB];
            let mut k0 = begin;
            while k0 < end {
                let next = end.min(k0 + step);
                let range = k0 / (4 * quads_a_line)..next / (4 * quads_a_line);
                let mut quads: [&[[u8; 4]]; T] = [&[]; T];
                for t in 0..T {
                    quads[t] = &activations[t][range.start * quads_a_line..range.end * quads_a_line];
                }
                prefetch(tile.stream, range.start * size_of::<Lines>() + PREFETCH);
                let integers = if B == 8 {
                    sum_bytes::<T, RB>(&lines[range], part * RB, &quads)
                } else {
                    sum_runs::<B, T, RB>(&lines[range], part * RB, &quads)
                };
                let scales = scales_at(acts, scale_idx.advance());
                for t in 0..T {
                    let scale = _mm256_set1_ps(scales[t]);
                    for rb in 0..RB {
                        sums[rb][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[rb][t]), scale, sums[rb][t]);
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

/// Codes of up to 4 bits times activations, summed over `lines`, for the registers from `first_block`.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_runs<const B: u32, const T: usize, const RB: usize>(
    lines: &[Lines],
    first_block: usize,
    quads: &[&[[u8; 4]]; T],
) -> [[__m256i; T]; RB] {
    let quads_a_line = 8 / B as usize;
    let (mask, ones) = (_mm256_set1_epi8((0xffu8 >> (8 - B)) as i8), _mm256_set1_epi16(1));
    let mut integers = [[_mm256_setzero_si256(); T]; RB];
    let mut begin = 0;
    while begin < lines.len() {
        let end = lines.len().min(begin + const { run_lines(B) });
        let mut acc = [[_mm256_setzero_si256(); T]; RB];
        for line in begin..end {
            let mut line_quads: [&[[u8; 4]]; T] = [&[]; T];
            for t in 0..T {
                line_quads[t] = &quads[t][line * quads_a_line..][..quads_a_line];
            }
            let mut rest = [_mm256_setzero_si256(); RB];
            for rb in 0..RB {
                rest[rb] = load_256(&lines[line][first_block + rb]);
            }
            for quad in 0..quads_a_line {
                let mut codes = [_mm256_setzero_si256(); RB];
                for rb in 0..RB {
                    codes[rb] = _mm256_and_si256(rest[rb], mask);
                    rest[rb] = shift_codes::<B>(rest[rb]);
                }
                for t in 0..T {
                    let four = _mm256_set1_epi32(i32::from_le_bytes(line_quads[t][quad]));
                    for rb in 0..RB {
                        acc[rb][t] = _mm256_add_epi16(acc[rb][t], _mm256_maddubs_epi16(codes[rb], four));
                    }
                }
            }
        }
        for rb in 0..RB {
            for t in 0..T {
                integers[rb][t] = _mm256_add_epi32(integers[rb][t], _mm256_madd_epi16(acc[rb][t], ones));
            }
        }
        begin = end;
    }
    integers
}

/// The next code of every byte in its lowest bits.
#[inline]
#[target_feature(enable = "avx2")]
fn shift_codes<const B: u32>(bytes: __m256i) -> __m256i {
    match B {
        1 => _mm256_srli_epi16::<1>(bytes),
        2 => _mm256_srli_epi16::<2>(bytes),
        _ => _mm256_srli_epi16::<4>(bytes),
    }
}

/// Codes of 8 bits times activations, summed over `lines`, for the registers from `first_block`.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_bytes<const T: usize, const RB: usize>(
    lines: &[Lines],
    first_block: usize,
    quads: &[&[[u8; 4]]; T],
) -> [[__m256i; T]; RB] {
    let low_bytes = _mm256_set1_epi16(0xff);
    let mut integers = [[_mm256_setzero_si256(); T]; RB];
    for line in 0..lines.len() {
        let mut codes = [[_mm256_setzero_si256(); 2]; RB];
        for rb in 0..RB {
            let bytes = load_256(&lines[line][first_block + rb]);
            codes[rb] = [_mm256_and_si256(bytes, low_bytes), _mm256_srli_epi16::<8>(bytes)];
        }
        for t in 0..T {
            let four = _mm256_set1_epi32(i32::from_le_bytes(quads[t][line]));
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
            let odd = _mm256_srai_epi16::<8>(four);
            for rb in 0..RB {
                let products = [_mm256_madd_epi16(codes[rb][0], even), _mm256_madd_epi16(codes[rb][1], odd)];
                integers[rb][t] = _mm256_add_epi32(integers[rb][t], _mm256_add_epi32(products[0], products[1]));
            }
        }
    }
    integers
}
