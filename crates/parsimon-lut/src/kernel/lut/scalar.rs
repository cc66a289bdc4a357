//! The portable body, on the paired layout; what every other body must equal.

use crate::kernel::{Act, Geometry, Tile, Tokens};
use crate::table::{ENTRIES, LOOKUP};

const ROWS: usize = 32;

/// Columns of the two lookups whose indices share a byte.
const PAIR: usize = 2 * LOOKUP;

/// Columns of the longest step; any length is exact here.
const STEP_MAX: usize = 64;

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    for (t, out) in out.chunks_exact_mut(ROWS).enumerate() {
        one_token(geometry, tile, &tokens.token(t), out);
    }
}

fn one_token(geometry: &Geometry, tile: &Tile<'_>, act: &Act<'_>, out: &mut [f32]) {
    let step = geometry.step(STEP_MAX);
    let planes = tile.stream.as_chunks::<ROWS>().0;
    out.fill(0.0);
    for (g, &beta) in act.betas.iter().enumerate() {
        let group_end = geometry.k_padded.min((g + 1) * geometry.group);
        let mut sums = [tile.start(geometry, beta); ROWS];
        for k0 in (g * geometry.group..group_end).step_by(step) {
            let integers = step_sum(geometry.bits, planes, act.codes, k0, group_end.min(k0 + step));
            let scale = act.scales[k0 / geometry.ags];
            for (sum, integer) in sums.iter_mut().zip(integers) {
                *sum += integer as f32 * scale;
            }
        }
        for (r, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
            let (half_scale, constant) = tile.row(g, r, ROWS);
            *out += half_scale * sum + constant * beta;
        }
    }
}

/// `sum_i 2^i sum_j T_j[idx]` over the columns `k0..end`, for every row.
fn step_sum(bits: usize, planes: &[[u8; ROWS]], tables: &[u8], k0: usize, end: usize) -> [i32; ROWS] {
    let mut sums = [0; ROWS];
    for pair in k0 / PAIR..end / PAIR {
        let (low, high) = tables[pair * 2 * ENTRIES..][..2 * ENTRIES].split_at(ENTRIES);
        let entry = |table: &[u8], idx: u8| i32::from(table[usize::from(idx)] as i8);
        for p in 0..bits {
            for (sum, &byte) in sums.iter_mut().zip(&planes[pair * bits + p]) {
                *sum += (entry(low, byte & 15) + entry(high, byte >> 4)) << p;
            }
        }
    }
    sums
}
