//! The portable body; what every other body must equal.

use super::ROWS;
use crate::kernel::{Act, Geometry, Tile, Tokens};

/// Columns of the longest step; any length is exact here.
const STEP_MAX: usize = 1 << 16;

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    for (t, out) in out.chunks_exact_mut(ROWS).enumerate() {
        one_token(geometry, tile, &tokens.token(t), out);
    }
}

fn one_token(geometry: &Geometry, tile: &Tile<'_>, act: &Act<'_>, out: &mut [f32]) {
    let step = geometry.step(STEP_MAX);
    out.fill(0.0);
    for (g, &beta) in act.betas.iter().enumerate() {
        let group_end = geometry.k_padded.min((g + 1) * geometry.group);
        let mut sums = [tile.start(geometry, beta); ROWS];
        for k0 in (g * geometry.group..group_end).step_by(step) {
            let scale = 2.0 * act.scales[k0 / geometry.ags];
            let end = group_end.min(k0 + step);
            for (r, sum) in sums.iter_mut().enumerate() {
                let integer: i32 = (k0..end)
                    .map(|k| i32::from(code(geometry.bits, tile.stream, r, k)) * i32::from(act.codes[k] as i8))
                    .sum();
                *sum += integer as f32 * scale;
            }
        }
        for (r, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
            let (half_scale, constant) = tile.row(g, r, ROWS);
            *out += half_scale * sum + constant * beta;
        }
    }
}

/// The code at row `r`, column `k`.
fn code(bits: usize, stream: &[u8], r: usize, k: usize) -> u8 {
    let columns = 4 * 8 / bits;
    let (block, within) = (k / columns, k % columns);
    let byte = stream[block * 4 * ROWS + 4 * r + within % 4];
    byte >> (within / 4 * bits) & (u8::MAX >> (8 - bits))
}
