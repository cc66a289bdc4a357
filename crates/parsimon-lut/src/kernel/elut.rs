//! Element-wise lookup: five ternary weights a byte (PAPER(tmac §3.6), own form).

mod scalar;
#[cfg(target_arch = "x86_64")]
mod vbmi;

use parsimon_simd::Level;
#[cfg(target_arch = "x86_64")]
pub(super) use vbmi::row_place as vbmi_row_place;

use super::{Geometry, Tile, Tokens};

/// Rows of a tile.
const ROWS: usize = 256;

/// Entries of a table: `0..=121` are sums, the rest is never read.
const ENTRIES: usize = 128;

/// The most lookups between two flushes: 16-bit sums of biased bytes hold 257.
const RUN_MAX: usize = 256;

/// A run of fives that share a weight group and an activation scale.
struct Run {
    group: usize,
    scale: usize,
    begin: usize,
    end: usize,
    /// The run is the last of its group.
    ends_group: bool,
}

/// The runs of a row, in order. `geometry` counts fives.
fn runs(geometry: &Geometry) -> impl Iterator<Item = Run> {
    let Geometry { k_padded: fives, group, ags, .. } = *geometry;
    let mut next = Run { group: 0, scale: 0, begin: 0, end: 0, ends_group: false };
    std::iter::from_fn(move || {
        let begin = next.end;
        if begin == fives {
            return None;
        }
        let group_idx = begin / group;
        let (group_begin, group_end) = (group_idx * group, fives.min((group_idx + 1) * group));
        let scale_end = group_end.min(group_begin + ((begin - group_begin) / ags + 1) * ags);
        let end = scale_end.min(begin + RUN_MAX);
        let run = Run { group: group_idx, scale: next.scale, begin, end, ends_group: end == group_end };
        next = Run { scale: next.scale + usize::from(end == scale_end), end, ..run };
        Some(run)
    })
}

pub(super) fn run(body: Level, geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    match body {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vbmi => vbmi::run(geometry, tile, tokens, out),
        _ => scalar::run(geometry, tile, tokens, out),
    }
}
