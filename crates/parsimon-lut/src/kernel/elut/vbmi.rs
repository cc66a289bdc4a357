//! `vpermt2b` over the 128 entries of a five (own design).
//!
//! The permute ignores bit 7, so the byte of a weight is its index. Entries are biased by 128, so that a masked subtraction from 0 negates one
//! modulo 256, and sums are unsigned: `even` adds 16-bit lanes as they are (the even byte, plus 256 times the odd one modulo 2^16), `odd` adds
//! them shifted right. At a flush `even - (odd << 8)` is the sum of the even bytes.

use std::arch::x86_64::*;

use parsimon_simd::Avx512Vbmi;
use parsimon_simd::x86::{load_512, prefetch, store_f32x16};

use super::{ENTRIES, ROWS, Run, runs};
use crate::kernel::avx512::{GroupRows, LANES};
use crate::kernel::{Act, Geometry, Tile, Tokens, by_blocks};

/// Bytes of a register: rows of a quarter of the tile.
const LINE: usize = 64;

/// Registers of a tile.
const LINES: usize = ROWS / LINE;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

/// Float sums of a line: even rows 0-31 and 32-63, odd rows 0-31 and 32-63, sixteen each.
type Sums = [__m512; LINE / LANES];

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx512Vbmi::try_new().expect("the kernel was picked for this level, so it is there");
    by_blocks!(tokens, out, ROWS, [4, 2, 1], |acts: T, block| {
        const LN: usize = if T == 1 { LINES } else { 2 };
        // SAFETY: the token proves the features of `body`.
        unsafe { body::<T, LN>(geometry, tile, &acts, block) }
    });
}

/// `T` tokens, `LN` lines at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx2")]
fn body<const T: usize, const LN: usize>(geometry: &Geometry, tile: &Tile<'_>, acts: &[Act<'_>; T], out: &mut [f32]) {
    let mut total = [[[_mm512_setzero_ps(); LINE / LANES]; T]; LINES];
    let mut sums = total;
    for run in runs(geometry) {
        for part in 0..LINES / LN {
            let acc = add_run::<T, LN>(tile, acts, &run, part);
            for (acc, sums) in acc.iter().zip(&mut sums[part * LN..]) {
                for t in 0..T {
                    flush(&run, acc[t], acts[t].scales[run.scale], &mut sums[t]);
                }
            }
        }
        if run.ends_group {
            for (i, (sums, total)) in sums.iter_mut().zip(&mut total).enumerate() {
                for j in 0..LINE / LANES {
                    let rows = GroupRows::load(tile, run.group, ROWS, i * LINE / LANES + j, 1.0);
                    for (sums, total) in sums.iter_mut().zip(total.iter_mut()) {
                        total[j] = rows.finish(sums[j], 0.0, total[j]);
                        sums[j] = _mm512_setzero_ps();
                    }
                }
            }
        }
    }
    for (t, out) in out.chunks_exact_mut(ROWS).enumerate() {
        for (total, out) in total.iter().zip(out.as_chunks_mut::<LINE>().0) {
            store_rows(&total[t], out);
        }
    }
}

/// The unsigned sums of one run: even and odd bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx2")]
fn add_run<const T: usize, const LN: usize>(
    tile: &Tile<'_>,
    acts: &[Act<'_>; T],
    run: &Run,
    part: usize,
) -> [[[__m512i; 2]; T]; LN] {
    let zero = _mm512_setzero_si512();
    let mut acc = [[[zero; 2]; T]; LN];
    // Once a run, so the calls that `map` makes do not matter.
    let tables =
        acts.map(|act| &act.codes.as_chunks::<LINE>().0.as_chunks::<{ ENTRIES / LINE }>().0[run.begin..run.end]);
    let lines = &tile.stream.as_chunks::<LINE>().0.as_chunks::<LINES>().0[run.begin..run.end];
    for (five, lines) in lines.iter().enumerate() {
        let lines: &[[u8; LINE]; LN] = &lines.as_chunks().0[part];
        for (i, acc) in acc.iter_mut().enumerate() {
            let bytes = load_512(&lines[i]);
            prefetch(tile.stream, ((run.begin + five) * LINES + part * LN + i) * LINE + PREFETCH);
            let negative = _mm512_movepi8_mask(bytes);
            for (acc, tables) in acc.iter_mut().zip(&tables) {
                let [low, high] = tables[five];
                let entries = _mm512_permutex2var_epi8(load_512(&low), bytes, load_512(&high));
                let signed = _mm512_mask_sub_epi8(entries, negative, zero, entries);
                acc[0] = _mm512_add_epi16(acc[0], signed);
                acc[1] = _mm512_add_epi16(acc[1], _mm512_srli_epi16::<8>(signed));
            }
        }
    }
    acc
}

/// `sums += integers * scale`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn flush(run: &Run, [even, odd]: [__m512i; 2], scale: f32, sums: &mut Sums) {
    let bias = _mm512_set1_epi16((128 * (run.end - run.begin)) as i16);
    let scale = _mm512_set1_ps(scale);
    let even = _mm512_sub_epi16(_mm512_sub_epi16(even, _mm512_slli_epi16::<8>(odd)), bias);
    let odd = _mm512_sub_epi16(odd, bias);
    for (half, integers) in [even, odd].into_iter().enumerate() {
        let low = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(integers));
        let high = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(integers));
        for (i, integers) in [low, high].into_iter().enumerate() {
            let sum = &mut sums[2 * half + i];
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), scale, *sum);
        }
    }
}

/// Brings even and odd rows together.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_rows(total: &Sums, out: &mut [f32; LINE]) {
    let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let [even_low, even_high, odd_low, odd_high] = *total;
    let rows = [
        (even_low, first, odd_low),
        (even_low, second, odd_low),
        (even_high, first, odd_high),
        (even_high, second, odd_high),
    ];
    for ((even, order, odd), out) in rows.into_iter().zip(out.as_chunks_mut().0) {
        store_f32x16(out, _mm512_permutex2var_ps(even, order, odd));
    }
}

/// Where the scale of row `r` of a tile stands: in the order of [`Sums`].
pub(in crate::kernel) fn row_place(r: usize) -> usize {
    let (line, row) = (r / LINE, r % LINE);
    line * LINE + row % 2 * (LINE / 2) + row / 2
}
