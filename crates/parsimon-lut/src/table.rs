//! Building and quantizing the lookup tables of one activation vector.
//!
//! Every backend must produce the same bytes, so the order of the `f32` operations below is part of the format (PAPER(tmac §3.2), vector
//! form ours):
//!
//! ```text
//! max   = max_j ((|a4j| + |a4j+1|) + (|a4j+2| + |a4j+3|))          the largest |entry| of the activation group
//! scale = max / 127        inv = 127 / max  (both 0 when max = 0)
//! b_t = a_t * inv;  p01 = b0+b1, m01 = b0-b1, p23 = b2+b3, m23 = b2-b3;  s01 = [-p01, m01, -m01, p01]
//! entry[8+i] = rne(s01[i] - m23), entry[12+i] = rne(s01[i] + p23)  (i < 4), clamped to [-127, 127]
//! entry[i] = -entry[15-i]                                          (i < 8): mirror consolidation, eight sums instead of sixteen
//! ```

use parsimon_simd::{Level, Vectorize, vectorize};

/// Activations that share a table scale, unless the caller says otherwise.
pub const AGS_DEFAULT: usize = 64;

/// Inputs of one lookup.
pub(crate) const LOOKUP: usize = 4;

/// Entries of one table.
pub(crate) const ENTRIES: usize = 16;

/// The largest magnitude of a quantized entry.
const ENTRY_MAX: f32 = 127.0;

/// Builds the 8-bit tables of one activation vector whose length is a multiple of 4.
///
/// `tables` gets `[k / 4][16]` entries, `scales` one scale per `ags` inputs (the last group may be short).
///
/// # Panics
///
/// When `k` or `ags` is not a multiple of 4, `ags` is 0, or a length does not fit.
pub fn quantize_table(x: &[f32], ags: usize, tables: &mut [i8], scales: &mut [f32]) {
    assert!(ags > 0 && ags.is_multiple_of(LOOKUP) && x.len().is_multiple_of(LOOKUP), "k and ags are multiples of 4");
    assert_eq!(tables.len(), x.len() / LOOKUP * ENTRIES, "tables must hold [k / 4][16]");
    assert_eq!(scales.len(), x.len().div_ceil(ags), "scales must hold one per ags inputs");
    vectorize(Level::best(), Build { x, ags, tables, scales });
}

struct Build<'a> {
    x: &'a [f32],
    ags: usize,
    tables: &'a mut [i8],
    scales: &'a mut [f32],
}

impl Vectorize for Build<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let groups = self.x.chunks(self.ags).zip(self.tables.chunks_mut(self.ags / LOOKUP * ENTRIES));
        for ((x, tables), scale) in groups.zip(self.scales) {
            *scale = build_group(x, tables);
        }
    }
}

#[inline(always)]
fn build_group(x: &[f32], tables: &mut [i8]) -> f32 {
    let (quads, _) = x.as_chunks::<LOOKUP>();
    let (entries, _) = tables.as_chunks_mut::<ENTRIES>();
    let max = quads.iter().fold(0.0f32, |max, a| max.max((a[0].abs() + a[1].abs()) + (a[2].abs() + a[3].abs())));
    let inv = if max == 0.0 { 0.0 } else { ENTRY_MAX / max };
    for (a, entry) in quads.iter().zip(entries) {
        *entry = build_entry(a.map(|a| a * inv));
    }
    max / ENTRY_MAX
}

#[inline(always)]
fn build_entry(b: [f32; LOOKUP]) -> [i8; ENTRIES] {
    let (p01, m01, p23, m23) = (b[0] + b[1], b[0] - b[1], b[2] + b[3], b[2] - b[3]);
    let s01 = [-p01, m01, -m01, p01];
    let upper = [
        s01[0] - m23,
        s01[1] - m23,
        s01[2] - m23,
        s01[3] - m23,
        s01[0] + p23,
        s01[1] + p23,
        s01[2] + p23,
        s01[3] + p23,
    ];
    let upper = upper.map(|sum| sum.round_ties_even().clamp(-ENTRY_MAX, ENTRY_MAX) as i8);
    let mut entry = [0; ENTRIES];
    for i in 0..ENTRIES / 2 {
        entry[8 + i] = upper[i];
        entry[7 - i] = -upper[i];
    }
    entry
}

#[cfg(test)]
mod tests;
