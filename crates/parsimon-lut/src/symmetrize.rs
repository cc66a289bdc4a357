//! Table symmetrization and the offline folding of weights: half of a table suffices.
//!
//! PAPER(luttc §3.1): negating all four signs of a lookup negates its sum, `T[w] = -T[15 - w]`, so the eight entries whose most
//! significant bit `w_3` is clear say everything. Inverting the other bits of the rest need not wait for the lookup: it is folded into the
//! stored weights,
//!
//! ```text
//! w'_t = w_t xor w_3 (t < 3)      w'_3 = w_3      T[w] = w'_3 ? -T[w' mod 8] : T[w' mod 8]
//! ```
//!
//! A lookup in hardware is then one table of eight entries and a conditional negation. The kernels of this crate keep all 16 entries, which
//! fill a byte shuffle exactly, and use the mirror in the build ([`quantize_table`](crate::quantize_table)); [`Method::Elut`] stores half a
//! table and a sign bit a five in this manner.
//!
//! Zero points need no rewriting of weights: in terms of odd integers `q' = 2 q - (2^b - 1)`, the sums of signs that planes of lookups give,
//!
//! ```text
//! (q - z) s = (q' - z') s / 2      z' = 2 z + 1 - 2^b
//! ```
//!
//! and `z'` is the offset `o` of the [crate documentation](crate), which is kept with the scales.
//!
//! ```
//! use parsimon_lut::symmetrize::{fold, half_table, lookup};
//!
//! let a = [0.5f32, -1.0, 2.0, 0.25];
//! let sum = |w: u8| (0..4).map(|t| if w >> t & 1 == 1 { a[t] } else { -a[t] }).sum::<f32>();
//! let half = half_table(&std::array::from_fn(|w| sum(w as u8)));
//! assert_eq!(lookup(&half, fold(0b1010)), sum(0b1010));
//! ```
//!
//! [`Method::Elut`]: crate::Method::Elut

use crate::table::ENTRIES;

/// Entries that are left.
const HALF: usize = ENTRIES / 2;

/// The sign bit of a nibble, which is its most significant bit.
const SIGN: u8 = HALF as u8;

/// The bits of a nibble that select an entry.
const INDEX: u8 = SIGN - 1;

/// The entries of a table with the sign bit clear: `T[0..8]`.
///
/// They are the whole table where `T[i] = -T[15-i]`, as in every table of signed sums.
pub fn half_table(table: &[f32; ENTRIES]) -> [f32; HALF] {
    std::array::from_fn(|i| table[i])
}

/// Four bits of a plane as they are stored for half a table: `w'_t = w_t xor w_3` for `t < 3`, `w'_3 = w_3`. Only the low nibble counts.
pub const fn fold(nibble: u8) -> u8 {
    fold_pair(nibble & 15)
}

/// The inverse of [`fold`], which is its own.
pub const fn unfold(folded: u8) -> u8 {
    fold(folded)
}

/// `T[w]` from half a table and `fold(w)`.
pub fn lookup(half: &[f32; HALF], folded: u8) -> f32 {
    let entry = half[usize::from(folded & INDEX)];
    if folded & SIGN == 0 { entry } else { -entry }
}

/// [`fold`] on both nibbles of every byte of a stream of bit planes, as [`Method::Lut`](crate::Method::Lut) packs them.
pub fn fold_stream(stream: &mut [u8]) {
    stream.iter_mut().for_each(|byte| *byte = fold_pair(*byte));
}

/// The inverse of [`fold_stream`].
pub fn unfold_stream(stream: &mut [u8]) {
    fold_stream(stream);
}

/// `q' = 2 q - (2^b - 1)`: a code as the sum of its weighted signs, an odd integer.
///
/// # Panics
///
/// When `bits` is not 1 to 8.
pub fn odd_code(code: u8, bits: u8) -> i32 {
    2 * i32::from(code) - middle(bits)
}

/// `z' = 2 z + 1 - 2^b`: the zero point among the [odd codes](odd_code), and the offset `o` of the [crate documentation](crate).
///
/// # Panics
///
/// When `bits` is not 1 to 8.
pub fn offset(zero_point: u16, bits: u8) -> i32 {
    2 * i32::from(zero_point) - middle(bits)
}

/// Twice the middle of the codes, `2^b - 1`.
fn middle(bits: u8) -> i32 {
    assert!((1..=8).contains(&bits), "codes have 1 to 8 bits, not {bits}");
    (1 << bits) - 1
}

/// Both nibbles of a byte: where a sign is set, the three bits below it are inverted.
const fn fold_pair(byte: u8) -> u8 {
    byte ^ ((byte >> 3 & 0x11) * INDEX)
}

#[cfg(test)]
mod tests;
