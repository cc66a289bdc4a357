//! Ternary weights, five in a byte, and the tables that they index.
//!
//! Five trits `t` in {-1, 0, 1} make `v = sum_{i<5} t_i 3^(4-i)` in -121..=121. A byte keeps its sign in bit 7 and `|v|` below; the table
//! holds the sums of the non-negative half (PAPER(tmac §3.6), own form):
//!
//! ```text
//! scale = max over the fives of a table group of sum_i |a_i| / 127        inv = 127 / max  (both 0 when max = 0)
//! b_i = rne(256 inv a_i)                                                   16-bit integers with 8 binary places
//! entry[v] = 128 + floor(sum_i t_i b_i / 256 + 1/2)                        v = 0..=121; entries 122..=127 are 128
//! ```
//!
//! Integers, so that every machine makes the same bytes; `|sum_i t_i b_i| <= 127 * 256 + 2`, so that entries lie in 1..=255.

use parsimon_simd::{Level, Vectorize, vectorize};

/// Weights of a byte.
pub(crate) const FIVE: usize = 5;

/// Entries of a table.
pub(crate) const ENTRIES: usize = 128;

/// Sums of a table; the entries above them are never read.
pub(crate) const SUMS: usize = 122;

/// The largest magnitude of a quantized entry.
const ENTRY_MAX: f32 = 127.0;

/// What an entry is scaled with before the digits are added.
const BINARY_PLACES: f32 = 256.0;

/// The byte of up to five trits, given as codes `t + 1`; missing ones are 0.
pub(crate) fn encode(codes: &[u8]) -> u8 {
    let v = (0..FIVE).fold(0i16, |v, i| 3 * v + codes.get(i).map_or(0, |&code| i16::from(code) - 1));
    let sign = if v < 0 { 0x80 } else { 0 };
    sign | v.unsigned_abs() as u8
}

/// The codes `t + 1` of a byte.
pub(crate) fn decode(byte: u8) -> [u8; FIVE] {
    // Adding 121 = 11111 in base 3 turns the balanced digits into 0, 1, 2.
    let magnitude = i16::from(byte & 127);
    let mut v = 121 + if byte > 127 { -magnitude } else { magnitude };
    let mut codes = [0; FIVE];
    for code in codes.iter_mut().rev() {
        *code = (v % 3) as u8;
        v /= 3;
    }
    codes
}

/// Fives that are prepared at a time.
const FIVES_MAX: usize = 64;

/// Builds the biased tables of one table group, whose length is a multiple of 5, and returns its scale.
pub(crate) fn quantize_group(x: &[f32], tables: &mut [u8]) -> f32 {
    let (fives, _) = x.as_chunks::<FIVE>();
    let (tables, _) = tables.as_chunks_mut::<ENTRIES>();
    let max = fives.iter().map(|a| a[0].abs() + a[1].abs() + a[2].abs() + a[3].abs() + a[4].abs()).fold(0.0, f32::max);
    let inv = if max == 0.0 { 0.0 } else { ENTRY_MAX / max };
    let mut digits = [[0; FIVE]; FIVES_MAX];
    for (fives, tables) in fives.chunks(FIVES_MAX).zip(tables.chunks_mut(FIVES_MAX)) {
        let digits = &mut digits[..fives.len()];
        vectorize(Level::best(), ToDigits { x: fives.as_flattened(), inv, digits: digits.as_flattened_mut() });
        fill_tables(digits, tables);
    }
    max / ENTRY_MAX
}

#[cfg(target_arch = "x86_64")]
fn fill_tables(digits: &[[i16; FIVE]], tables: &mut [[u8; ENTRIES]]) {
    match parsimon_simd::Avx512::try_new() {
        Some(token) => crate::kernel::table::fill_ternary(token, digits, &LAST_TRITS, tables),
        None => digits.iter().zip(tables).for_each(|(b, table)| fill_table(*b, table)),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fill_tables(digits: &[[i16; FIVE]], tables: &mut [[u8; ENTRIES]]) {
    digits.iter().zip(tables).for_each(|(b, table)| fill_table(*b, table));
}

/// `b = rne(256 inv a)`.
struct ToDigits<'a> {
    x: &'a [f32],
    inv: f32,
    digits: &'a mut [i16],
}

impl Vectorize for ToDigits<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (digit, &a) in self.digits.iter_mut().zip(self.x) {
            // In f32, 1.5 * 2^23 + x has the integer nearest to x in its low bits, ties to even.
            *digit = (a * self.inv * BINARY_PLACES + 12_582_912.0).to_bits() as i16;
        }
    }
}

/// The table of integers, whose sums are exact.
pub(crate) fn table_of(a: [i8; FIVE]) -> [u8; ENTRIES] {
    let mut table = [0; ENTRIES];
    fill_table(a.map(|a| i16::from(a) << 8), &mut table);
    table
}

/// Lanes of the sums of the last three trits: 27, and a few that are overwritten or never read.
pub(crate) const LANES: usize = 32;

/// The trits of `r - 13` for the lanes `r`.
const LAST_TRITS: [[i16; LANES]; 3] = {
    let mut trits = [[0; LANES]; 3];
    let mut r = 0;
    while r < 27 {
        trits[0][r] = r as i16 / 9 - 1;
        trits[1][r] = r as i16 / 3 % 3 - 1;
        trits[2][r] = r as i16 % 3 - 1;
        r += 1;
    }
    trits
};

/// `v + 13 = 27 top + r`: the first two trits of a non-negative `v` give one of five values of `top`, the others one of 27 of `r`.
#[inline(always)]
fn fill_table(b: [i16; FIVE], table: &mut [u8; ENTRIES]) {
    let mut last = [0i16; LANES];
    for (r, last) in last.iter_mut().enumerate() {
        *last = b[2] * LAST_TRITS[0][r] + b[3] * LAST_TRITS[1][r] + b[4] * LAST_TRITS[2][r];
    }
    // 128 as the bias and 1/2 for rounding; the sum is below 2^16, though not below 2^15.
    let entries = |first: i16| last.map(|last| ((last + first) as u16).wrapping_add(0x8080).to_be_bytes()[0]);
    table[..14].copy_from_slice(&entries(0)[13..27]);
    for (top, first) in [b[1], b[0] - b[1], b[0], b[0] + b[1]].into_iter().enumerate() {
        // Each write reaches five entries into the next, which comes later.
        table[14 + 27 * top..][..LANES].copy_from_slice(&entries(first));
    }
    table[SUMS..].fill(128);
}

#[cfg(test)]
mod tests;
