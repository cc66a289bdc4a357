//! Loops that the compiler vectorizes for any instruction set.

use parsimon_simd::math::exp2;
use parsimon_simd::{Level, Vectorize, vectorize};

use super::{Aligned, Kernel, PANEL, PackBuffers, ROWS, RowBits, SoftmaxTile, TILE, span, union};
use crate::softmax::{exponentiate, max, mul_add};

/// Numbers of an inner sum: two registers of AVX2 or four of NEON.
const WIDTH: usize = 16;

/// Rows of an inner step.
const STEP: usize = 4;

/// `f32` at any level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable(pub(crate) Level);

impl Kernel for Portable {
    type Cell = f32;
    const DEPTH: usize = 1;

    fn cell(numbers: [f32; 2]) -> f32 {
        numbers[0]
    }

    fn buffers(buffers: &mut PackBuffers) -> &mut [Aligned<f32>; 2] {
        &mut buffers.floats
    }

    fn probability(scores: &[f32], r: usize, j: usize) -> f32 {
        scores[r * TILE + j]
    }

    fn scores(&self, rows: usize, depth: usize, (q, keys): (&[f32], &[f32]), bits: RowBits<'_>, scores: &mut [f32]) {
        vectorize(self.0, Scores { rows, depth, q, keys, bits, scores });
    }

    fn softmax(&self, tile: SoftmaxTile<'_>) {
        vectorize(self.0, tile);
    }

    fn values(&self, rows: usize, p: &[f32], values: &[f32], bits: RowBits<'_>, out: &mut [f32]) {
        vectorize(self.0, Values { rows, p, values, bits, out });
    }
}

struct Scores<'a> {
    rows: usize,
    depth: usize,
    q: &'a [f32],
    keys: &'a [f32],
    bits: RowBits<'a>,
    scores: &'a mut [f32],
}

impl Vectorize for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Scores { rows, depth, q, keys, bits, scores } = self;
        for (p, panel) in keys.chunks_exact(depth * PANEL).enumerate() {
            let panel = panel.as_chunks::<PANEL>().0;
            for r0 in (0..rows).step_by(ROWS) {
                if union(bits, r0, ROWS) >> (p * PANEL) as u32 & u64::from(u32::MAX) == 0 {
                    continue;
                }
                let q = q[r0 * depth..][..ROWS * depth].as_chunks::<ROWS>().0;
                for (half, c) in [(0, 0), (0, WIDTH), (STEP, 0), (STEP, WIDTH)] {
                    let mut acc = [[0.0f32; WIDTH]; STEP];
                    for (q, k) in q.iter().zip(panel) {
                        let k: &[f32; WIDTH] = k[c..].first_chunk().expect("the width divides the panel");
                        for (i, acc) in acc.iter_mut().enumerate() {
                            add_scaled::<FMA>(acc, q[half + i], k);
                        }
                    }
                    for (i, acc) in acc.iter().enumerate() {
                        scores[(r0 + half + i) * TILE + p * PANEL + c..][..WIDTH].copy_from_slice(acc);
                    }
                }
            }
        }
    }
}

impl Vectorize for SoftmaxTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.out.len() / TILE;
        for r in 0..self.rows {
            let row = &mut self.scores[r * TILE..][..TILE];
            row.iter_mut().for_each(|s| *s *= self.scale);
            if let Some(bits) = self.bits {
                for (j, s) in row.iter_mut().enumerate() {
                    *s = if bits[r] >> j & 1 == 1 { *s } else { f32::NEG_INFINITY };
                }
            }
            let (tile_max, old) = (max(row), self.max[r]);
            self.tile_max[r] = tile_max;
            let new = if tile_max > old { tile_max } else { old };
            // Nothing visible, or only NaN: the exponentials are 0, or any finite maximum makes the row NaN.
            let sum = exponentiate::<FMA>(row, if new == f32::NEG_INFINITY { 0.0 } else { new });
            if new > old {
                let factor = exp2::<FMA>(old - new);
                self.sum[r] *= factor;
                self.out[r * width..][..width].iter_mut().for_each(|o| *o *= factor);
                self.max[r] = new;
            }
            self.sum[r] += sum;
        }
    }
}

struct Values<'a> {
    rows: usize,
    p: &'a [f32],
    values: &'a [f32],
    bits: RowBits<'a>,
    out: &'a mut [f32],
}

impl Vectorize for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Values { rows, p, values, bits, out } = self;
        let width = out.len() / TILE;
        for r0 in (0..rows).step_by(STEP) {
            let keys = span(union(bits, r0, STEP));
            let p: [&[f32]; STEP] = std::array::from_fn(|i| &p[(r0 + i) * TILE..][keys.clone()]);
            let values = &values[keys.start * width..keys.end * width];
            for c in (0..width).step_by(WIDTH) {
                let mut acc = [[0.0f32; WIDTH]; STEP];
                for (i, acc) in acc.iter_mut().enumerate() {
                    acc.copy_from_slice(&out[(r0 + i) * width + c..][..WIDTH]);
                }
                for (j, v) in values.chunks_exact(width).enumerate() {
                    let v: &[f32; WIDTH] = v[c..].first_chunk().expect("the width is a multiple of 16");
                    for (acc, p) in acc.iter_mut().zip(p) {
                        add_scaled::<FMA>(acc, p[j], v);
                    }
                }
                for (i, acc) in acc.iter().enumerate() {
                    out[(r0 + i) * width + c..][..WIDTH].copy_from_slice(acc);
                }
            }
        }
    }
}

/// `acc += a x`.
#[inline(always)]
fn add_scaled<const FMA: bool>(acc: &mut [f32; WIDTH], a: f32, x: &[f32; WIDTH]) {
    for (acc, &x) in acc.iter_mut().zip(x) {
        *acc = mul_add::<FMA>(a, x, *acc);
    }
}
