//! `vpshufb` on the paired layout (PAPER(tmac §3.3), form ours).
//!
//! A 16-byte table is broadcast to both halves of a register, so one shuffle looks up 32 rows. The results of two neighbouring
//! tables are interleaved by row and `vpmaddubsw` with the plane's weight adds each pair into 16 bits: at most `2 * 127 * (2^b - 1)` a
//! pair of tables, so eight pairs (64 columns) of 4 bits stay below 2^15. For several tokens
//! the indices of a step are taken out of the weights once and kept in the first cache, where a shuffle reads them at no cost.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;

use parsimon_simd::Avx2;
use parsimon_simd::x86::{broadcast_128, load_256, prefetch, store_256};

use crate::kernel::avx2::{GroupRows, LANES, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks, scales_at};
use crate::table::{ENTRIES, LOOKUP};

const ROWS: usize = 32;
const PAIR: usize = 2 * LOOKUP;

/// Registers of 8 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// Columns of the longest step that 16-bit sums hold.
const STEP_MAX: usize = 64;

/// The indices of a step: two a byte of the planes.
type Indices<const B: usize> = [[[[u8; ROWS]; 2]; B]; STEP_MAX / PAIR];

/// Bytes of a cache line.
const LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// The block of eight rows that each quarter of the unpacked sums is: low and high half of the low unpack, then of the high unpack.
const BLOCK_OF: [usize; BLOCKS] = [0, 2, 1, 3];

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx2::try_new().expect("the kernel was picked for this level, so it is there");
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
#[target_feature(enable = "avx2,fma,f16c")]
fn body<const B: usize, const T: usize>(geometry: &Geometry, tile: &Tile<'_>, acts: &[Act<'_>; T], out: &mut [f32]) {
    let step = geometry.step(STEP_MAX);
    let planes: &[[[u8; ROWS]; B]] = tile.stream.as_chunks().0.as_chunks().0;
    let tables: [&[[[u8; ENTRIES]; 2]]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
    let mut indices: Indices<B> = [[[[0; ROWS]; 2]; B]; STEP_MAX / PAIR];
    let mut total = [[_mm256_setzero_ps(); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut sums = [[_mm256_setzero_ps(); T]; BLOCKS];
        for t in 0..T {
            let start = _mm256_set1_ps(tile.start(geometry, acts[t].betas[g]));
            sums.iter_mut().for_each(|sums| sums[t] = start);
        }
        let mut k0 = begin;
        while k0 < end {
            let next = end.min(k0 + step);
            let pairs = k0 / PAIR..next / PAIR;
            for line in (pairs.start * B * ROWS..pairs.end * B * ROWS).step_by(LINE) {
                prefetch(tile.stream, line + PREFETCH);
            }
            if T > 1 {
                unpack(&planes[pairs.clone()], &mut indices);
            }
            let scales = scales_at(acts, scale_idx.advance());
            for t in 0..T {
                let step_tables = &tables[t][pairs.clone()];
                let integers = if T > 1 {
                    look_up_indices(&indices, step_tables)
                } else {
                    look_up_planes(&planes[pairs.clone()], step_tables)
                };
                let (scale, quarters) = (_mm256_set1_ps(scales[t]), widen(integers));
                for i in 0..BLOCKS {
                    let sum = &mut sums[BLOCK_OF[i]][t];
                    *sum = _mm256_fmadd_ps(quarters[i], scale, *sum);
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

/// Takes the indices of a step out of its planes.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack<const B: usize>(planes: &[[[u8; ROWS]; B]], indices: &mut Indices<B>) {
    for (planes, indices) in planes.iter().zip(indices) {
        for p in 0..B {
            let [low, high] = nibbles(&planes[p]);
            store_256(&mut indices[p][0], low);
            store_256(&mut indices[p][1], high);
        }
    }
}

/// The indices into the first and the second table of a pair.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(plane: &[u8; ROWS]) -> [__m256i; 2] {
    let low_nibbles = _mm256_set1_epi8(0x0f);
    let bytes = load_256(plane);
    [_mm256_and_si256(bytes, low_nibbles), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low_nibbles)]
}

/// The sums of a step of one token for 32 rows, low and high unpack, with the indices from its planes.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up_planes<const B: usize>(planes: &[[[u8; ROWS]; B]], tables: &[[[u8; ENTRIES]; 2]]) -> [__m256i; 2] {
    let mut acc = [_mm256_setzero_si256(); 2];
    for (planes, pair) in planes.iter().zip(tables) {
        let tables = [broadcast_128(&pair[0]), broadcast_128(&pair[1])];
        for p in 0..B {
            look_up(tables, nibbles(&planes[p]), p, &mut acc);
        }
    }
    acc
}

/// The sums of a step of one token for 32 rows, low and high unpack, with indices that several tokens share.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up_indices<const B: usize>(indices: &Indices<B>, tables: &[[[u8; ENTRIES]; 2]]) -> [__m256i; 2] {
    let mut acc = [_mm256_setzero_si256(); 2];
    for (indices, pair) in indices.iter().zip(tables) {
        let tables = [broadcast_128(&pair[0]), broadcast_128(&pair[1])];
        for p in 0..B {
            look_up(tables, [load_256(&indices[p][0]), load_256(&indices[p][1])], p, &mut acc);
        }
    }
    acc
}

/// Adds plane `p` of two tables.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(tables: [__m256i; 2], indices: [__m256i; 2], p: usize, acc: &mut [__m256i; 2]) {
    let weight = _mm256_set1_epi8(1 << p);
    let u = _mm256_shuffle_epi8(tables[0], indices[0]);
    let v = _mm256_shuffle_epi8(tables[1], indices[1]);
    acc[0] = _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(weight, _mm256_unpacklo_epi8(u, v)));
    acc[1] = _mm256_add_epi16(acc[1], _mm256_maddubs_epi16(weight, _mm256_unpackhi_epi8(u, v)));
}

/// 32 16-bit sums as floats, eight rows a register, in the order of [`BLOCK_OF`].
#[inline]
#[target_feature(enable = "avx2")]
fn widen(acc: [__m256i; 2]) -> [__m256; BLOCKS] {
    [
        to_floats(_mm256_castsi256_si128(acc[0])),
        to_floats(_mm256_extracti128_si256::<1>(acc[0])),
        to_floats(_mm256_castsi256_si128(acc[1])),
        to_floats(_mm256_extracti128_si256::<1>(acc[1])),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn to_floats(integers: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(integers))
}
