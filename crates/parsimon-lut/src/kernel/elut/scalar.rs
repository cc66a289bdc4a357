//! The portable body; what every other body must equal.

use super::{ENTRIES, ROWS, runs};
use crate::kernel::{Act, Geometry, Tile, Tokens};

pub(super) fn run(geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    for (t, out) in out.chunks_exact_mut(ROWS).enumerate() {
        one_token(geometry, tile, &tokens.token(t), out);
    }
}

fn one_token(geometry: &Geometry, tile: &Tile<'_>, act: &Act<'_>, out: &mut [f32]) {
    let lines = tile.stream.as_chunks::<ROWS>().0;
    let tables = act.codes.as_chunks::<ENTRIES>().0;
    let mut sums = [0.0f32; ROWS];
    out.fill(0.0);
    for run in runs(geometry) {
        let scale = 2.0 * act.scales[run.scale];
        let mut integers = [0i32; ROWS];
        for (line, table) in lines[run.begin..run.end].iter().zip(&tables[run.begin..run.end]) {
            for (integer, &byte) in integers.iter_mut().zip(line) {
                let entry = i32::from(table[usize::from(byte & 127)]) - 128;
                *integer += if byte > 127 { -entry } else { entry };
            }
        }
        for (sum, integer) in sums.iter_mut().zip(integers) {
            *sum += integer as f32 * scale;
        }
        if run.ends_group {
            for (r, (out, sum)) in out.iter_mut().zip(&mut sums).enumerate() {
                *out += tile.row(run.group, r, ROWS).0 * *sum;
                *sum = 0.0;
            }
        }
    }
}
