//! Element types of tensors in files.

use std::fmt;

/// The element type of a tensor, with safetensors' names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum DType {
    Bool,
    U8,
    I8,
    F8E4M3,
    F8E5M2,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl DType {
    const NAMES: [(&'static str, DType); 15] = [
        ("BOOL", DType::Bool),
        ("U8", DType::U8),
        ("I8", DType::I8),
        ("F8_E4M3", DType::F8E4M3),
        ("F8_E5M2", DType::F8E5M2),
        ("U16", DType::U16),
        ("I16", DType::I16),
        ("F16", DType::F16),
        ("BF16", DType::BF16),
        ("U32", DType::U32),
        ("I32", DType::I32),
        ("F32", DType::F32),
        ("U64", DType::U64),
        ("I64", DType::I64),
        ("F64", DType::F64),
    ];

    /// The dtype of a safetensors name such as `"BF16"`.
    pub fn from_safetensors(name: &str) -> Option<DType> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, dtype)| dtype)
    }

    /// The name in a safetensors header.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|&&(_, dtype)| dtype == self).expect("every dtype is in the table").0
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 | DType::F8E4M3 | DType::F8E5M2 => 1,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
