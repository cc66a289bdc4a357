//! Quantizers of the simple block types: f32 to blocks, byte for byte as the reference quantizers.
//!
//! | type | scale | code |
//! |---|---|---|
//! | Q4_0, Q5_0 | the signed value of largest magnitude / -8, / -16 | `trunc(x / d + 8.5)`, `+ 16.5`, at most 15, 31 |
//! | Q4_1, Q5_1 | `(max - min) / 15`, `/ 31`, and `min` | `trunc((x - min) / d + 0.5)` |
//! | Q8_0 | `max abs / 127` | rounded, halves away from zero |
//! | TQ1_0, TQ2_0, Q2_0 | `max abs` | `round(x / d) + 1` |
//! | Q1_0 | `mean abs` | `x >= 0` |
//! | MXFP4 | `2^(floor(log2 max abs) - 2)` | the nearest of the table |
//!
//! Two traps. The codes are chosen with the f32 scale and only then is the scale rounded to f16, so a code is not always the
//! nearest for the stored scale. And `x / d` is a product with `1 / d`, which is 0 where `d` is 0. The zero scale of an all-zero
//! block is stored as -0 in Q4_0 and as +0 in Q5_0, where one of the two references has -0 as well.

use half::f16;

use super::BlockType;
use super::block::{E2M1_DOUBLED, e8m0_half};

/// Whether [`quantize_into`] writes this type.
pub fn is_supported(block_type: BlockType) -> bool {
    encoder(block_type).is_some()
}

/// Quantizes `x`, whole blocks of consecutive weights of a row, into `out`.
///
/// # Errors
///
/// [`EncodeError::Unsupported`] for a type without a quantizer here, [`EncodeError::NotWholeBlocks`] and
/// [`EncodeError::ByteLength`] for lengths, [`EncodeError::NonFiniteWeight`] with the index of a weight that is NaN or infinite.
///
/// ```
/// use parsimon_core::quant::encode::quantize;
/// use parsimon_core::quant::{BlockMatrix, BlockType};
///
/// let x: Vec<f32> = (0..64).map(|i| i as f32 - 32.0).collect();
/// let bytes = quantize(BlockType::Q8_0, &x)?;
/// let back = BlockMatrix::try_new(BlockType::Q8_0, 1, 64, &bytes)?.dequantize();
/// assert!(x.iter().zip(back).all(|(x, y)| (x - y).abs() < 0.13));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantize_into(block_type: BlockType, x: &[f32], out: &mut [u8]) -> Result<(), EncodeError> {
    let encode = encoder(block_type).ok_or(EncodeError::Unsupported { block_type })?;
    let (block_len, block_bytes) = (block_type.block_len(), block_type.block_bytes());
    if !x.len().is_multiple_of(block_len) {
        return Err(EncodeError::NotWholeBlocks { block_type, len: x.len(), block_len });
    }
    let expected = x.len() / block_len * block_bytes;
    if out.len() != expected {
        return Err(EncodeError::ByteLength { block_type, expected, actual: out.len() });
    }
    if let Some(index) = x.iter().position(|x| !x.is_finite()) {
        return Err(EncodeError::NonFiniteWeight { index });
    }
    for (x, out) in x.chunks_exact(block_len).zip(out.chunks_exact_mut(block_bytes)) {
        encode(x, out);
    }
    Ok(())
}

/// [`quantize_into`] a new vector.
///
/// # Errors
///
/// As [`quantize_into`].
pub fn quantize(block_type: BlockType, x: &[f32]) -> Result<Vec<u8>, EncodeError> {
    let mut out = vec![0; x.len() / block_type.block_len() * block_type.block_bytes()];
    quantize_into(block_type, x, &mut out)?;
    Ok(out)
}

/// Weights cannot be quantized into blocks.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EncodeError {
    #[error("there is no quantizer for {block_type} here")]
    Unsupported { block_type: BlockType },
    #[error("{block_type} has blocks of {block_len} weights, which do not divide {len}")]
    NotWholeBlocks { block_type: BlockType, len: usize, block_len: usize },
    #[error("the blocks of {block_type} need {expected} bytes, the buffer has {actual}")]
    ByteLength { block_type: BlockType, expected: usize, actual: usize },
    #[error("weight {index} is not finite")]
    NonFiniteWeight { index: usize },
}

impl crate::Diagnose for EncodeError {}

/// One block of a type: its weights and its bytes.
type Encoder = fn(&[f32], &mut [u8]);

fn encoder(block_type: BlockType) -> Option<Encoder> {
    Some(match block_type {
        BlockType::Q4_0 => q4_0,
        BlockType::Q4_1 => q4_1,
        BlockType::Q5_0 => q5_0,
        BlockType::Q5_1 => q5_1,
        BlockType::Q8_0 => q8_0,
        BlockType::TQ1_0 => tq1_0,
        BlockType::TQ2_0 => tq2_0,
        BlockType::MXFP4 => mxfp4,
        BlockType::Q1_0 => q1_0,
        BlockType::Q2_0 => q2_0,
        _ => return None,
    })
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn put_f16(out: &mut [u8], value: f32) {
    out.copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

fn max_abs(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

fn q4_0(x: &[f32], out: &mut [u8]) {
    let mut codes = [0; 32];
    put_f16(&mut out[..2], signed_codes(x, 8.0, &mut codes));
    put_nibbles(&codes, &mut out[2..]);
}

fn q5_0(x: &[f32], out: &mut [u8]) {
    let mut codes = [0; 32];
    // Adding 0 turns the -0 of an all-zero block into +0.
    put_f16(&mut out[..2], signed_codes(x, 16.0, &mut codes) + 0.0);
    put_fifth_bits(&codes, &mut out[2..6]);
    put_nibbles(&codes, &mut out[6..]);
}

fn q4_1(x: &[f32], out: &mut [u8]) {
    let mut codes = [0; 32];
    let (d, min) = range_codes(x, 15.0, &mut codes);
    put_f16(&mut out[..2], d);
    put_f16(&mut out[2..4], min);
    put_nibbles(&codes, &mut out[4..]);
}

fn q5_1(x: &[f32], out: &mut [u8]) {
    let mut codes = [0; 32];
    let (d, min) = range_codes(x, 31.0, &mut codes);
    put_f16(&mut out[..2], d);
    put_f16(&mut out[2..4], min);
    put_fifth_bits(&codes, &mut out[4..8]);
    put_nibbles(&codes, &mut out[8..]);
}

/// Codes around the zero point `half`, so that the value of largest magnitude (the first of equals) gets code 0; returns `d`.
fn signed_codes(x: &[f32], half: f32, codes: &mut [u8; 32]) -> f32 {
    let largest = x.iter().fold(0.0f32, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
    let d = largest / -half;
    let inverse = f64::from(inverse(d));
    for (code, &x) in codes.iter_mut().zip(x) {
        // The product is exact in f64, as the reference has it.
        let q = f64::from(x) * inverse + f64::from(half) + 0.5;
        *code = q.trunc().clamp(0.0, 2.0 * f64::from(half) - 1.0) as u8;
    }
    d
}

/// Codes over `[min, max]`; returns `d` and `min`.
fn range_codes(x: &[f32], levels: f32, codes: &mut [u8; 32]) -> (f32, f32) {
    let min = x.iter().copied().fold(f32::INFINITY, f32::min);
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (max - min) / levels;
    let inverse = inverse(d);
    for (code, &x) in codes.iter_mut().zip(x) {
        *code = ((x - min) * inverse + 0.5).trunc().clamp(0.0, levels) as u8;
    }
    (d, min)
}

/// Weight `j` in the low nibble of byte `j`, weight `j + 16` in the high one.
fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for (j, out) in out.iter_mut().enumerate() {
        *out = codes[j] & 15 | (codes[j + 16] & 15) << 4;
    }
}

fn put_fifth_bits(codes: &[u8; 32], out: &mut [u8]) {
    let bits = codes.iter().enumerate().fold(0, |bits, (j, &code)| bits | u32::from(code >> 4) << j);
    out.copy_from_slice(&bits.to_le_bytes());
}

fn q8_0(x: &[f32], out: &mut [u8]) {
    let d = max_abs(x) / 127.0;
    put_f16(&mut out[..2], d);
    let inverse = inverse(d);
    for (out, x) in out[2..].iter_mut().zip(x) {
        *out = (x * inverse).round() as i8 as u8;
    }
}

/// `round(x / max abs) + 1`: 0, 1 or 2.
fn ternary_code(x: f32, inverse: f32) -> u8 {
    ((x * inverse).round().clamp(-1.0, 1.0) as i8 + 1) as u8
}

fn tq1_0(x: &[f32], out: &mut [u8]) {
    let d = max_abs(x);
    let inverse = inverse(d);
    let mut rest = x;
    let mut at = 0;
    for (bytes, digits) in [(32, 5), (16, 5), (4, 4)] {
        let (run, after) = rest.split_at(bytes * digits);
        for j in 0..bytes {
            let digit = |n| u16::from(ternary_code(run[n * bytes + j], inverse));
            // Most significant digit first; four digits leave the fifth zero.
            let value = (0..digits).fold(0, |v, n| 3 * v + digit(n)) * if digits == 4 { 3 } else { 1 };
            out[at + j] = (value * 256).div_ceil(243) as u8;
        }
        (rest, at) = (after, at + bytes);
    }
    put_f16(&mut out[52..], d);
}

fn tq2_0(x: &[f32], out: &mut [u8]) {
    let d = max_abs(x);
    let inverse = inverse(d);
    for (x, out) in x.chunks_exact(128).zip(out.chunks_exact_mut(32)) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = (0..4).fold(0, |byte, s| byte | ternary_code(x[32 * s + j], inverse) << (2 * s));
        }
    }
    put_f16(&mut out[64..], d);
}

fn q1_0(x: &[f32], out: &mut [u8]) {
    let sum: f32 = x.iter().map(|x| x.abs()).sum();
    put_f16(&mut out[..2], sum / x.len() as f32);
    for (x, out) in x.chunks_exact(8).zip(&mut out[2..]) {
        *out = x.iter().enumerate().fold(0, |byte, (i, &x)| byte | u8::from(x >= 0.0) << i);
    }
}

fn q2_0(x: &[f32], out: &mut [u8]) {
    let d = max_abs(x);
    put_f16(&mut out[..2], d);
    let inverse = inverse(d);
    for (x, out) in x.chunks_exact(4).zip(&mut out[2..]) {
        *out = x.iter().enumerate().fold(0, |byte, (i, &x)| byte | ternary_code(x, inverse) << (2 * i));
    }
}

fn mxfp4(x: &[f32], out: &mut [u8]) {
    let largest = max_abs(x);
    let e = if largest > 0.0 { (largest.log2().floor() as i32 - 2 + 127).clamp(0, 255) as u8 } else { 0 };
    let scale = e8m0_half(e);
    let table = E2M1_DOUBLED.map(|level| f32::from(level) * scale);
    let nearest = |x: f32| {
        let distance = |i: usize| (table[i] - x).abs();
        (1..16).fold(0, |best, i| if distance(i) < distance(best) { i } else { best }) as u8
    };
    out[0] = e;
    for (j, out) in out[1..].iter_mut().enumerate() {
        *out = nearest(x[j]) | nearest(x[j + 16]) << 4;
    }
}

#[cfg(test)]
mod tests;
