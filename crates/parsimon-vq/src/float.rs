//! The float type of a model's tensors, and rounding to it.

use half::{bf16, f16};
use parsimon_core::DType;

/// The type that centroids, scales and biases are stored in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, serde::Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum FloatType {
    #[default]
    F16,
    BF16,
    F32,
}

impl FloatType {
    /// The float type of tensors of `dtype`.
    pub fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F16 => Some(FloatType::F16),
            DType::BF16 => Some(FloatType::BF16),
            DType::F32 => Some(FloatType::F32),
            _ => None,
        }
    }

    /// The type in files.
    pub fn dtype(self) -> DType {
        match self {
            FloatType::F16 => DType::F16,
            FloatType::BF16 => DType::BF16,
            FloatType::F32 => DType::F32,
        }
    }

    /// Bits of a number.
    pub fn bits(self) -> usize {
        8 * self.dtype().size()
    }

    /// The nearest number of this type, the even one of two; to `bf16` by way of `f32`, as frameworks do.
    pub fn round(self, value: f64) -> f64 {
        match self {
            FloatType::F16 => f64::from(f16_from_f64(value).to_f32()),
            FloatType::BF16 => f64::from(bf16::from_f32(value as f32).to_f32()),
            FloatType::F32 => f64::from(value as f32),
        }
    }

    /// The nearest number of this type to an `f32`.
    pub fn round_f32(self, value: f32) -> f32 {
        match self {
            FloatType::F16 => f16::from_f32(value).to_f32(),
            FloatType::BF16 => bf16::from_f32(value).to_f32(),
            FloatType::F32 => value,
        }
    }

    /// Little-endian bytes of values that this type holds exactly, others rounded to nearest.
    pub fn to_bytes(self, values: impl IntoIterator<Item = f32>) -> Vec<u8> {
        let values = values.into_iter();
        match self {
            FloatType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            FloatType::BF16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
            FloatType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        }
    }
}

/// To the nearest half-precision number with one rounding: to `f32` towards odd, which keeps what decides the second step.
pub(crate) fn f16_from_f64(value: f64) -> f16 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || value.is_nan() {
        return f16::from_f32(nearest);
    }
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > value.abs());
    f16::from_f32(f32::from_bits(towards_zero | 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_rounded_once() {
        // Just above the middle between 1 and 1 + 2^-10: the excess is below what f32 keeps.
        let middle = 1.0 + 2f64.powi(-11);
        assert_eq!(FloatType::F16.round(middle), 1.0);
        assert_eq!(FloatType::F16.round(middle + 2f64.powi(-40)), 1.0 + 2f64.powi(-10));
        assert_eq!(FloatType::F16.round(-middle - 2f64.powi(-40)), -1.0 - 2f64.powi(-10));
        assert_eq!(FloatType::F16.round(1e9), f64::INFINITY);
        assert_eq!(FloatType::BF16.round(1.0 + 2f64.powi(-8)), 1.0);
        assert_eq!(FloatType::F32.round(0.1), f64::from(0.1f32));
    }
}
