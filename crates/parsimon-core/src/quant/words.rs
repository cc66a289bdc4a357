//! Codes in 32-bit words, the way GPTQ's family of layouts stores them.
//!
//! A sequence of codes lies along a column of a `[words, m]` matrix; unpacking it is a transposition. It goes in strips of columns, so
//! that each word is read with its neighbours and each row of codes is written in runs.

use super::QuantError;

/// Columns of a strip: four cache lines of words; their rows of codes stay in the first-level cache.
const STRIP: usize = 64;

/// How codes lie in words.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Packing {
    /// One bit stream across words, least significant bit first.
    Stream,
    /// Ten 3-bit codes, then two zero bits.
    TenAWord,
}

impl Packing {
    /// Code `i` of a sequence; `at` maps its words to their places.
    pub(super) fn get(self, words: &[i32], i: usize, bits: u8, at: impl Fn(usize) -> usize) -> u32 {
        if self == Packing::TenAWord {
            return words[at(i / 10)] as u32 >> (3 * (i % 10)) & 7;
        }
        let bit = i * usize::from(bits);
        let (word, shift) = (bit / 32, bit % 32);
        let mut value = words[at(word)] as u32 >> shift;
        if shift + usize::from(bits) > 32 {
            value |= (words[at(word + 1)] as u32) << (32 - shift);
        }
        value & ((1 << bits) - 1)
    }

    /// Writes the codes of the sequences that are the `m` columns of `words` as rows: `codes` is `[m, k]`.
    pub(super) fn unpack_columns(self, words: &[i32], m: usize, k: usize, bits: u8, codes: &mut [u8]) {
        match (self, bits) {
            (Packing::TenAWord, _) => columns::<1, 10>(words, m, k, codes, |[word]| spread::<10, 3>(word.into())),
            (Packing::Stream, 2) => columns::<1, 16>(words, m, k, codes, |[word]| spread::<16, 2>(word.into())),
            (Packing::Stream, 3) => columns::<3, 32>(words, m, k, codes, |[a, b, c]| {
                let low = u64::from(a) | u64::from(b) << 32;
                let (first, second) = (spread::<16, 3>(low), spread::<16, 3>(low >> 48 | u64::from(c) << 16));
                std::array::from_fn(|i| if i < 16 { first[i] } else { second[i - 16] })
            }),
            (Packing::Stream, 4) => columns::<1, 8>(words, m, k, codes, |[word]| spread::<8, 4>(word.into())),
            (Packing::Stream, 8) if k.is_multiple_of(16) => columns::<4, 16>(words, m, k, codes, |words| {
                let bytes = words.map(u32::to_le_bytes);
                std::array::from_fn(|i| bytes[i / 4][i % 4])
            }),
            (Packing::Stream, 8) => columns::<1, 4>(words, m, k, codes, |[word]| word.to_le_bytes()),
            (Packing::Stream, _) => {
                for (r, row) in codes.chunks_exact_mut(k).enumerate() {
                    for (c, code) in row.iter_mut().enumerate() {
                        *code = self.get(words, c, bits, |word| word * m + r) as u8;
                    }
                }
            }
        }
    }
}

/// `N` codes of `BITS` bits, least significant first.
fn spread<const N: usize, const BITS: usize>(bits: u64) -> [u8; N] {
    std::array::from_fn(|i| (bits >> (BITS * i)) as u8 & ((1u8 << BITS) - 1))
}

/// Unpacks `W` words of a column to `N` codes of a row at a time; of the last ones of a row, as many as it has.
fn columns<const W: usize, const N: usize>(
    words: &[i32],
    m: usize,
    k: usize,
    codes: &mut [u8],
    unpack: impl Fn([u32; W]) -> [u8; N],
) {
    for (strip, codes) in codes.chunks_mut(STRIP * k).enumerate() {
        for (unit, words) in words.chunks_exact(W * m).enumerate() {
            for (r, row) in codes.chunks_exact_mut(k).enumerate() {
                let unpacked = unpack(std::array::from_fn(|w| words[w * m + strip * STRIP + r] as u32));
                let run = &mut row[unit * N..];
                match run.first_chunk_mut::<N>() {
                    Some(run) => *run = unpacked,
                    None => run.copy_from_slice(&unpacked[..run.len()]),
                }
            }
        }
    }
}

/// Ors `value` into a bit stream; `at` maps a word of the stream to its place in `words`.
pub(super) fn put_bits(words: &mut [u32], bit: usize, value: u32, bits: u8, at: impl Fn(usize) -> usize) {
    let (word, shift) = (bit / 32, bit % 32);
    words[at(word)] |= value << shift;
    if shift + usize::from(bits) > 32 {
        words[at(word + 1)] |= value >> (32 - shift);
    }
}

/// The whole words that a stream of `len` codes fills.
pub(super) fn stream_words(what: &'static str, len: usize, bits: u8) -> Result<usize, QuantError> {
    match len.checked_mul(bits.into()) {
        Some(total) if total % 32 == 0 => Ok(total / 32),
        _ => Err(QuantError::NotWholeWords { what, len, bits }),
    }
}

#[cfg(test)]
mod tests;
