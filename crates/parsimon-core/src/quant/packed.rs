//! What other programs pack into safetensors: AWQ, EfficientQAT, BitNet, and the flat tensors I2_S and T-MAC tiles.
//!
//! Every reader gives [`GroupQuantized`] and takes what the bytes do not say as a parameter: none of these
//! layouts names itself, and several look alike. [`super::gptq`] reads the most common one.
//!
//! | module | layout | what the bytes do not say |
//! |---|---|---|
//! | [`awq`] | 8 nibbles a word along the outputs, in the order 0 2 4 6 1 3 5 7 | the version: gemm is read, gemv is refused |
//! | [`efficient_qat`] | GPTQ's, but 3-bit codes 10 a word, and zero points as they are | the bits |
//! | [`bitnet`] | four row blocks of ternary codes in a byte | whether the scale multiplies or divides |
//! | [`i2s`] | ternary codes in blocks of 128 or 64, one scale at the end | which of the two |
//! | [`tmac`] | bit planes permuted for one kernel configuration | that configuration |

pub mod awq;
pub mod bitnet;
pub mod efficient_qat;
pub mod i2s;
pub mod tmac;

use std::path::Path;

use super::{GroupQuantized, QuantError};
use crate::io::FormatError;
use crate::{Diagnose, TensorView};

/// Packed tensors cannot be read; every variant names the tensor.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum PackedError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("tensor `{tensor}`: {source}")]
    Quant { tensor: String, source: QuantError },
    #[error("tensor `{tensor}`: {what} is {actual}, expected {expected}")]
    Mismatch { tensor: String, what: &'static str, expected: String, actual: String },
    #[error("tensor `{tensor}`: {what} `{given}` is not supported, only {supported}")]
    Unsupported { tensor: String, what: &'static str, given: String, supported: &'static str },
    #[error("tensor `{tensor}`: expected {expected} bytes, got {actual}")]
    ByteLength { tensor: String, expected: usize, actual: usize },
    #[error("tensor `{tensor}`: code {code} at row {row}, column {col} is not ternary")]
    NotTernary { tensor: String, row: usize, col: usize, code: u8 },
}

impl Diagnose for PackedError {
    fn variant(&self) -> String {
        match self {
            PackedError::Format(e) => e.variant(),
            PackedError::Quant { source, .. } => source.variant(),
            _ => crate::variant_name(self),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            PackedError::Format(e) => e.file(),
            _ => None,
        }
    }

    fn place(&self) -> Option<String> {
        use PackedError::*;
        match self {
            Format(e) => e.place(),
            Quant { tensor, .. }
            | Mismatch { tensor, .. }
            | Unsupported { tensor, .. }
            | ByteLength { tensor, .. }
            | NotTernary { tensor, .. } => Some(tensor.clone()),
        }
    }
}

impl PackedError {
    fn mismatch(tensor: &str, what: &'static str, expected: impl ToString, actual: impl ToString) -> Self {
        PackedError::Mismatch {
            tensor: tensor.to_owned(),
            what,
            expected: expected.to_string(),
            actual: actual.to_string(),
        }
    }
}

/// The two dimensions of a tensor, neither of them 0.
fn matrix_shape(tensor: &TensorView<'_>) -> Result<[usize; 2], PackedError> {
    match *tensor.shape() {
        [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
        _ => {
            let shape = format!("{:?}", tensor.shape());
            Err(PackedError::mismatch(tensor.name(), "the shape", "a matrix that is not empty", shape))
        }
    }
}

/// `m * k` codes of a matrix that is not empty, if the address space holds them.
fn elements(tensor: &str, m: usize, k: usize) -> Result<usize, PackedError> {
    let quant = |source| PackedError::Quant { tensor: tensor.to_owned(), source };
    match m.checked_mul(k) {
        Some(0) => Err(quant(QuantError::EmptyShape { m, k, group: k })),
        Some(elements) => Ok(elements),
        None => Err(quant(QuantError::TooLarge { m, k })),
    }
}

/// The matrix, once it is valid.
fn checked(tensor: &str, matrix: GroupQuantized) -> Result<GroupQuantized, PackedError> {
    match matrix.validate() {
        Ok(()) => Ok(matrix),
        Err(source) => Err(PackedError::Quant { tensor: tensor.to_owned(), source }),
    }
}

/// Refuses code 3, which stands for no ternary value.
fn check_ternary(tensor: &str, codes: &[u8], k: usize) -> Result<(), PackedError> {
    // Looking at all of them is faster than stopping at the first, and there should be none.
    if !codes.iter().fold(false, |any, &code| any | (code > 2)) {
        return Ok(());
    }
    let i = codes.iter().position(|&code| code > 2).expect("the line above returns when there is none");
    let (row, col, code) = (i / k, i % k, codes[i]);
    Err(PackedError::NotTernary { tensor: tensor.to_owned(), row, col, code })
}

#[cfg(test)]
mod tests;
