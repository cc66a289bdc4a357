//! `vpermi2b` over the 256 entries of a table, `vpdpbusd` over the bytes.
//!
//! The permute with merging reads its indices from the register that it overwrites. The first looks the upper half of a table up where bit 7 of a
//! code is set and leaves the code elsewhere; the second does the lower half there, so no blend is needed.

use std::arch::x86_64::*;
use std::ops::Range;

use parsimon_simd::Avx512Vbmi;
use parsimon_simd::x86::{load_512, prefetch};

use super::{COLUMNS, ENTRIES, Matrix, Quantized};

/// How far ahead codes are asked for, in bytes.
const PREFETCH: usize = 8192;

/// A table in registers.
type Table = [__m512i; ENTRIES / COLUMNS];

pub(super) fn add(
    _proof: Avx512Vbmi,
    matrix: &Matrix<'_>,
    tokens: &[Quantized],
    blocks: Range<usize>,
    out: &mut [f32],
) {
    let n = tokens.len();
    assert_eq!(out.len(), blocks.len() * matrix.v * n, "one row of outputs a row");
    let mut first = 0;
    while first < n {
        // SAFETY: `_proof` is there only where the features of `rows` are.
        first += unsafe {
            match n - first {
                8.. => rows::<8>(matrix, &tokens[first..], blocks.clone(), out, (first, n)),
                4.. => rows::<4>(matrix, &tokens[first..], blocks.clone(), out, (first, n)),
                2.. => rows::<2>(matrix, &tokens[first..], blocks.clone(), out, (first, n)),
                _ => rows::<1>(matrix, &tokens[first..], blocks.clone(), out, (first, n)),
            }
        };
    }
}

/// The first `N` tokens; returns `N`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,avx2")]
fn rows<const N: usize>(
    matrix: &Matrix<'_>,
    tokens: &[Quantized],
    blocks: Range<usize>,
    out: &mut [f32],
    (first, n): (usize, usize),
) -> usize {
    let v = matrix.v;
    let tokens: [&Quantized; N] = std::array::from_fn(|i| &tokens[i]);
    let has_residual = matrix.codes.has_residual;
    // Tables of as many output dimensions as registers hold.
    let at_once = match (N, has_residual) {
        (1, false) => 4,
        (1, true) => 2,
        _ => 1,
    };
    for (r, block) in blocks.enumerate() {
        let mut t = 0;
        while t < v {
            let out = &mut out[(r * v + t) * n..];
            let at = (first, n);
            t += match (at_once.min(v - t), has_residual) {
                (4, _) => dims::<N, 4, false>(matrix, &tokens, block, t, out, at),
                (2.., true) => dims::<N, 2, true>(matrix, &tokens, block, t, out, at),
                (2.., false) => dims::<N, 2, false>(matrix, &tokens, block, t, out, at),
                (_, true) => dims::<N, 1, true>(matrix, &tokens, block, t, out, at),
                (_, false) => dims::<N, 1, false>(matrix, &tokens, block, t, out, at),
            };
        }
    }
    N
}

/// `T` output dimensions of a row block from `t` on; returns `T`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,avx2")]
fn dims<const N: usize, const T: usize, const RES: bool>(
    matrix: &Matrix<'_>,
    tokens: &[&Quantized; N],
    block: usize,
    t: usize,
    out: &mut [f32],
    (first, n): (usize, usize),
) -> usize {
    let planes = 1 + usize::from(RES);
    let stride = matrix.segments.padded() * planes;
    let (lines, _) = matrix.codes.bytes[block * stride..][..stride].as_chunks::<COLUMNS>();
    let xs: [&[[u8; COLUMNS]]; N] = std::array::from_fn(|i| tokens[i].x.as_chunks::<COLUMNS>().0);
    let ahead = if t == 0 { Some(block * stride + PREFETCH) } else { None };
    let mut y = [[0.0f32; N]; T];
    let mut piece = 0;
    for (g, tables) in matrix.tables.iter().enumerate() {
        let mains: [Table; T] = std::array::from_fn(|i| load_table(&tables.main[t + i]));
        let residuals: [Table; T] =
            std::array::from_fn(|i| if RES { load_table(&tables.residual[t + i]) } else { mains[i] });
        let mut sums = [[_mm512_setzero_ps(); N]; T];
        while let Some((registers, _)) = matrix.segments.pieces.get(piece).filter(|(_, of)| *of == g) {
            let mut acc = [[_mm512_setzero_si512(); N]; T];
            let codes = &lines[registers.start * planes..registers.end * planes];
            for (i, codes) in codes.chunks_exact(planes).enumerate() {
                let register = registers.start + i;
                if let Some(ahead) = ahead {
                    for plane in 0..planes {
                        prefetch(&matrix.codes.bytes, ahead + (register * planes + plane) * COLUMNS);
                    }
                }
                let main = load_512(&codes[0]);
                let main_high = _mm512_movepi8_mask(main);
                let (residual, residual_high) = if RES {
                    let residual = load_512(&codes[1]);
                    (residual, _mm512_movepi8_mask(residual))
                } else {
                    (main, main_high)
                };
                let x: [__m512i; N] = std::array::from_fn(|i| load_512(&xs[i][register]));
                for j in 0..T {
                    let mut bytes = look_up(&mains[j], main, main_high);
                    if RES {
                        bytes = _mm512_add_epi8(bytes, look_up(&residuals[j], residual, residual_high));
                    }
                    for (acc, x) in acc[j].iter_mut().zip(x) {
                        *acc = _mm512_dpbusd_epi32(*acc, bytes, x);
                    }
                }
            }
            for i in 0..N {
                let scale = _mm512_set1_ps(tokens[i].scales[piece]);
                for j in 0..T {
                    sums[j][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[j][i]), scale, sums[j][i]);
                }
            }
            piece += 1;
        }
        for (j, y) in y.iter_mut().enumerate() {
            for (i, y) in y.iter_mut().enumerate() {
                *y += tables.delta[t + j] * _mm512_reduce_add_ps(sums[j][i]) + tables.lo[t + j] * tokens[i].sums[g];
            }
        }
    }
    for (j, y) in y.iter().enumerate() {
        for (i, y) in y.iter().enumerate() {
            out[j * n + first + i] += y;
        }
    }
    T
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_table(table: &[u8; ENTRIES]) -> Table {
    let (quarters, _) = table.as_chunks::<COLUMNS>();
    std::array::from_fn(|i| load_512(&quarters[i]))
}

/// `table[code]` of 64 codes, whose bits 7 are `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up(table: &Table, codes: __m512i, high: __mmask64) -> __m512i {
    let upper = _mm512_mask2_permutex2var_epi8(table[2], codes, high, table[3]);
    _mm512_mask2_permutex2var_epi8(table[0], upper, !high, table[1])
}
