//! Pairs of `bf16` with `f32` sums: `vdpbf16ps`.

use std::arch::x86_64::*;

use half::bf16;
use parsimon_simd::Avx512Bf16;
use parsimon_simd::x86::{broadcast_pair, load_f32x16, load_pairs, store_f32x16};

use super::avx512::{softmax, store_scores};
use super::{Aligned, Kernel, PANEL, PackBuffers, ROWS, RowBits, SoftmaxTile, TILE, span, union};

/// `bf16` with AVX-512 BF16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Pairs(pub(crate) Avx512Bf16);

#[allow(unsafe_code)]
impl Kernel for Avx512Pairs {
    /// The first number in the low half.
    type Cell = u32;
    const DEPTH: usize = 2;

    fn cell(numbers: [f32; 2]) -> u32 {
        let [low, high] = numbers.map(|x| u32::from(bf16::from_f32(x).to_bits()));
        high << 16 | low
    }

    fn buffers(buffers: &mut PackBuffers) -> &mut [Aligned<u32>; 2] {
        &mut buffers.pairs
    }

    fn probability(scores: &[f32], r: usize, j: usize) -> f32 {
        let pair = scores[r * TILE + j / 2].to_bits();
        f32::from_bits(if j % 2 == 1 { pair & 0xffff_0000 } else { pair << 16 })
    }

    fn scores(&self, rows: usize, depth: usize, (q, keys): (&[u32], &[u32]), bits: RowBits<'_>, out: &mut [f32]) {
        // SAFETY: the token proves AVX-512 BF16.
        unsafe { scores(rows, depth, q, keys, bits, out) }
    }

    fn softmax(&self, tile: SoftmaxTile<'_>) {
        // SAFETY: the token proves AVX-512 BF16.
        unsafe { softmax_pairs(tile) }
    }

    fn values(&self, rows: usize, p: &[f32], v: &[u32], bits: RowBits<'_>, out: &mut [f32]) {
        // SAFETY: the token proves AVX-512 BF16.
        unsafe { values(rows, p, v, bits, out) }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn scores(rows: usize, depth: usize, q: &[u32], keys: &[u32], bits: RowBits<'_>, out: &mut [f32]) {
    for (p, panel) in keys.chunks_exact(depth * PANEL).enumerate() {
        let panel = panel.as_chunks::<16>().0.as_chunks::<2>().0;
        for r0 in (0..rows).step_by(ROWS) {
            if union(bits, r0, ROWS) >> (p * PANEL) as u32 & u64::from(u32::MAX) == 0 {
                continue;
            }
            let q = q[r0 * depth..][..ROWS * depth].as_chunks::<ROWS>().0;
            let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
            for (q, [low, high]) in q.iter().zip(panel) {
                let (low, high) = (load_pairs(low), load_pairs(high));
                for (acc, q) in acc.iter_mut().zip(q) {
                    let q = broadcast_pair(q);
                    acc[0] = _mm512_dpbf16_ps(acc[0], q, low);
                    acc[1] = _mm512_dpbf16_ps(acc[1], q, high);
                }
            }
            store_scores(acc, &mut out[r0 * TILE..][..ROWS * TILE], p);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl,avx512dq")]
fn softmax_pairs(tile: SoftmaxTile<'_>) {
    softmax(tile, |[a, b, c, d]| [round(a, b), round(c, d), c, d]);
}

/// 32 numbers as 16 pairs, kept as the bits of floats.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(low: __m512, high: __m512) -> __m512 {
    // SAFETY: both are 64 bytes without invalid values.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn values(rows: usize, p: &[f32], values: &[u32], bits: RowBits<'_>, out: &mut [f32]) {
    let width = out.len() / TILE;
    for r0 in (0..rows).step_by(4) {
        let keys = span(union(bits, r0, 4));
        let pairs = keys.start / 2..keys.end.div_ceil(2);
        let p: &[[f32; TILE]; 4] =
            p[r0 * TILE..].as_chunks().0.first_chunk().expect("a tile holds whole groups of rows");
        let out = &mut out[r0 * width..][..4 * width];
        let mut c = 0;
        while c < width {
            c += match width - c {
                64.. => value_columns::<4>(p, values, pairs.clone(), out, c),
                48.. => value_columns::<3>(p, values, pairs.clone(), out, c),
                32.. => value_columns::<2>(p, values, pairs.clone(), out, c),
                _ => value_columns::<1>(p, values, pairs.clone(), out, c),
            };
        }
    }
}

/// `16 V` columns from `c` on of four rows; returns how many columns that are.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn value_columns<const V: usize>(
    p: &[[f32; TILE]; 4],
    values: &[u32],
    pairs: std::ops::Range<usize>,
    out: &mut [f32],
    c: usize,
) -> usize {
    let width = out.len() / 4;
    let mut acc = [[_mm512_setzero_ps(); V]; 4];
    for (acc, out) in acc.iter_mut().zip(out.chunks_exact(width)) {
        for (acc, out) in acc.iter_mut().zip(out[c..].as_chunks().0) {
            *acc = load_f32x16(out);
        }
    }
    for j in pairs {
        let row: &[[u32; 16]; V] = values[j * width + c..].as_chunks().0.first_chunk().expect("the columns are there");
        for (acc, p) in acc.iter_mut().zip(p) {
            let p = broadcast_pair(&p[j % TILE].to_bits());
            for (acc, v) in acc.iter_mut().zip(row) {
                *acc = _mm512_dpbf16_ps(*acc, p, load_pairs(v));
            }
        }
    }
    for (acc, out) in acc.iter().zip(out.chunks_exact_mut(width)) {
        for (&acc, out) in acc.iter().zip(out[c..].as_chunks_mut().0) {
            store_f32x16(out, acc);
        }
    }
    16 * V
}
