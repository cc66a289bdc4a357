//! BitNet b1.58 weights: packed ternary codes, and float weights that are made ternary at load.
//!
//! Packed: `weight` U8 `[m / 4, k]`, one byte for rows `r`, `r + R`, `r + 2R`, `r + 3R` (`R = m / 4`) in bits 0-1, 2-3, 4-5, 6-7, code
//! `t + 1`; `weight_scale` of one element.
//!
//! **The trap.** Files look alike, and the scale of some multiplies while that of others divides: `linear_class` "autobitlinear" of the
//! `quantization_config` multiplies, "bitlinear" and an absent key divide. [`ScaleRule`] makes the caller say it.
//!
//! Online: `s = max(mean |W|, 1e-5)`, `t = clamp(round(W / s), -1, 1)`, `w = t s`.

use super::{PackedError, check_ternary, checked, elements, matrix_shape};
use crate::io::Checkpoint;
use crate::quant::gptq::tensor_name;
use crate::quant::{GroupQuantized, QuantError, Zeros};

/// The smallest scale of [`ternarize`]: what BitNet clamps the mean to.
const SCALE_MIN: f32 = 1e-5;

/// What `weight_scale` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScaleRule {
    /// `w = t * weight_scale`.
    Multiply,
    /// `w = t / weight_scale`.
    Divide,
}

impl ScaleRule {
    /// The rule of `quantization_config.linear_class`; an absent key means "bitlinear".
    ///
    /// # Errors
    ///
    /// [`PackedError::Unsupported`] for any other class.
    pub fn from_linear_class(class: Option<&str>) -> Result<ScaleRule, PackedError> {
        match class {
            Some("autobitlinear") => Ok(ScaleRule::Multiply),
            Some("bitlinear") | None => Ok(ScaleRule::Divide),
            Some(other) => Err(PackedError::Unsupported {
                tensor: "weight_scale".into(),
                what: "linear_class",
                given: other.to_owned(),
                supported: "autobitlinear and bitlinear",
            }),
        }
    }
}

/// Reads `prefix.weight` and `prefix.weight_scale`: 2-bit codes `t + 1` with zero point 1, one group a row.
///
/// # Errors
///
/// [`PackedError`] naming the tensor: dtype, shape, code 3, or a scale that is not finite (also `1 / 0`).
pub fn unpack(checkpoint: &Checkpoint, prefix: &str, rule: ScaleRule) -> Result<GroupQuantized, PackedError> {
    let [weight_name, scale_name] = ["weight", "weight_scale"].map(|suffix| tensor_name(prefix, suffix));
    checkpoint.require([&*weight_name, &*scale_name])?;
    let weight = checkpoint.tensor(&weight_name)?;
    if weight.dtype() != crate::DType::U8 {
        return Err(PackedError::mismatch(&weight_name, "the dtype", "U8", weight.dtype()));
    }
    let [quarter, k] = matrix_shape(&weight)?;
    let m = elements(&weight_name, quarter, 4)?;
    let stored = checkpoint.tensor(&scale_name)?.to_f32()?;
    let &[stored] = &stored[..] else {
        return Err(PackedError::mismatch(&scale_name, "the number of elements", 1, stored.len()));
    };
    let scale = match rule {
        ScaleRule::Multiply => stored,
        ScaleRule::Divide => 1.0 / stored,
    };
    let mut codes = vec![0; elements(&weight_name, m, k)?];
    for (i, codes) in codes.chunks_exact_mut(quarter * k).enumerate() {
        for (code, byte) in codes.iter_mut().zip(weight.bytes()) {
            *code = byte >> (2 * i) & 3;
        }
    }
    check_ternary(&weight_name, &codes, k)?;
    checked(&scale_name, ternary(codes, m, k, scale))
}

/// Makes float weights `[m, k]` ternary as BitNet's online mode does. Halves are rounded to even.
///
/// # Errors
///
/// [`QuantError`] for an empty shape, a wrong length or a weight that is not finite.
pub fn ternarize(weights: &[f32], m: usize, k: usize) -> Result<GroupQuantized, QuantError> {
    let expected = m.checked_mul(k).ok_or(QuantError::TooLarge { m, k })?;
    if expected == 0 {
        return Err(QuantError::EmptyShape { m, k, group: k });
    }
    if weights.len() != expected {
        return Err(QuantError::LengthMismatch { what: "weights", expected, actual: weights.len() });
    }
    if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
        return Err(QuantError::NonFiniteWeight { row: i / k, col: i % k });
    }
    let sum: f64 = weights.iter().map(|w| f64::from(w.abs())).sum();
    let scale = ((sum / expected as f64) as f32).max(SCALE_MIN);
    // Rounded to even, 0.5 is 0: beyond it, and only there, the code moves.
    let code = |&w: &f32| 1 + u8::from(w / scale > 0.5) - u8::from(w / scale < -0.5);
    Ok(ternary(weights.iter().map(code).collect(), m, k, scale))
}

pub(super) fn ternary(codes: Vec<u8>, m: usize, k: usize, scale: f32) -> GroupQuantized {
    let (scales, zeros) = (vec![scale; m], Zeros::Points(vec![1; m]));
    GroupQuantized { bits: 2, m, k, group: k, codes, scales, zeros, g_idx: None }
}
