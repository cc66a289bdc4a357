//! Codes, scales and zero points of one weight matrix.

use std::path::Path;

use crate::Diagnose;

/// A weight matrix `[m, k]` as uniform codes: `w[r, c] = (codes[r, c] - zp[r, g]) * scales[r, g]`, or with real zeros
/// `(codes[r, c] - 2^(bits - 1)) * scales[r, g] - z[r, g]`.
///
/// `g = c / group`, or `g = g_idx[c]` where the columns were quantized in another order ("act-order").
/// The last group of a row may be short. Scales are `[m, ceil(k / group)]`, like the zero points.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupQuantized {
    /// Bits of a code, 1 to 8. Ternary weights are 2-bit codes `t + 1` with zero point 1.
    pub bits: u8,
    /// Output features (rows).
    pub m: usize,
    /// Input features (columns).
    pub k: usize,
    /// Columns that share a scale.
    pub group: usize,
    /// One code a byte, `[m, k]`.
    pub codes: Vec<u8>,
    /// `[m, n_groups]`.
    pub scales: Vec<f32>,
    /// What a code of zero stands for, `[m, n_groups]`.
    pub zeros: Zeros,
    /// The group of every column where it is not `c / group`.
    pub g_idx: Option<Vec<u32>>,
}

/// The zeros of all groups.
#[derive(Clone, PartialEq, Debug)]
pub enum Zeros {
    /// Integer zero points: `w = (q - zp) * s`. `2^bits` itself is legal.
    Points(Vec<u16>),
    /// Real zeros: `w = (q - 2^(bits - 1)) * s - z`; what formats with a minimum per group give.
    Real(Vec<f32>),
}

impl Zeros {
    /// The number of groups.
    pub fn len(&self) -> usize {
        match self {
            Zeros::Points(points) => points.len(),
            Zeros::Real(reals) => reals.len(),
        }
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl GroupQuantized {
    /// Groups in a row: `ceil(k / group)`.
    pub fn n_groups(&self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Checks lengths, code range, scales, zeros and `g_idx`.
    ///
    /// # Errors
    ///
    /// The first violation as [`QuantError`].
    pub fn validate(&self) -> Result<(), QuantError> {
        if !(1..=8).contains(&self.bits) {
            return Err(QuantError::UnsupportedBits { bits: u32::from(self.bits) });
        }
        if self.m == 0 || self.k == 0 || self.group == 0 {
            return Err(QuantError::EmptyShape { m: self.m, k: self.k, group: self.group });
        }
        let elements = self.m.checked_mul(self.k).ok_or(QuantError::TooLarge { m: self.m, k: self.k })?;
        let per_group = self.m * self.n_groups();
        check_len("codes", elements, self.codes.len())?;
        check_len("scales", per_group, self.scales.len())?;
        check_len("zeros", per_group, self.zeros.len())?;
        // All bits of all codes first: that is faster than a search, and the search should find none.
        let is_wide = |code: u8| u32::from(code) >> self.bits != 0;
        if is_wide(self.codes.iter().fold(0, |all, &code| all | code))
            && let Some(i) = self.codes.iter().position(|&code| is_wide(code))
        {
            return Err(QuantError::CodeOutOfRange { row: i / self.k, col: i % self.k, code: self.codes[i] });
        }
        if let Some(i) = self.scales.iter().position(|scale| !scale.is_finite()) {
            return Err(QuantError::NonFiniteScale { row: i / self.n_groups(), group: i % self.n_groups() });
        }
        self.validate_zeros()?;
        if let Some(g_idx) = &self.g_idx {
            check_len("g_idx", self.k, g_idx.len())?;
            if let Some(col) = g_idx.iter().position(|&g| g as usize >= self.n_groups()) {
                return Err(QuantError::GroupIndexOutOfRange { col, index: g_idx[col], n_groups: self.n_groups() });
            }
        }
        Ok(())
    }

    fn validate_zeros(&self) -> Result<(), QuantError> {
        let place = |i: usize| (i / self.n_groups(), i % self.n_groups());
        match &self.zeros {
            Zeros::Points(points) => match points.iter().position(|&zp| zp > 1 << self.bits) {
                None => Ok(()),
                Some(i) => {
                    let ((row, group), zero_point) = (place(i), points[i]);
                    Err(QuantError::ZeroPointOutOfRange { row, group, zero_point })
                }
            },
            Zeros::Real(reals) => match reals.iter().position(|z| !z.is_finite()) {
                None => Ok(()),
                Some(i) => {
                    let (row, group) = place(i);
                    Err(QuantError::NonFiniteZero { row, group })
                }
            },
        }
    }

    /// The group of a column.
    pub fn group_of(&self, col: usize) -> usize {
        match &self.g_idx {
            Some(g_idx) => g_idx[col] as usize,
            None => col / self.group,
        }
    }

    /// The weight at row `r`, column `c`, in `f64`: exact but for the last of its two operations.
    pub fn weight(&self, r: usize, c: usize) -> f64 {
        let g = r * self.n_groups() + self.group_of(c);
        let (code, scale) = (f64::from(self.codes[r * self.k + c]), f64::from(self.scales[g]));
        match &self.zeros {
            Zeros::Points(points) => (code - f64::from(points[g])) * scale,
            Zeros::Real(reals) => (code - f64::from(1u32 << (self.bits - 1))) * scale - f64::from(reals[g]),
        }
    }

    /// Writes the weights as `f32`, `[m, k]`: each the nearest to its exact value.
    ///
    /// # Panics
    ///
    /// When `out.len() != m * k`, or the value does not [`validate`](Self::validate).
    pub fn dequantize_into(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.m * self.k, "out must hold [m, k]");
        for (r, row) in out.chunks_exact_mut(self.k).enumerate() {
            for (c, w) in row.iter_mut().enumerate() {
                *w = self.weight(r, c) as f32;
            }
        }
    }

    /// [`Self::dequantize_into`] a new vector.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.m * self.k];
        self.dequantize_into(&mut out);
        out
    }

    /// Bits a weight with every overhead counted: codes, 16-bit scales, `bits`-bit zero points or 16-bit real zeros, and `g_idx`
    /// where it is stored.
    pub fn bits_per_weight(&self) -> f64 {
        let zero_bits = if matches!(self.zeros, Zeros::Points(_)) { u32::from(self.bits) } else { 16 };
        let per_group = f64::from(16 + zero_bits) * (self.m * self.n_groups()) as f64;
        let g_idx = if self.g_idx.is_some() { 32.0 * self.k as f64 } else { 0.0 };
        f64::from(self.bits) + (per_group + g_idx) / (self.m * self.k) as f64
    }
}

fn check_len(what: &'static str, expected: usize, actual: usize) -> Result<(), QuantError> {
    if expected == actual { Ok(()) } else { Err(QuantError::LengthMismatch { what, expected, actual }) }
}

/// Low-bit weights are not well formed, or cannot be packed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum QuantError {
    #[error("{bits}-bit codes are not supported here")]
    UnsupportedBits { bits: u32 },
    #[error("empty shape: m = {m}, k = {k}, group = {group}")]
    EmptyShape { m: usize, k: usize, group: usize },
    #[error("[{m}, {k}] does not fit the address space")]
    TooLarge { m: usize, k: usize },
    #[error("{what}: expected {expected} elements, got {actual}")]
    LengthMismatch { what: &'static str, expected: usize, actual: usize },
    #[error("code {code} at row {row}, column {col} is out of range")]
    CodeOutOfRange { row: usize, col: usize, code: u8 },
    #[error("zero point {zero_point} at row {row}, group {group} is out of range")]
    ZeroPointOutOfRange { row: usize, group: usize, zero_point: u16 },
    #[error("the scale of row {row}, group {group} is not finite")]
    NonFiniteScale { row: usize, group: usize },
    #[error("the zero of row {row}, group {group} is not finite")]
    NonFiniteZero { row: usize, group: usize },
    #[error("real zeros cannot be stored as integer zero points")]
    RealZeros,
    #[error("the weight at row {row}, column {col} is not finite")]
    NonFiniteWeight { row: usize, col: usize },
    #[error("g_idx[{col}] = {index}, but there are {n_groups} groups")]
    GroupIndexOutOfRange { col: usize, index: u32, n_groups: usize },
    #[error("{what} of {len} codes of {bits} bits do not fill whole 32-bit words")]
    NotWholeWords { what: &'static str, len: usize, bits: u8 },
    #[error("packed tensors disagree: {0}")]
    Inconsistent(String),
}

impl Diagnose for QuantError {
    fn file(&self) -> Option<&Path> {
        None
    }
}

#[cfg(test)]
mod tests;
