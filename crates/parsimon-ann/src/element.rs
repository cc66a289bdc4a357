//! Element types of vectors.

use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};

use crate::AnnError;
use crate::kernel::Wide;

/// The type of a vector's elements, in files and in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Element {
    F32,
    F16,
    Bf16,
    U8,
    I8,
}

impl Element {
    /// Every type, in the order of its code in files.
    pub const ALL: [Element; 5] = [Element::F32, Element::F16, Element::Bf16, Element::U8, Element::I8];

    /// The name that files and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
            Element::U8 => "u8",
            Element::I8 => "i8",
        }
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::U8 | Element::I8 => 1,
        }
    }

    /// Whether sums of this type are exact integers.
    pub const fn is_integer(self) -> bool {
        matches!(self, Element::U8 | Element::I8)
    }

    pub(crate) fn code(self) -> u8 {
        Self::ALL.iter().position(|&element| element == self).expect("every element is in the list") as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Element> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The elements of `bytes` as floats; exact for every type.
    ///
    /// # Panics
    ///
    /// When `bytes` is not whole elements.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        assert!(bytes.len().is_multiple_of(self.size()), "bytes must be whole elements");
        let mut values = vec![0.0; bytes.len() / self.size()];
        self.decode_into(bytes, &mut values);
        values
    }

    /// As [`Element::decode`] into memory that is there.
    ///
    /// # Panics
    ///
    /// When `bytes` is not `values.len()` elements.
    pub(crate) fn decode_into(self, bytes: &[u8], values: &mut [f32]) {
        assert_eq!(bytes.len(), values.len() * self.size(), "bytes must be the elements");
        let pairs = bytes.as_chunks::<2>().0;
        match self {
            Element::F32 => bytes.as_chunks::<4>().0.iter().zip(values).for_each(|(&b, v)| *v = f32::from_le_bytes(b)),
            Element::F16 => pairs.iter().zip(values).for_each(|(&b, v)| *v = f16::from_le_bytes(b).to_f32()),
            Element::Bf16 => pairs.iter().zip(values).for_each(|(&b, v)| *v = bf16::from_le_bytes(b).to_f32()),
            Element::U8 => bytes.iter().zip(values).for_each(|(&b, v)| *v = f32::from(b)),
            Element::I8 => bytes.iter().zip(values).for_each(|(&b, v)| *v = f32::from(b as i8)),
        }
    }

    /// Floats as elements: rounded to nearest, integers clipped to their range.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(values.len() * self.size());
        for &value in values {
            match self {
                Element::F32 => bytes.extend(value.to_le_bytes()),
                Element::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
                Element::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
                Element::U8 => bytes.push(value.round() as u8),
                Element::I8 => bytes.push(value.round() as i8 as u8),
            }
        }
        bytes
    }

    /// A query in the form that the kernels take.
    pub(crate) fn widen(self, bytes: &[u8]) -> Wide {
        match self {
            Element::U8 => Wide::Int(bytes.iter().map(|&b| i16::from(b)).collect()),
            Element::I8 => Wide::Int(bytes.iter().map(|&b| i16::from(b as i8)).collect()),
            _ => Wide::Float(self.decode(bytes)),
        }
    }

    /// As [`Element::widen`] into the memory of an earlier query.
    pub(crate) fn widen_into(self, bytes: &[u8], wide: &mut Wide) {
        match (self, wide) {
            (Element::U8, Wide::Int(words)) => {
                words.clear();
                words.extend(bytes.iter().map(|&b| i16::from(b)));
            }
            (Element::I8, Wide::Int(words)) => {
                words.clear();
                words.extend(bytes.iter().map(|&b| i16::from(b as i8)));
            }
            (Element::F32, Wide::Float(floats)) => {
                floats.clear();
                floats.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)));
            }
            (_, wide) => *wide = self.widen(bytes),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Element {
    type Err = AnnError;

    fn from_str(name: &str) -> Result<Self, AnnError> {
        let found = Self::ALL.into_iter().find(|element| element.name() == name);
        found.ok_or_else(|| AnnError::UnknownName {
            what: "element type",
            given: name.to_owned(),
            expected: "f32, f16, bf16, u8 or i8",
        })
    }
}
