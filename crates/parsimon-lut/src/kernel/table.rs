//! Tables with AVX-512; the portable bodies stand in [`crate::table`] and [`crate::trit`], and give the same bytes.
//!
//! Sixteen tables of four activations at once: lanes are lookups: the four activations of sixteen lookups are gathered by two-source permutes, the eight sums of the upper half of the
//! tables become sixteen bytes each, the lower half is their mirror, and four rounds of byte unpacks transpose 16 entries x 16 lookups.

use std::arch::x86_64::*;

use parsimon_simd::Avx512;
use parsimon_simd::x86::{load_512, load_f32x16, store_128, store_256};

use crate::table::ENTRIES;
use crate::trit;

/// Activations of one call: sixteen lookups of four.
pub(crate) const BLOCK: usize = 64;

/// The tables of `x * inv`, `[16 lookups][16 entries]`.
pub(crate) fn build_block(_: Avx512, x: &[f32; BLOCK], inv: f32, tables: &mut [[u8; ENTRIES]; 16]) {
    // SAFETY: the token proves the features of `body`.
    unsafe { body(x, inv, tables) }
}

/// `max_j ((|a4j| + |a4j+1|) + (|a4j+2| + |a4j+3|))` of sixteen lookups.
pub(crate) fn largest_entry(_: Avx512, x: &[f32; BLOCK]) -> f32 {
    // SAFETY: the token proves the features of `largest_body`.
    unsafe { largest_body(x) }
}

#[target_feature(enable = "avx512f,avx512dq,avx2")]
fn largest_body(x: &[f32; BLOCK]) -> f32 {
    let [a0, a1, a2, a3] = deinterleave(x).map(|a| _mm512_abs_ps(a));
    _mm512_reduce_max_ps(_mm512_add_ps(_mm512_add_ps(a0, a1), _mm512_add_ps(a2, a3)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
fn body(x: &[f32; BLOCK], inv: f32, tables: &mut [[u8; ENTRIES]; 16]) {
    let inv = _mm512_set1_ps(inv);
    let [b0, b1, b2, b3] = deinterleave(x).map(|a| _mm512_mul_ps(a, inv));
    let (p01, m01) = (_mm512_add_ps(b0, b1), _mm512_sub_ps(b0, b1));
    let (p23, m23) = (_mm512_add_ps(b2, b3), _mm512_sub_ps(b2, b3));
    let zero = _mm512_setzero_ps();
    let s01 = [_mm512_sub_ps(zero, p01), m01, _mm512_sub_ps(zero, m01), p01];
    let mut rows = [_mm_setzero_si128(); ENTRIES];
    for (i, &s01) in s01.iter().enumerate() {
        rows[8 + i] = to_bytes(_mm512_sub_ps(s01, m23));
        rows[12 + i] = to_bytes(_mm512_add_ps(s01, p23));
    }
    for i in 0..ENTRIES / 2 {
        rows[i] = _mm_sub_epi8(_mm_setzero_si128(), rows[15 - i]);
    }
    for (table, row) in tables.iter_mut().zip(transpose(rows)) {
        store_128(table, row);
    }
}

/// `x[4 j + t]` for `t` in 0..4: four registers with lane `j`.
#[inline]
#[target_feature(enable = "avx512f")]
fn deinterleave(x: &[f32; BLOCK]) -> [__m512; 4] {
    let (quarters, _) = x.as_chunks::<16>();
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| load_f32x16(&quarters[i]));
    // Lanes 0-7: elements t = 0 of eight lookups, lanes 8-15: t = 1; then t = 2 and 3.
    let low = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    let high = _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
    let (ab_low, ab_high) = (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b));
    let (cd_low, cd_high) = (_mm512_permutex2var_ps(c, low, d), _mm512_permutex2var_ps(c, high, d));
    [
        _mm512_shuffle_f32x4::<0x44>(ab_low, cd_low),
        _mm512_shuffle_f32x4::<0xee>(ab_low, cd_low),
        _mm512_shuffle_f32x4::<0x44>(ab_high, cd_high),
        _mm512_shuffle_f32x4::<0xee>(ab_high, cd_high),
    ]
}

/// Rounded to nearest even, clamped to -127..=127.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn to_bytes(sums: __m512) -> __m128i {
    let integers = _mm512_cvtps_epi32(sums);
    let clamped = _mm512_max_epi32(_mm512_min_epi32(integers, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
    _mm512_cvtepi32_epi8(clamped)
}

/// Transposes 16 x 16 bytes: each round interleaves row `i` with row `i + 8`, and four rounds are the transposition.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn transpose(mut rows: [__m128i; 16]) -> [__m128i; 16] {
    for _ in 0..4 {
        let mut next = rows;
        for i in 0..8 {
            next[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
            next[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
        }
        rows = next;
    }
    rows
}

/// The tables of fives of 16-bit activations; `last_trits` are the digits of `r - 13` for the lanes `r` (see [`crate::trit`]).
pub(crate) fn fill_ternary(
    _: Avx512,
    fives: &[[i16; trit::FIVE]],
    last_trits: &[[i16; trit::LANES]; 3],
    tables: &mut [[u8; trit::ENTRIES]],
) {
    // SAFETY: the token proves the features of `ternary_body`.
    unsafe { ternary_body(fives, last_trits, tables) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
fn ternary_body(fives: &[[i16; trit::FIVE]], last_trits: &[[i16; trit::LANES]; 3], tables: &mut [[u8; trit::ENTRIES]]) {
    let [d2, d3, d4] = last_trits;
    let (d2, d3, d4) = (load_words(d2), load_words(d3), load_words(d4));
    // Lane 13, the sum of no trits, comes first.
    let from_13 = _mm512_add_epi16(load_words(&std::array::from_fn(|i| i as i16)), _mm512_set1_epi16(13));
    for (&[b0, b1, b2, b3, b4], table) in fives.iter().zip(tables) {
        let last = _mm512_mullo_epi16(d2, _mm512_set1_epi16(b2));
        let last = _mm512_add_epi16(last, _mm512_mullo_epi16(d3, _mm512_set1_epi16(b3)));
        let last = _mm512_add_epi16(last, _mm512_mullo_epi16(d4, _mm512_set1_epi16(b4)));
        // 128 as the bias and 1/2 for rounding.
        let last = _mm512_add_epi16(last, _mm512_set1_epi16(0x8080u16 as i16));
        let first = _mm512_permutexvar_epi16(from_13, last);
        store_at(table, 0, _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(first)));
        let (b0, b1) = (_mm512_set1_epi16(b0), _mm512_set1_epi16(b1));
        let tops = [b1, _mm512_sub_epi16(b0, b1), b0, _mm512_add_epi16(b0, b1)];
        for (top, first) in tops.into_iter().enumerate() {
            let sums = _mm512_add_epi16(last, first);
            store_at(table, 14 + 27 * top, _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(sums)));
        }
        table[trit::SUMS..].fill(128);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(words: &[i16; trit::LANES]) -> __m512i {
    load_512(bytemuck::cast_ref(words))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_at(table: &mut [u8; trit::ENTRIES], at: usize, bytes: __m256i) {
    if let Some(place) = table[at..].first_chunk_mut() {
        store_256(place, bytes);
    }
}
