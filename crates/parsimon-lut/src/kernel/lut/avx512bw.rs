//! `vpshufb` of 64 bytes on the paired layout: the AVX2 body with registers twice as wide, for processors without byte permutes over four
//! tables.
//!
//! Unpacking keeps rows in their 128-bit quarters, so the sums of 64 rows come out as blocks of eight in the order 0, 2, 4, 6, 1, 3, 5, 7.
//! Scales and constants are packed in that order ([`row_place`]); the output is put right at the store.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;

use parsimon_simd::Avx512;
use parsimon_simd::x86::{broadcast_128, load_512, prefetch};

use crate::kernel::avx512::{GroupRows, LANES, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks, scales_at};
use crate::table::{ENTRIES, LOOKUP};

const ROWS: usize = 64;
const PAIR: usize = 2 * LOOKUP;

/// Registers of 16 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// Columns of the longest step: eight pairs of tables of at most `2 * 127 * 15` stay below 2^15.
const STEP_MAX: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// Where the scale of row `r` stands: even blocks of eight rows before odd ones.
pub(crate) fn row_place(r: usize) -> usize {
    let block = r / 8;
    (block % 2 * 4 + block / 2) * 8 + r % 8
}

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx512::try_new().expect("the kernel was picked for this level, so it is there");
    by_blocks!(tokens, out, ROWS, [4, 2, 1], |acts: T, block| {
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
fn body<const B: usize, const T: usize>(geometry: &Geometry, tile: &Tile<'_>, acts: &[Act<'_>; T], out: &mut [f32]) {
    let step = geometry.step(STEP_MAX);
    let planes: &[[[u8; ROWS]; B]] = tile.stream.as_chunks().0.as_chunks().0;
    let tables: [&[[[u8; ENTRIES]; 2]]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
    let mut total = [[_mm512_setzero_ps(); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut sums = [[_mm512_setzero_ps(); T]; BLOCKS];
        for t in 0..T {
            let start = _mm512_set1_ps(tile.start(geometry, acts[t].betas[g]));
            sums.iter_mut().for_each(|sums| sums[t] = start);
        }
        let mut k0 = begin;
        while k0 < end {
            let next = end.min(k0 + step);
            let pairs = k0 / PAIR..next / PAIR;
            let mut step_tables: [&[[[u8; ENTRIES]; 2]]; T] = [&[]; T];
            for t in 0..T {
                step_tables[t] = &tables[t][pairs.clone()];
            }
            for line in pairs.start * B..pairs.end * B {
                prefetch(tile.stream, line * ROWS + PREFETCH);
            }
            let integers = look_up(&planes[pairs], &step_tables);
            let scales = scales_at(acts, scale_idx.advance());
            for t in 0..T {
                let (scale, floats) = (_mm512_set1_ps(scales[t]), widen(integers[t]));
                for block in 0..BLOCKS {
                    sums[block][t] = _mm512_fmadd_ps(floats[block], scale, sums[block][t]);
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
    store(&in_order(&total), out);
}

/// The sums of a step for 64 rows: low and high unpack of every token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn look_up<const B: usize, const T: usize>(
    planes: &[[[u8; ROWS]; B]],
    tables: &[&[[[u8; ENTRIES]; 2]]; T],
) -> [[__m512i; 2]; T] {
    let low_nibbles = _mm512_set1_epi8(0x0f);
    let mut acc = [[_mm512_setzero_si512(); 2]; T];
    for pair in 0..planes.len() {
        for p in 0..B {
            let weight = _mm512_set1_epi8(1 << p);
            let bytes = load_512(&planes[pair][p]);
            let low = _mm512_and_si512(bytes, low_nibbles);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low_nibbles);
            for t in 0..T {
                let [table_low, table_high] = &tables[t][pair];
                let u = _mm512_shuffle_epi8(broadcast(table_low), low);
                let v = _mm512_shuffle_epi8(broadcast(table_high), high);
                let products = [
                    _mm512_maddubs_epi16(weight, _mm512_unpacklo_epi8(u, v)),
                    _mm512_maddubs_epi16(weight, _mm512_unpackhi_epi8(u, v)),
                ];
                acc[t][0] = _mm512_add_epi16(acc[t][0], products[0]);
                acc[t][1] = _mm512_add_epi16(acc[t][1], products[1]);
            }
        }
    }
    acc
}

/// A table in all four quarters of a register.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn broadcast(table: &[u8; ENTRIES]) -> __m512i {
    _mm512_broadcast_i32x4(_mm256_castsi256_si128(broadcast_128(table)))
}

/// 64 16-bit sums as floats, in the order of [`row_place`].
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(acc: [__m512i; 2]) -> [__m512; BLOCKS] {
    [
        to_floats(_mm512_castsi512_si256(acc[0])),
        to_floats(_mm512_extracti64x4_epi64::<1>(acc[0])),
        to_floats(_mm512_castsi512_si256(acc[1])),
        to_floats(_mm512_extracti64x4_epi64::<1>(acc[1])),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn to_floats(integers: __m256i) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(integers))
}

/// The totals with rows where they belong.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order<const T: usize>(total: &[[__m512; T]; BLOCKS]) -> [[__m512; T]; BLOCKS] {
    let mut ordered = *total;
    for t in 0..T {
        for half in 0..2 {
            let (even, odd) = (total[half][t], total[half + 2][t]);
            ordered[2 * half][t] = _mm512_shuffle_f32x4::<0x44>(even, odd);
            ordered[2 * half + 1][t] = _mm512_shuffle_f32x4::<0xee>(even, odd);
        }
    }
    ordered
}
