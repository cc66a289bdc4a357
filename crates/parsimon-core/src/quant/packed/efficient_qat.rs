//! EfficientQAT: GPTQ's four names with two differences.
//!
//! Zero points are stored as they are, and 3-bit codes stand ten to a word, least significant first, with the top two bits zero:
//! `qweight` is I32 `[ceil(k / 10), m]` and `qzeros` I32 `[n_groups, ceil(m / 10)]`. Other widths are GPTQ's contiguous stream.
//!
//! The trap: nothing names the difference, so the shape decides. `ceil(k / 10)` and `3 k / 32` rows never agree for `k > 0`, and a
//! 3-bit file in GPTQ's stream under these names is read as such.

use super::{PackedError, checked, elements, matrix_shape};
use crate::TensorView;
use crate::io::Checkpoint;
use crate::quant::gptq::{SUFFIXES, tensor_name};
use crate::quant::words::{Packing, stream_words};
use crate::quant::{GroupQuantized, QuantError, Zeros};

/// Reads the matrix `prefix` of a checkpoint, of 2, 3, 4 or 8 bits.
///
/// `k` is the length of `g_idx`, `m` the columns of `scales`, and the group follows from the rows of `scales`. A `g_idx` that is
/// `c / group` is dropped, any other is kept.
///
/// # Errors
///
/// [`PackedError`] naming the tensor.
pub fn unpack(checkpoint: &Checkpoint, prefix: &str, bits: u8) -> Result<GroupQuantized, PackedError> {
    let names = SUFFIXES.map(|suffix| tensor_name(prefix, suffix));
    if !matches!(bits, 2 | 3 | 4 | 8) {
        let source = QuantError::UnsupportedBits { bits: bits.into() };
        return Err(PackedError::Quant { tensor: names[0].clone(), source });
    }
    checkpoint.require(names.iter().map(String::as_str))?;
    let [qweight, qzeros, scales, g_idx] = names.each_ref().map(|name| checkpoint.tensor(name));
    let (qweight, qzeros, scales, g_idx) = (qweight?, qzeros?, scales?, g_idx?);
    let k = g_idx.len();
    let [n_groups, m] = matrix_shape(&scales)?;
    let n = elements(&names[0], m, k)?;
    let group = k.div_ceil(n_groups);
    if k.div_ceil(group) != n_groups {
        return Err(PackedError::mismatch(&names[2], "the number of groups", format!("a divisor of {k}"), n_groups));
    }
    let (along_k, qweight) = packed(&qweight, 0, k, m, bits)?;
    let (along_m, qzeros) = packed(&qzeros, 1, m, n_groups, bits)?;
    let zero_cols = qzeros.len() / n_groups;

    // Only here is it known that the file holds this many codes.
    let mut codes = vec![0; n];
    along_k.unpack_columns(&qweight, m, k, bits, &mut codes);
    let stored = scales.to_f32()?;
    let mut points = vec![0; m * n_groups];
    let mut scales = vec![0.0; m * n_groups];
    for r in 0..m {
        for g in 0..n_groups {
            points[r * n_groups + g] = along_m.get(&qzeros, r, bits, |word| g * zero_cols + word) as u16;
            scales[r * n_groups + g] = stored[g * m + r];
        }
    }
    let g_idx = g_idx.to_i32()?;
    let in_order = g_idx.iter().enumerate().all(|(c, &g)| g == (c / group) as i32);
    // A negative index becomes a huge one, which `validate` refuses.
    let g_idx = (!in_order).then(|| g_idx.iter().map(|&g| g as u32).collect());
    let zeros = Zeros::Points(points);
    checked(&names[0], GroupQuantized { bits, m, k, group, codes, scales, zeros, g_idx })
}

/// What `words` words of `len` codes can be.
fn packing_of(words: usize, len: usize, bits: u8) -> Option<Packing> {
    if bits == 3 && words == len.div_ceil(10) {
        return Some(Packing::TenAWord);
    }
    (stream_words("a sequence", len, bits) == Ok(words)).then_some(Packing::Stream)
}

/// The words of a tensor that packs `len` codes along `axis` and holds `other` such sequences, with their packing.
fn packed(
    tensor: &TensorView<'_>,
    axis: usize,
    len: usize,
    other: usize,
    bits: u8,
) -> Result<(Packing, Vec<i32>), PackedError> {
    let shape = matrix_shape(tensor)?;
    let packing = packing_of(shape[axis], len, bits).filter(|_| shape[1 - axis] == other);
    let Some(packing) = packing else {
        let expected = format!("{len} codes of {bits} bits along axis {axis} and {other} along the other");
        return Err(PackedError::mismatch(tensor.name(), "the shape", expected, format!("{shape:?}")));
    };
    let words = tensor.to_i32()?;
    if packing == Packing::TenAWord
        && let Some(word) = words.iter().find(|&&word| word as u32 >> 30 != 0)
    {
        let actual = format!("{word:#010x}");
        return Err(PackedError::mismatch(tensor.name(), "a word", "ten 3-bit codes and two zero bits", actual));
    }
    Ok((packing, words))
}
