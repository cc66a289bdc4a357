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
    for ((x, tables), scale) in x.chunks(ags).zip(tables.chunks_mut(ags / LOOKUP * ENTRIES)).zip(scales) {
        let max = build_group(x, tables);
        *scale = max / ENTRY_MAX;
    }
}

/// Builds the tables of one activation group and returns the largest entry before quantization.
#[cfg(target_arch = "x86_64")]
fn build_group(x: &[f32], tables: &mut [i8]) -> f32 {
    use crate::kernel::table::{BLOCK, build_block, largest_entry};
    let Some(token) = parsimon_simd::Avx512::try_new() else { return build_group_portable(x, tables) };
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    let max = blocks.iter().map(|block| largest_entry(token, block)).fold(portable_largest_entry(rest), f32::max);
    let inv = inverse(max);
    let (done, rest_tables) = tables.split_at_mut(blocks.len() * (BLOCK / LOOKUP) * ENTRIES);
    let (entries, _) = bytemuck::cast_slice_mut::<i8, u8>(done).as_chunks_mut::<ENTRIES>();
    for (x, tables) in blocks.iter().zip(entries.as_chunks_mut::<{ BLOCK / LOOKUP }>().0) {
        build_block(token, x, inv, tables);
    }
    vectorize(Level::best(), Build { x: rest, inv, tables: rest_tables });
    max
}

#[cfg(not(target_arch = "x86_64"))]
fn build_group(x: &[f32], tables: &mut [i8]) -> f32 {
    build_group_portable(x, tables)
}

fn build_group_portable(x: &[f32], tables: &mut [i8]) -> f32 {
    let max = portable_largest_entry(x);
    vectorize(Level::best(), Build { x, inv: inverse(max), tables });
    max
}

/// `max_j ((|a4j| + |a4j+1|) + (|a4j+2| + |a4j+3|))`.
fn portable_largest_entry(x: &[f32]) -> f32 {
    let sums = x.as_chunks::<LOOKUP>().0.iter().map(|a| (a[0].abs() + a[1].abs()) + (a[2].abs() + a[3].abs()));
    sums.fold(0.0, f32::max)
}

fn inverse(max: f32) -> f32 {
    if max == 0.0 { 0.0 } else { ENTRY_MAX / max }
}

struct Build<'a> {
    x: &'a [f32],
    inv: f32,
    tables: &'a mut [i8],
}

impl Vectorize for Build<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (entries, _) = self.tables.as_chunks_mut::<ENTRIES>();
        for (a, entry) in self.x.as_chunks::<LOOKUP>().0.iter().zip(entries) {
            *entry = build_entry(a.map(|a| a * self.inv));
        }
    }
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
