//! A borrowed tensor: name, dtype, shape, bytes.

use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};

use crate::DType;
use crate::io::FormatError;

/// A tensor inside a mapped file (or any byte slice): row-major, little-endian, possibly unaligned.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    pub(crate) file: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The tensor's name in its file.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The file it lies in.
    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The raw bytes, `len() * dtype().size()` of them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same tensor, once its shape is checked.
    ///
    /// # Errors
    ///
    /// [`FormatError::Shape`] with both shapes.
    pub fn expect_shape(self, expected: &[usize]) -> Result<Self, FormatError> {
        if self.shape == expected {
            return Ok(self);
        }
        Err(FormatError::Shape {
            file: self.file.to_owned(),
            tensor: self.name.to_owned(),
            expected: expected.to_vec(),
            actual: self.shape.to_vec(),
        })
    }

    /// The elements as `f32`, from F32, F16, BF16 or F64 (rounded to nearest).
    ///
    /// # Errors
    ///
    /// [`FormatError::WrongDType`] for any other dtype.
    pub fn to_f32(&self) -> Result<Vec<f32>, FormatError> {
        match self.dtype {
            DType::F32 => Ok(self.elements(f32::from_le_bytes)),
            DType::F16 => Ok(self.elements(|b| f16::from_le_bytes(b).to_f32())),
            DType::BF16 => Ok(self.elements(|b| bf16::from_le_bytes(b).to_f32())),
            DType::F64 => Ok(self.elements(|b| f64::from_le_bytes(b) as f32)),
            _ => Err(self.wrong_dtype("a float (F32, F16, BF16 or F64)")),
        }
    }

    /// Rows of the first dimension as f32.
    ///
    /// # Errors
    ///
    /// As [`to_f32`](Self::to_f32).
    ///
    /// # Panics
    ///
    /// When there are not so many rows.
    pub fn rows_to_f32(&self, rows: Range<usize>) -> Result<Vec<f32>, FormatError> {
        let row_len: usize = self.shape.iter().skip(1).product();
        let row_bytes = row_len * self.dtype.size();
        let bytes = &self.bytes[rows.start * row_bytes..rows.end * row_bytes];
        TensorView { bytes, shape: &[rows.len() * row_len], ..*self }.to_f32()
    }

    /// The tensor as an array of `f32` with its shape.
    ///
    /// # Errors
    ///
    /// As [`TensorView::to_f32`].
    #[cfg(feature = "ndarray")]
    pub fn to_array(&self) -> Result<ndarray::ArrayD<f32>, FormatError> {
        let array = ndarray::ArrayD::from_shape_vec(self.shape, self.to_f32()?);
        Ok(array.expect("the view's constructor checks that the shape holds every element"))
    }

    /// The elements of an F64 or F32 tensor as `f64`.
    ///
    /// # Errors
    ///
    /// [`FormatError::WrongDType`] for any other dtype.
    pub fn to_f64(&self) -> Result<Vec<f64>, FormatError> {
        match self.dtype {
            DType::F64 => Ok(self.elements(f64::from_le_bytes)),
            DType::F32 => Ok(self.elements(|b| f64::from(f32::from_le_bytes(b)))),
            _ => Err(self.wrong_dtype("F64 or F32")),
        }
    }

    /// The elements of an I32 tensor.
    ///
    /// # Errors
    ///
    /// [`FormatError::WrongDType`] for any other dtype.
    pub fn to_i32(&self) -> Result<Vec<i32>, FormatError> {
        match self.dtype {
            DType::I32 => Ok(self.elements(i32::from_le_bytes)),
            _ => Err(self.wrong_dtype("I32")),
        }
    }

    /// The elements of any integer tensor as `i64`.
    ///
    /// # Errors
    ///
    /// [`FormatError::WrongDType`] for a float tensor or U64.
    pub fn to_i64(&self) -> Result<Vec<i64>, FormatError> {
        match self.dtype {
            DType::U8 => Ok(self.elements(|b: [u8; 1]| i64::from(b[0]))),
            DType::I8 => Ok(self.elements(|b| i64::from(i8::from_le_bytes(b)))),
            DType::U16 => Ok(self.elements(|b| i64::from(u16::from_le_bytes(b)))),
            DType::I16 => Ok(self.elements(|b| i64::from(i16::from_le_bytes(b)))),
            DType::U32 => Ok(self.elements(|b| i64::from(u32::from_le_bytes(b)))),
            DType::I32 => Ok(self.elements(|b| i64::from(i32::from_le_bytes(b)))),
            DType::I64 => Ok(self.elements(i64::from_le_bytes)),
            _ => Err(self.wrong_dtype("an integer")),
        }
    }

    fn elements<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (chunks, rest) = self.bytes.as_chunks::<N>();
        debug_assert!(rest.is_empty(), "the view's constructor checks the byte length");
        chunks.iter().map(|&chunk| decode(chunk)).collect()
    }

    fn wrong_dtype(&self, expected: &'static str) -> FormatError {
        FormatError::WrongDType {
            file: self.file.to_owned(),
            tensor: self.name.to_owned(),
            expected,
            actual: self.dtype,
        }
    }
}
