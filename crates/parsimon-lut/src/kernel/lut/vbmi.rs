//! `vpermb` and `vpdpbusd` on the quad layout (own design).
//!
//! A register holds the tables of four consecutive lookups; the index byte is `slot << 4 | nibble` with the slot its position mod 4. One
//! permute looks up 16 rows in four tables, and one dot product with the plane's weight widens, weighs and adds the four results of each
//! row into its 32-bit lane. Per 64 bytes (512 one-bit weights): one load, two index operations and a shift, and for every token two permutes
//! and two dot products. The table is the permute's operand in memory, so that 16 sums, two indices and the constants stay in registers.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;

use parsimon_simd::Avx512Vbmi;
use parsimon_simd::x86::{load_512, permute_bytes_of, prefetch};

use crate::activations::K_STEP;
use crate::kernel::avx512::{GroupRows, LANES, scales_at, store};
use crate::kernel::{Act, Geometry, ScaleIdx, Tile, Tokens, by_blocks};

const ROWS: usize = 64;

/// Registers of 16 rows in a tile.
const BLOCKS: usize = ROWS / LANES;

/// Bytes of a register.
const LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// Columns of the longest step: with 4 bits an integer grows by at most `4 * 127 * 15` in 16 columns.
const STEP_MAX: usize = 1 << 16;

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx512Vbmi::try_new().expect("the kernel was picked for this level, so it is there");
    let halves = geometry.group < K_STEP;
    by_blocks!(tokens, out, ROWS, [8, 4, 2, 1], |acts: T, block| {
        // One token needs many sums in flight; several tokens have them anyway and share the indices of two registers of rows.
        const RB: usize = if T == 1 { BLOCKS } else { 2 };
        const CHAINS: usize = if T == 1 { 2 } else { 1 };
        // SAFETY: the token proves the features of `body`.
        unsafe {
            match (geometry.bits, halves) {
                (1, false) => body::<1, T, RB, CHAINS, false>(geometry, tile, &acts, block),
                (2, false) => body::<2, T, RB, CHAINS, false>(geometry, tile, &acts, block),
                (3, false) => body::<3, T, RB, CHAINS, false>(geometry, tile, &acts, block),
                (4, false) => body::<4, T, RB, CHAINS, false>(geometry, tile, &acts, block),
                (1, true) => body::<1, T, RB, CHAINS, true>(geometry, tile, &acts, block),
                (2, true) => body::<2, T, RB, CHAINS, true>(geometry, tile, &acts, block),
                (3, true) => body::<3, T, RB, CHAINS, true>(geometry, tile, &acts, block),
                (4, true) => body::<4, T, RB, CHAINS, true>(geometry, tile, &acts, block),
                (bits, _) => unreachable!("packing refuses {bits} bits"),
            }
        }
    });
}

/// `T` tokens; `RB` registers of rows at a time; `CHAINS` = 2 keeps the first and the second 16 columns of every 32 in sums of their own;
/// `HALVES` for weight groups of 16 columns, which take one half of every index byte at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni,avx2")]
fn body<const B: usize, const T: usize, const RB: usize, const CHAINS: usize, const HALVES: bool>(
    geometry: &Geometry,
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    out: &mut [f32],
) {
    let step = geometry.step(STEP_MAX);
    let lines: &[[u8; LINE]] = tile.stream.as_chunks().0;
    let tables: [&[[[u8; LINE]; 2]]; T] = acts.map(|act| act.codes.as_chunks().0.as_chunks().0);
    let mut total = [[_mm512_setzero_ps(); T]; BLOCKS];
    let mut scale_idx = ScaleIdx::new(geometry, step);
    for g in 0..acts[0].betas.len() {
        let begin = g * geometry.group;
        let end = geometry.k_padded.min(begin + geometry.group);
        let mut starts = [_mm512_setzero_ps(); T];
        for t in 0..T {
            starts[t] = _mm512_set1_ps(tile.start(geometry, acts[t].betas[g]));
        }
        for part in 0..BLOCKS / RB {
            let mut sums = [starts; RB];
            let mut part_scale_idx = scale_idx;
            let mut k0 = begin;
            while k0 < end {
                let next = end.min(k0 + step);
                let (first, second) =
                    if HALVES { (k0.is_multiple_of(K_STEP), !k0.is_multiple_of(K_STEP)) } else { (true, true) };
                let mut acc = [[[_mm512_setzero_si512(); CHAINS]; T]; RB];
                for chunk in k0 / K_STEP..next.div_ceil(K_STEP) {
                    let chunk_lines: &[[[u8; LINE]; BLOCKS]; B] = lines[chunk * B * BLOCKS..][..B * BLOCKS]
                        .as_chunks()
                        .0
                        .first_chunk()
                        .expect("a step of 32 columns has a line for every plane and block");
                    let mut chunk_tables = [&[[0; LINE]; 2]; T];
                    for t in 0..T {
                        chunk_tables[t] = &tables[t][chunk];
                    }
                    for p in 0..B {
                        let weight = _mm512_set1_epi8(1 << p);
                        for rb in 0..RB {
                            let [low, high] = indices(&chunk_lines[p][part * RB + rb]);
                            prefetch(tile.stream, ((chunk * B + p) * BLOCKS + part * RB + rb) * LINE + PREFETCH);
                            for t in 0..T {
                                if first {
                                    let looked_up = permute_bytes_of(&chunk_tables[t][0], low);
                                    acc[rb][t][0] = _mm512_dpbusd_epi32(acc[rb][t][0], weight, looked_up);
                                }
                                if second {
                                    let looked_up = permute_bytes_of(&chunk_tables[t][1], high);
                                    acc[rb][t][CHAINS - 1] =
                                        _mm512_dpbusd_epi32(acc[rb][t][CHAINS - 1], weight, looked_up);
                                }
                            }
                        }
                    }
                }
                let idx = part_scale_idx.advance();
                flush(&acc, &scales_at(acts, idx), &mut sums);
                k0 = next;
            }
            if part == BLOCKS / RB - 1 {
                scale_idx = part_scale_idx;
            }
            finish_group(tile, acts, g, part * RB, &sums, &mut total);
        }
    }
    store(&total, out);
}

/// The indices of the first and the second 16 columns: `(bytes & 15) | slot << 4`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn indices(line: &[u8; LINE]) -> [__m512i; 2] {
    let slots = _mm512_set1_epi32(0x3020_1000);
    let low_nibbles = _mm512_set1_epi8(0x0f);
    let bytes = load_512(line);
    let shifted = _mm512_srli_epi16::<4>(bytes);
    [
        _mm512_ternarylogic_epi32::<0xEA>(bytes, low_nibbles, slots),
        _mm512_ternarylogic_epi32::<0xEA>(shifted, low_nibbles, slots),
    ]
}

/// `sums += integers * scale`.
#[inline]
#[target_feature(enable = "avx512f")]
fn flush<const T: usize, const RB: usize, const CHAINS: usize>(
    acc: &[[[__m512i; CHAINS]; T]; RB],
    scales: &[f32; T],
    sums: &mut [[__m512; T]; RB],
) {
    for rb in 0..RB {
        for t in 0..T {
            let chains = acc[rb][t];
            let integers = if CHAINS == 2 { _mm512_add_epi32(chains[0], chains[1]) } else { chains[0] };
            sums[rb][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), _mm512_set1_ps(scales[t]), sums[rb][t]);
        }
    }
}

/// Adds the sums of a group of columns and `RB` registers of rows to the totals.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn finish_group<const T: usize, const RB: usize>(
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    g: usize,
    first_block: usize,
    sums: &[[__m512; T]; RB],
    total: &mut [[__m512; T]; BLOCKS],
) {
    for rb in 0..RB {
        let rows = GroupRows::load(tile, g, ROWS, first_block + rb, 0.5);
        for t in 0..T {
            let total = &mut total[first_block + rb][t];
            *total = rows.finish(sums[rb][t], acts[t].betas[g], *total);
        }
    }
}
