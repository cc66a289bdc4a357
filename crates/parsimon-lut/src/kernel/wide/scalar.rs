//! The portable body.

use std::ops::Range;

use half::bf16;

use super::{LANES, Panel, Rows, Weights, panel_idx, scale_and_base};
use crate::activations::K_STEP;

/// Any layout, a code at a time.
pub(super) fn widen(weights: &Weights<'_>, first_row: usize, columns: Range<usize>, panels: &mut [Panel]) {
    let layout = weights.layout;
    let (kernel, steps) = (layout.kernel, columns.len() / K_STEP);
    let rows = panels.len() / steps * LANES;
    for r in first_row..first_row + rows {
        let (block, lane) = ((r - first_row) / LANES, (r - first_row) % LANES);
        for (i, c) in columns.clone().enumerate() {
            let code = if c < layout.k { layout.code(weights.tile.stream, r, c) } else { 0 };
            let group = c.min(layout.k - 1) / layout.group;
            let (scale, base) = scale_and_base(weights, group * kernel.tile_m() + kernel.row_place(r));
            let weight = (256.0 + f32::from(code)).mul_add(scale, base);
            let panel = &mut panels[panel_idx(steps, i / K_STEP, block)];
            panel.0[i % K_STEP / 2][lane][i % 2] = bf16::from_f32(weight).to_bits();
        }
    }
}

pub(super) fn multiply(x: &Rows<'_>, columns: Range<usize>, panels: &[Panel], rows: usize, sums: &mut [f32]) {
    let steps = columns.len() / K_STEP;
    for (t, sums) in sums.chunks_exact_mut(rows).take(x.n).enumerate() {
        let x: &[[[u8; 2]; 2]] =
            x.bytes[t * x.stride + 2 * columns.start..][..2 * columns.len()].as_chunks().0.as_chunks().0;
        for (block, sums) in sums.chunks_exact_mut(LANES).enumerate() {
            for (i, pair) in x.iter().enumerate() {
                let [x0, x1] = pair.map(|x| bf16::from_le_bytes(x).to_f32());
                let weights = &panels[panel_idx(steps, i / (K_STEP / 2), block)].0[i % (K_STEP / 2)];
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    let [w0, w1] = weights.map(|w| bf16::from_bits(w).to_f32());
                    *sum += x0 * w0 + x1 * w1;
                }
            }
        }
    }
}
