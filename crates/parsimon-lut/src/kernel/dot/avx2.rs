//! `vpmaddubsw` and `vpmaddwd` on the dot layout (own form).
//!
//! A register holds four codes of eight rows; four activations are broadcast to all of them. Up to 4 bits, one instruction multiplies
//! and adds pairs of columns into 16 bits, where 32 columns are summed before another instruction adds the two sums of a row into 32
//! bits: a pair is at most `2 * 128 * (2^b - 1)` in size and a sum takes eight of them, so 30720 at 4 bits. A pair of 8-bit codes would
//! saturate, so these are split into even and odd columns of 16 bits, whose pairs are added in 32.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;
use std::ops::Range;

use parsimon_simd::Avx2;
use parsimon_simd::x86::{load_256, prefetch};

use super::ROWS;
use crate::activations::K_STEP;
use crate::kernel::avx2::{GroupRows, LANES, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks, scales_at};

/// Registers of 8 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// The bytes of a register for every row of a tile.
type Line = [[u8; 32]; BLOCKS];

/// The activations of 32 columns.
type Quads = [[u8; 4]; K_STEP / 4];

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// Columns of the longest step: 8-bit codes times 8-bit activations stay below 2^15 a column.
const STEP_MAX: usize = 1 << 15;

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx2::try_new().expect("the kernel was picked for this level, so it is there");
    let halves = geometry.group < K_STEP;
    by_blocks!(tokens, out, ROWS, [4, 2, 1], |acts: T, block| {
        // Sixteen registers: sums, codes and what is left of the line for all of them.
        const RB: usize = if T == 1 { BLOCKS } else { 2 };
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
#[target_feature(enable = "avx2,fma,f16c")]
fn body<const B: usize, const T: usize, const RB: usize, const HALVES: bool>(
    geometry: &Geometry,
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    out: &mut [f32],
) {
    let step = geometry.step(STEP_MAX);
    let chunks: &[[Line; B]] = tile.stream.as_chunks().0.as_chunks().0.as_chunks().0;
    let activations: [&[Quads]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
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
                let lines = match (HALVES, k0.is_multiple_of(K_STEP)) {
                    (false, _) => 0..B,
                    (true, true) => 0..B / 2,
                    (true, false) => B / 2..B,
                };
                let first = k0 / K_STEP;
                for line in (0..size_of::<[Line; B]>()).step_by(CACHE_LINE) {
                    prefetch(tile.stream, first * size_of::<[Line; B]>() + line + PREFETCH);
                }
                let mut integers =
                    sum_chunk::<B, T, RB>(&chunks[first], at(&activations, first), lines.clone(), part * RB);
                for chunk in first + 1..next.div_ceil(K_STEP) {
                    let more = sum_chunk::<B, T, RB>(&chunks[chunk], at(&activations, chunk), lines.clone(), part * RB);
                    for rb in 0..RB {
                        for t in 0..T {
                            integers[rb][t] = _mm256_add_epi32(integers[rb][t], more[rb][t]);
                        }
                    }
                }
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

/// The activations of `T` tokens for 32 columns.
#[inline]
fn at<'a, const T: usize>(activations: &[&'a [Quads]; T], chunk: usize) -> [&'a Quads; T] {
    let mut quads = [&[[0; 4]; K_STEP / 4]; T];
    for (quads, activations) in quads.iter_mut().zip(activations) {
        *quads = &activations[chunk];
    }
    quads
}

/// The sums of `lines` of 32 columns, for the registers from `first_block`.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_chunk<const B: usize, const T: usize, const RB: usize>(
    chunk: &[Line; B],
    quads: [&Quads; T],
    lines: Range<usize>,
    first_block: usize,
) -> [[__m256i; T]; RB] {
    if B == 8 { sum_bytes(chunk, quads, lines, first_block) } else { sum_parts(chunk, quads, lines, first_block) }
}

/// Codes of up to 4 bits times activations.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_parts<const B: usize, const T: usize, const RB: usize>(
    chunk: &[Line; B],
    quads: [&Quads; T],
    lines: Range<usize>,
    first_block: usize,
) -> [[__m256i; T]; RB] {
    let mask = _mm256_set1_epi8((0xffu8 >> (8 - B)) as i8);
    let mut sums = [[_mm256_setzero_si256(); T]; RB];
    for line in lines {
        let mut rest = [_mm256_setzero_si256(); RB];
        for rb in 0..RB {
            rest[rb] = load_256(&chunk[line][first_block + rb]);
        }
        for part in 0..8 / B {
            let mut codes = [_mm256_setzero_si256(); RB];
            for rb in 0..RB {
                codes[rb] = _mm256_and_si256(rest[rb], mask);
                rest[rb] = shift_codes::<B>(rest[rb]);
            }
            for t in 0..T {
                let four = _mm256_set1_epi32(i32::from_le_bytes(quads[t][line * (8 / B) + part]));
                for rb in 0..RB {
                    sums[rb][t] = _mm256_add_epi16(sums[rb][t], _mm256_maddubs_epi16(codes[rb], four));
                }
            }
        }
    }
    let ones = _mm256_set1_epi16(1);
    for rb in 0..RB {
        for t in 0..T {
            sums[rb][t] = _mm256_madd_epi16(sums[rb][t], ones);
        }
    }
    sums
}

/// The next code of every byte in its lowest bits.
#[inline]
#[target_feature(enable = "avx2")]
fn shift_codes<const B: usize>(bytes: __m256i) -> __m256i {
    match B {
        1 => _mm256_srli_epi16::<1>(bytes),
        2 => _mm256_srli_epi16::<2>(bytes),
        _ => _mm256_srli_epi16::<4>(bytes),
    }
}

/// Codes of 8 bits times activations.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_bytes<const B: usize, const T: usize, const RB: usize>(
    chunk: &[Line; B],
    quads: [&Quads; T],
    lines: Range<usize>,
    first_block: usize,
) -> [[__m256i; T]; RB] {
    let low_bytes = _mm256_set1_epi16(0xff);
    let mut sums = [[_mm256_setzero_si256(); T]; RB];
    for line in lines {
        let mut codes = [[_mm256_setzero_si256(); 2]; RB];
        for rb in 0..RB {
            let bytes = load_256(&chunk[line][first_block + rb]);
            codes[rb] = [_mm256_and_si256(bytes, low_bytes), _mm256_srli_epi16::<8>(bytes)];
        }
        for t in 0..T {
            let four = _mm256_set1_epi32(i32::from_le_bytes(quads[t][line]));
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
            let odd = _mm256_srai_epi16::<8>(four);
            for rb in 0..RB {
                let products = [_mm256_madd_epi16(codes[rb][0], even), _mm256_madd_epi16(codes[rb][1], odd)];
                sums[rb][t] = _mm256_add_epi32(sums[rb][t], _mm256_add_epi32(products[0], products[1]));
            }
        }
    }
    sums
}
