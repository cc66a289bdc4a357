//! `vpshufb` on the paired layout (PAPER(tmac §3.3), form ours).
//!
//! A 16-byte table is broadcast to both halves of a register, so one shuffle looks up 32 rows. The results of two neighbouring
//! tables are interleaved by row and `vpmaddubsw` with the plane's weight adds each pair into 16 bits: at most `2 * 127 * (2^b - 1)` a
//! pair of tables, so eight pairs (64 columns) of 4 bits stay below 2^15.

use std::arch::x86_64::*;

use parsimon_simd::Avx2;
use parsimon_simd::x86::{broadcast_128, load_256, load_f16x8, load_f32x8, store_f32x8};

use crate::kernel::{Act, Constants, Geometry, Tile, Tokens};
use crate::table::{ENTRIES, LOOKUP};

const ROWS: usize = 32;
const PAIR: usize = 2 * LOOKUP;

/// Columns of the longest step that 16-bit sums hold.
const STEP_MAX: usize = 64;

/// Where the four groups of eight rows stand after unpacking: low and high half of the low unpack, then of the high unpack.
const ROW_OF: [usize; 4] = [0, 16, 8, 24];

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    Avx2::try_new().expect("the kernel was picked for this level, so it is there");
    for (t, out) in out.chunks_exact_mut(ROWS).enumerate() {
        let act = tokens.token(t);
        // SAFETY: the token proves the features of `body`.
        unsafe {
            match geometry.bits {
                1 => body::<1>(geometry, tile, &act, out),
                2 => body::<2>(geometry, tile, &act, out),
                3 => body::<3>(geometry, tile, &act, out),
                4 => body::<4>(geometry, tile, &act, out),
                bits => unreachable!("packing refuses {bits} bits"),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn body<const B: usize>(geometry: &Geometry, tile: &Tile<'_>, act: &Act<'_>, out: &mut [f32]) {
    let step = geometry.step(STEP_MAX);
    let mut planes = tile.stream.as_chunks::<ROWS>().0.chunks_exact(B);
    let mut tables = act.codes.as_chunks::<ENTRIES>().0.chunks_exact(2);
    let mut total = [_mm256_setzero_ps(); 4];
    for (g, &beta) in act.betas.iter().enumerate() {
        let group_end = geometry.k_padded.min((g + 1) * geometry.group);
        let mut sums = [_mm256_set1_ps(tile.start(geometry, beta)); 4];
        for k0 in (g * geometry.group..group_end).step_by(step) {
            let end = group_end.min(k0 + step);
            let mut acc = [_mm256_setzero_si256(); 2];
            for (planes, tables) in planes.by_ref().zip(tables.by_ref()).take((end - k0) / PAIR) {
                lookup_pair::<B>(planes, tables, &mut acc);
            }
            let scale = _mm256_set1_ps(act.scales[k0 / geometry.ags]);
            for (sum, integers) in sums.iter_mut().zip(widen(acc)) {
                *sum = _mm256_fmadd_ps(integers, scale, *sum);
            }
        }
        finish_group(tile, g, beta, &sums, &mut total);
    }
    for (&row, total) in ROW_OF.iter().zip(total) {
        if let Some(out) = out[row..].first_chunk_mut() {
            store_f32x8(out, total);
        }
    }
}

/// Two tables for 32 rows and every plane.
#[inline]
#[target_feature(enable = "avx2")]
fn lookup_pair<const B: usize>(planes: &[[u8; ROWS]], tables: &[[u8; ENTRIES]], acc: &mut [__m256i; 2]) {
    let low_nibbles = _mm256_set1_epi8(0x0f);
    let (low, high) = (broadcast_128(&tables[0]), broadcast_128(&tables[1]));
    // The plane count is a constant, so that the loop unrolls.
    for (p, plane) in planes.iter().take(B).enumerate() {
        let weight = _mm256_set1_epi8(1 << p);
        let bytes = load_256(plane);
        let u = _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, low_nibbles));
        let v = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low_nibbles));
        acc[0] = _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(weight, _mm256_unpacklo_epi8(u, v)));
        acc[1] = _mm256_add_epi16(acc[1], _mm256_maddubs_epi16(weight, _mm256_unpackhi_epi8(u, v)));
    }
}

/// 32 16-bit sums as floats, eight rows a register, in the order of [`ROW_OF`].
#[inline]
#[target_feature(enable = "avx2")]
fn widen(acc: [__m256i; 2]) -> [__m256; 4] {
    let float = |half| _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(half));
    [
        float(_mm256_castsi256_si128(acc[0])),
        float(_mm256_extracti128_si256::<1>(acc[0])),
        float(_mm256_castsi256_si128(acc[1])),
        float(_mm256_extracti128_si256::<1>(acc[1])),
    ]
}

/// Adds a finished group to the output.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish_group(tile: &Tile<'_>, g: usize, beta: f32, sums: &[__m256; 4], total: &mut [__m256; 4]) {
    let rows = g * ROWS..(g + 1) * ROWS;
    let (scales, _) = tile.scales[rows.clone()].as_chunks::<8>();
    let (half, beta) = (_mm256_set1_ps(0.5), _mm256_set1_ps(beta));
    for (i, (sum, total)) in sums.iter().zip(total).enumerate() {
        let at = ROW_OF[i] / 8;
        let scale = _mm256_mul_ps(half, load_f16x8(&scales[at]));
        *total = match tile.constants {
            Constants::Uniform(_) => _mm256_fmadd_ps(scale, *sum, *total),
            Constants::Offsets(offsets) => {
                let bytes = offsets[rows.clone()].as_chunks::<8>().0[at].map(|o| o as u8);
                let offset = _mm256_cvtepi8_epi32(_mm_set_epi64x(0, i64::from_le_bytes(bytes)));
                _mm256_fmadd_ps(scale, _mm256_fmadd_ps(_mm256_cvtepi32_ps(offset), beta, *sum), *total)
            }
            Constants::Real(reals) => {
                let constant = load_f32x8(&reals[rows.clone()].as_chunks::<8>().0[at]);
                _mm256_fmadd_ps(constant, beta, _mm256_fmadd_ps(scale, *sum, *total))
            }
        };
    }
}
