//! Codes in words: for every row of codes a stream of bits, `main | residual << log2 K` for each column, least significant bit first, in
//! little-endian 32-bit words, filled up with zeros to a whole word.

/// Bits of a code below `k`; 0 for no codebook.
pub fn bits_for(k: usize) -> usize {
    if k == 0 { 0 } else { (usize::BITS - (k - 1).leading_zeros()) as usize }
}

/// Words of a row of `columns` codes of `bits` bits.
pub fn row_words(columns: usize, bits: usize) -> Option<usize> {
    Some(columns.checked_mul(bits)?.div_ceil(32))
}

/// Packs rows of `columns` codes; `residual` is empty where `residual_bits` is 0.
///
/// # Panics
///
/// When both widths are more than 32 bits, or the lengths do not fit.
pub fn pack(main: &[u16], residual: &[u16], columns: usize, (main_bits, residual_bits): (usize, usize)) -> Vec<u32> {
    let bits = main_bits + residual_bits;
    assert!((1..=32).contains(&bits), "codes have 1 to 32 bits");
    assert!(columns > 0 && main.len().is_multiple_of(columns), "codes must be [rows, columns]");
    assert!(residual_bits == 0 || residual.len() == main.len(), "one residual code a code");
    let words = row_words(columns, bits).expect("as many as there are codes");
    let mut out = vec![0; main.len() / columns * words];
    for (r, row) in out.chunks_exact_mut(words).enumerate() {
        for c in 0..columns {
            let i = r * columns + c;
            let second = if residual_bits == 0 { 0 } else { u64::from(residual[i]) << main_bits };
            let at = c * bits;
            let window = (u64::from(main[i]) | second) << (at % 32);
            row[at / 32] |= window as u32;
            if window >> 32 != 0 {
                row[at / 32 + 1] |= (window >> 32) as u32;
            }
        }
    }
    out
}

/// Unpacks rows of `columns` codes: main and residual ones, the latter empty where `residual_bits` is 0.
///
/// # Panics
///
/// When both widths are more than 32 bits, or `words` are not whole rows.
pub fn unpack(words: &[u32], columns: usize, (main_bits, residual_bits): (usize, usize)) -> (Vec<u16>, Vec<u16>) {
    let bits = main_bits + residual_bits;
    assert!((1..=32).contains(&bits) && main_bits <= 16 && residual_bits <= 16, "codes have at most 16 bits each");
    let per_row = row_words(columns, bits).filter(|&words| words > 0).expect("rows have codes");
    assert!(words.len().is_multiple_of(per_row), "words must be whole rows");
    let n = words.len() / per_row * columns;
    let (mut main, mut residual) = (Vec::with_capacity(n), Vec::with_capacity(if residual_bits == 0 { 0 } else { n }));
    for row in words.chunks_exact(per_row) {
        for c in 0..columns {
            let at = c * bits;
            let high = row.get(at / 32 + 1).copied().unwrap_or(0);
            let window = (u64::from(row[at / 32]) | u64::from(high) << 32) >> (at % 32);
            main.push((window & ((1 << main_bits) - 1)) as u16);
            if residual_bits > 0 {
                residual.push((window >> main_bits & ((1 << residual_bits) - 1)) as u16);
            }
        }
    }
    (main, residual)
}

#[cfg(test)]
mod tests;
