//! Ternary weights, five in a byte, and the tables that they index.
//!
//! Five trits `t` in {-1, 0, 1} make `v = sum_{i<5} t_i 3^(4-i)` in -121..=121. A byte keeps its sign in bit 7 and `|v|` below; the table
//! holds the sums of the non-negative half (PAPER(tmac §3.6), own form):
//!
//! ```text
//! scale = max over the fives of a table group of sum_i |a_i| / 127        inv = 127 / max  (both 0 when max = 0)
//! entry[v] = 128 + rne(inv * sum_i t_i a_i), clamped to [1, 255]           v = 0..=121; entries 122..=127 are 128
//! ```

/// Weights of a byte.
pub(crate) const FIVE: usize = 5;

/// Entries of a table.
pub(crate) const ENTRIES: usize = 128;

/// Sums of a table; the entries above them are never read.
const SUMS: usize = 122;

/// The largest magnitude of a quantized entry.
const ENTRY_MAX: f32 = 127.0;

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

/// Builds the biased tables of one table group, whose length is a multiple of 5, and returns its scale.
pub(crate) fn quantize_group(x: &[f32], tables: &mut [u8]) -> f32 {
    let (fives, _) = x.as_chunks::<FIVE>();
    let max = fives.iter().map(|a| a.iter().fold(0.0, |sum, a| sum + a.abs())).fold(0.0, f32::max);
    let inv = if max == 0.0 { 0.0 } else { ENTRY_MAX / max };
    for (a, table) in fives.iter().zip(tables.as_chunks_mut::<ENTRIES>().0) {
        *table = table_of(a.map(|a| a * inv));
    }
    max / ENTRY_MAX
}

/// The table of activations that are already scaled to it; integers give exact sums.
pub(crate) fn table_of(a: [f32; FIVE]) -> [u8; ENTRIES] {
    // Sums of the balanced-ternary numbers of up to five digits, in order: those of one digit more are the former ones minus the new
    // digit's weight, as they are, and plus it.
    let mut sums = [0.0f32; 243];
    let mut len = 1;
    for a in a.into_iter().rev() {
        for i in 0..len {
            let sum = sums[i];
            sums[len + i] = sum;
            sums[2 * len + i] = sum + a;
            sums[i] = sum - a;
        }
        len *= 3;
    }
    let mut table = [128; ENTRIES];
    for (entry, sum) in table.iter_mut().zip(&sums[121..][..SUMS]) {
        // |sum| may pass 127 by a rounding.
        *entry = (128.0 + sum.round_ties_even().clamp(-ENTRY_MAX, ENTRY_MAX)) as u8;
    }
    table
}

#[cfg(test)]
mod tests;
