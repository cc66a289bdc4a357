//! `vpdpbusd` on the dot layout (PAPER(tmac §3.7), own form).
//!
//! A register holds four codes of sixteen rows; four activations are broadcast to all of them. The codes of a byte are shifted and masked out
//! once for all tokens.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;

use parsimon_simd::Avx512Vnni;
use parsimon_simd::x86::{broadcast_32, load_512, prefetch};

use super::ROWS;
use crate::activations::K_STEP;
use crate::kernel::avx512::{GroupRows, LANES, scales_at, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks};

/// Registers of 16 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// Bytes of a register.
const LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// Columns of the longest step: 8-bit codes times 8-bit activations stay below 2^15 a column.
const STEP_MAX: usize = 1 << 15;

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx512Vnni::try_new().expect("the kernel was picked for this level, so it is there");
    by_blocks!(tokens, out, ROWS, [8, 4, 2, 1], |acts: T, block| {
        // Two registers of rows times one token are too few sums in flight.
        const CHAINS: usize = if T < 4 { 4 } else { 1 };
        // SAFETY: the token proves the features of `body`.
        unsafe {
            match (geometry.bits, geometry.group < K_STEP) {
                (1, _) => body::<1, T, CHAINS, 8>(geometry, tile, &acts, block),
                (2, false) => body::<2, T, CHAINS, 8>(geometry, tile, &acts, block),
                (4, false) => body::<4, T, CHAINS, 8>(geometry, tile, &acts, block),
                (8, false) => body::<8, T, CHAINS, 8>(geometry, tile, &acts, block),
                (2, true) => body::<2, T, CHAINS, 4>(geometry, tile, &acts, block),
                (4, true) => body::<4, T, CHAINS, 4>(geometry, tile, &acts, block),
                (8, true) => body::<8, T, CHAINS, 4>(geometry, tile, &acts, block),
                (bits, _) => unreachable!("packing widens {bits} bits"),
            }
        }
    });
}

/// `T` tokens, `CHAINS` sums in flight for each, `4 QUADS` columns between two looks at where the activations are.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn body<const B: u32, const T: usize, const CHAINS: usize, const QUADS: usize>(
    geometry: &Geometry,
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    out: &mut [f32],
) {
    // A register of one-bit codes covers 32 columns, one of 8-bit codes four.
    let quads_a_line = 8 / B as usize;
    let step = geometry.step(STEP_MAX);
    let mask = _mm512_set1_epi8((0xffu8 >> (8 - B)) as i8);
    let lines: &[[[u8; LINE]; BLOCKS]] = tile.stream.as_chunks().0.as_chunks().0;
    let activations: [&[[[u8; 4]; QUADS]]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
    let mut total = [[_mm512_setzero_ps(); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut sums = [[_mm512_setzero_ps(); T]; BLOCKS];
        for t in 0..T {
            let start = _mm512_set1_ps(0.5 * tile.start(geometry, acts[t].betas[g]));
            sums.iter_mut().for_each(|sums| sums[t] = start);
        }
        let mut k0 = begin;
        while k0 < end {
            let next = end.min(k0 + step);
            let mut acc = [[[_mm512_setzero_si512(); CHAINS]; T]; BLOCKS];
            for chunk in k0 / (4 * QUADS)..next / (4 * QUADS) {
                let mut quads = [&[[0; 4]; QUADS]; T];
                for t in 0..T {
                    quads[t] = &activations[t][chunk];
                }
                for line in 0..QUADS / quads_a_line {
                    let at = chunk * (QUADS / quads_a_line) + line;
                    let mut rest = [_mm512_setzero_si512(); BLOCKS];
                    for rb in 0..BLOCKS {
                        rest[rb] = load_512(&lines[at][rb]);
                        prefetch(tile.stream, (at * BLOCKS + rb) * LINE + PREFETCH);
                    }
                    for part in 0..quads_a_line {
                        let mut codes = rest;
                        if B < 8 {
                            for rb in 0..BLOCKS {
                                codes[rb] = _mm512_and_si512(rest[rb], mask);
                                rest[rb] = _mm512_srli_epi16::<B>(rest[rb]);
                            }
                        }
                        for t in 0..T {
                            let four = broadcast_32(&quads[t][line * quads_a_line + part]);
                            for rb in 0..BLOCKS {
                                let chain = &mut acc[rb][t][part % CHAINS];
                                *chain = _mm512_dpbusd_epi32(*chain, codes[rb], four);
                            }
                        }
                    }
                }
            }
            let idx = scale_idx.advance();
            flush(&acc, &scales_at(acts, idx), &mut sums);
            k0 = next;
        }
        for rb in 0..BLOCKS {
            let rows = GroupRows::load(tile, g, ROWS, rb, 1.0);
            for t in 0..T {
                total[rb][t] = rows.finish(sums[rb][t], acts[t].betas[g], total[rb][t]);
            }
        }
    }
    store(&total, out);
}

/// `sums += integers * scale`.
#[inline]
#[target_feature(enable = "avx512f")]
fn flush<const T: usize, const CHAINS: usize>(
    acc: &[[[__m512i; CHAINS]; T]; BLOCKS],
    scales: &[f32; T],
    sums: &mut [[__m512; T]; BLOCKS],
) {
    for rb in 0..BLOCKS {
        for t in 0..T {
            let mut integers = acc[rb][t][0];
            for chain in 1..CHAINS {
                integers = _mm512_add_epi32(integers, acc[rb][t][chain]);
            }
            sums[rb][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), _mm512_set1_ps(scales[t]), sums[rb][t]);
        }
    }
}
