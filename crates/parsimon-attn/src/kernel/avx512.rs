//! `f32` with 16 lanes and 32 registers.

use std::arch::x86_64::*;

use parsimon_simd::Avx512;
use parsimon_simd::x86::{broadcast_f32, load_f32x16, store_f32x16};

use super::{Aligned, Kernel, PANEL, PackBuffers, ROWS, RowBits, SoftmaxTile, TILE, span, union};

/// `f32` with AVX-512.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512F32(pub(crate) Avx512);

#[allow(unsafe_code)]
impl Kernel for Avx512F32 {
    type Cell = f32;
    const DEPTH: usize = 1;

    fn cell(numbers: [f32; 2]) -> f32 {
        numbers[0]
    }

    fn buffers(buffers: &mut PackBuffers) -> &mut [Aligned<f32>; 2] {
        &mut buffers.floats
    }

    fn pack_keys(&self, cells: &[f32], depth: usize, keys: &mut [f32]) {
        // SAFETY: the token proves AVX-512.
        unsafe { pack_keys(cells, depth, keys) }
    }

    fn probability(scores: &[f32], r: usize, j: usize) -> f32 {
        scores[r * TILE + j]
    }

    fn scores(&self, rows: usize, depth: usize, (q, keys): (&[f32], &[f32]), bits: RowBits<'_>, out: &mut [f32]) {
        // SAFETY: the token proves AVX-512.
        unsafe { scores(rows, depth, q, keys, bits, out) }
    }

    fn softmax(&self, tile: SoftmaxTile<'_>) {
        // SAFETY: the token proves AVX-512.
        unsafe { softmax(tile, |p| p) }
    }

    fn values(&self, rows: usize, p: &[f32], v: &[f32], bits: RowBits<'_>, out: &mut [f32]) {
        // SAFETY: the token proves AVX-512.
        unsafe { values(rows, p, v, bits, out) }
    }
}

#[target_feature(enable = "avx512f")]
fn scores(rows: usize, depth: usize, q: &[f32], keys: &[f32], bits: RowBits<'_>, out: &mut [f32]) {
    for (p, panel) in keys.chunks_exact(depth * PANEL).enumerate() {
        let panel = panel.as_chunks::<16>().0.as_chunks::<2>().0;
        for r0 in (0..rows).step_by(ROWS) {
            if union(bits, r0, ROWS) >> (p * PANEL) as u32 & u64::from(u32::MAX) == 0 {
                continue;
            }
            let q = q[r0 * depth..][..ROWS * depth].as_chunks::<ROWS>().0;
            let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
            for (q, [low, high]) in q.iter().zip(panel) {
                let (low, high) = (load_f32x16(low), load_f32x16(high));
                for (acc, q) in acc.iter_mut().zip(q) {
                    let q = broadcast_f32(q);
                    acc[0] = _mm512_fmadd_ps(q, low, acc[0]);
                    acc[1] = _mm512_fmadd_ps(q, high, acc[1]);
                }
            }
            store_scores(acc, &mut out[r0 * TILE..][..ROWS * TILE], p);
        }
    }
}

/// Writes the sums of 8 rows and 32 keys to panel `p` of their scores.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_scores(acc: [[__m512; 2]; ROWS], scores: &mut [f32], p: usize) {
    for (row, acc) in scores.as_chunks_mut::<16>().0.chunks_exact_mut(TILE / 16).zip(acc) {
        store_f32x16(&mut row[2 * p], acc[0]);
        store_f32x16(&mut row[2 * p + 1], acc[1]);
    }
}

/// One step of the running softmax; `keep` turns probabilities into what the row keeps.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn softmax(tile: SoftmaxTile<'_>, keep: impl Fn([__m512; 4]) -> [__m512; 4]) {
    let SoftmaxTile { rows, scale, bits, scores, max, sum, out, tile_max } = tile;
    let width = out.len() / TILE;
    let scales = _mm512_set1_ps(scale);
    let lowest = _mm512_set1_ps(f32::NEG_INFINITY);
    for (r, row) in scores.as_chunks_mut::<16>().0.as_chunks_mut::<4>().0.iter_mut().enumerate().take(rows) {
        let mut masks = [0xffff; 4];
        if let Some(bits) = bits {
            for (i, mask) in masks.iter_mut().enumerate() {
                *mask = (bits[r] >> (16 * i)) as __mmask16;
            }
        }
        let mut s = [_mm512_setzero_ps(); 4];
        for (s, row) in s.iter_mut().zip(&*row) {
            *s = load_f32x16(row);
        }
        let mut peak = lowest;
        for (&s, &mask) in s.iter().zip(&masks) {
            // The second operand is what NaN gives: a NaN score is left out here and shows in the exponentials.
            peak = _mm512_mask_max_ps(peak, mask, s, peak);
        }
        let seen = _mm512_reduce_max_ps(peak);
        let peak = if seen == f32::NEG_INFINITY { seen } else { seen * scale };
        tile_max[r] = peak;
        let old = max[r];
        let new = if peak > old { peak } else { old };
        let shift = _mm512_set1_ps(if new == f32::NEG_INFINITY { 0.0 } else { new });
        let mut total = _mm512_setzero_ps();
        let mut p = [_mm512_setzero_ps(); 4];
        for ((p, &s), &mask) in p.iter_mut().zip(&s).zip(&masks) {
            let value = exp2(_mm512_fmsub_ps(s, scales, shift));
            *p = _mm512_maskz_mov_ps(mask, value);
            total = _mm512_add_ps(total, *p);
        }
        for (row, p) in row.iter_mut().zip(keep(p)) {
            store_f32x16(row, p);
        }
        if new > old {
            let factor = exp2(_mm512_set1_ps(old - new));
            sum[r] *= _mm512_cvtss_f32(factor);
            for o in out[r * width..][..width].as_chunks_mut::<16>().0 {
                store_f32x16(o, _mm512_mul_ps(load_f32x16(o), factor));
            }
            max[r] = new;
        }
        sum[r] += _mm512_reduce_add_ps(total);
    }
}

/// `2^x` of 16 numbers; 0 below -150, NaN stays NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512) -> __m512 {
    const C: [f32; 7] =
        [1.0, std::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993, 0.000_153_458_12];
    // The second operand is what NaN gives; infinity minus infinity must not come up below.
    let x = _mm512_max_ps(_mm512_set1_ps(-200.0), x);
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let f = _mm512_sub_ps(x, n);
    let mut p = _mm512_set1_ps(C[6]);
    for &c in C[..6].iter().rev() {
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
    }
    _mm512_scalef_ps(p, n)
}

#[target_feature(enable = "avx512f")]
fn values(rows: usize, p: &[f32], values: &[f32], bits: RowBits<'_>, out: &mut [f32]) {
    let width = out.len() / TILE;
    for r0 in (0..rows).step_by(4) {
        let keys = span(union(bits, r0, 4));
        let p: &[[f32; TILE]; 4] =
            p[r0 * TILE..].as_chunks().0.first_chunk().expect("a tile holds whole groups of rows");
        let out = &mut out[r0 * width..][..4 * width];
        let mut c = 0;
        while c < width {
            c += match width - c {
                64.. => value_columns::<4>(p, values, keys.clone(), out, c),
                48.. => value_columns::<3>(p, values, keys.clone(), out, c),
                32.. => value_columns::<2>(p, values, keys.clone(), out, c),
                _ => value_columns::<1>(p, values, keys.clone(), out, c),
            };
        }
    }
}

/// `16 V` columns from `c` on of four rows; returns how many columns that are.
#[inline]
#[target_feature(enable = "avx512f")]
fn value_columns<const V: usize>(
    p: &[[f32; TILE]; 4],
    values: &[f32],
    keys: std::ops::Range<usize>,
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
    for j in keys {
        let row: &[[f32; 16]; V] = values[j * width + c..].as_chunks().0.first_chunk().expect("the columns are there");
        let mut v = [_mm512_setzero_ps(); V];
        for (v, row) in v.iter_mut().zip(row) {
            *v = load_f32x16(row);
        }
        for (acc, p) in acc.iter_mut().zip(p) {
            let p = broadcast_f32(&p[j % TILE]);
            for (acc, &v) in acc.iter_mut().zip(&v) {
                *acc = _mm512_fmadd_ps(p, v, *acc);
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

/// Squares of 16 keys and 16 numbers are transposed in registers.
#[target_feature(enable = "avx512f")]
fn pack_keys(cells: &[f32], depth: usize, keys: &mut [f32]) {
    for (panel, rows) in keys.chunks_exact_mut(depth * PANEL).zip(cells.chunks_exact(PANEL * depth)) {
        let panel = panel.as_chunks_mut::<16>().0;
        for (half, rows) in rows.chunks_exact(16 * depth).enumerate() {
            for i in (0..depth / 16 * 16).step_by(16) {
                let mut square = [_mm512_setzero_ps(); 16];
                for (line, row) in square.iter_mut().zip(rows.chunks_exact(depth)) {
                    *line = load_f32x16(row[i..].first_chunk().expect("16 numbers are left"));
                }
                for (c, line) in transpose(square).into_iter().enumerate() {
                    store_f32x16(&mut panel[2 * (i + c) + half], line);
                }
            }
            for i in depth / 16 * 16..depth {
                let column = &mut panel[2 * i + half];
                column.iter_mut().zip(rows.chunks_exact(depth)).for_each(|(key, row)| *key = row[i]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(a: [__m512; 16]) -> [__m512; 16] {
    let mut b = a;
    for i in (0..16).step_by(2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    // Now four columns of four rows lie in every 128-bit lane.
    let mut c = b;
    for i in (0..16).step_by(4) {
        c[i] = _mm512_shuffle_ps::<0x44>(b[i], b[i + 2]);
        c[i + 1] = _mm512_shuffle_ps::<0xee>(b[i], b[i + 2]);
        c[i + 2] = _mm512_shuffle_ps::<0x44>(b[i + 1], b[i + 3]);
        c[i + 3] = _mm512_shuffle_ps::<0xee>(b[i + 1], b[i + 3]);
    }
    // Lanes of rows 0 to 3 and 4 to 7, of 8 to 11 and 12 to 15, then of both halves.
    let mut out = c;
    for i in 0..4 {
        let low = _mm512_shuffle_f32x4::<0x88>(c[i], c[i + 4]);
        let high = _mm512_shuffle_f32x4::<0xdd>(c[i], c[i + 4]);
        let low2 = _mm512_shuffle_f32x4::<0x88>(c[i + 8], c[i + 12]);
        let high2 = _mm512_shuffle_f32x4::<0xdd>(c[i + 8], c[i + 12]);
        out[i] = _mm512_shuffle_f32x4::<0x88>(low, low2);
        out[i + 4] = _mm512_shuffle_f32x4::<0x88>(high, high2);
        out[i + 8] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
        out[i + 12] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
    }
    out
}
