//! The portable body, on the paired layout; what every other body must equal.

use half::f16;

use super::{Constants, Geometry, Lookup, Tile};
use crate::table::{ENTRIES, LOOKUP};

const ROWS: usize = 32;

/// Columns of the two lookups whose indices share a byte.
const PAIR: usize = 2 * LOOKUP;

pub(super) fn run(geometry: &Geometry, tile: Tile<'_>, act: Lookup<'_>, out: &mut [f32]) {
    let step = geometry.step();
    let planes = tile.stream.as_chunks::<ROWS>().0;
    let mut sums = [0.0f32; ROWS];
    out.fill(0.0);
    for k0 in (0..geometry.k_padded).step_by(step) {
        let end = (k0 + step).min(geometry.k_padded);
        let integers = step_sum(geometry.bits, planes, act.tables, k0, end);
        let scale = act.scales[k0 / geometry.ags];
        for (sum, integer) in sums.iter_mut().zip(integers) {
            *sum += integer as f32 * scale;
        }
        let g = k0 / geometry.group;
        if end == geometry.k_padded || end / geometry.group > g {
            finish_group(&tile, g, act.betas[g], &mut sums, out);
        }
    }
}

/// `sum_i 2^i sum_j T_j[idx]` over the columns `k0..end`, for every row.
fn step_sum(bits: usize, planes: &[[u8; ROWS]], tables: &[i8], k0: usize, end: usize) -> [i32; ROWS] {
    let mut sums = [0; ROWS];
    for pair in k0 / PAIR..end / PAIR {
        let (low, high) = tables[pair * 2 * ENTRIES..][..2 * ENTRIES].split_at(ENTRIES);
        for p in 0..bits {
            for (sum, &byte) in sums.iter_mut().zip(&planes[pair * bits + p]) {
                let looked_up = i32::from(low[usize::from(byte & 15)]) + i32::from(high[usize::from(byte >> 4)]);
                *sum += looked_up << p;
            }
        }
    }
    sums
}

/// Adds a finished group to the output, and the sums start anew.
fn finish_group(tile: &Tile<'_>, g: usize, beta: f32, sums: &mut [f32; ROWS], out: &mut [f32]) {
    let rows = g * ROWS..(g + 1) * ROWS;
    let half_scales = tile.scales[rows.clone()].iter().map(|&bits| 0.5 * f16::from_bits(bits).to_f32());
    match tile.constants {
        Constants::Offsets(offsets) => {
            for (((out, sum), s), &o) in out.iter_mut().zip(&*sums).zip(half_scales).zip(&offsets[rows]) {
                *out += s * (sum + f32::from(o) * beta);
            }
        }
        Constants::Real(reals) => {
            for (((out, sum), s), cb) in out.iter_mut().zip(&*sums).zip(half_scales).zip(&reals[rows]) {
                *out += s * sum + cb * beta;
            }
        }
    }
    *sums = [0.0; ROWS];
}
