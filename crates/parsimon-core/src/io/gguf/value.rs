//! The metadata of a GGUF file: typed values that borrow from the map and are decoded when asked for.

use std::borrow::Cow;

/// The type of a value or of the elements of an array; the discriminants are the numbers in files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

use ValueType as T;

impl ValueType {
    /// The type of a number in a file.
    pub fn from_id(id: u32) -> Option<ValueType> {
        const ALL: [ValueType; 13] = [
            T::U8,
            T::I8,
            T::U16,
            T::I16,
            T::U32,
            T::I32,
            T::F32,
            T::Bool,
            T::String,
            T::Array,
            T::U64,
            T::I64,
            T::F64,
        ];
        ALL.get(id as usize).copied()
    }

    /// Bytes of a value; `None` for strings and arrays.
    pub fn size(self) -> Option<usize> {
        match self {
            T::U8 | T::I8 | T::Bool => Some(1),
            T::U16 | T::I16 => Some(2),
            T::U32 | T::I32 | T::F32 => Some(4),
            T::U64 | T::I64 | T::F64 => Some(8),
            T::String | T::Array => None,
        }
    }
}

/// A value of the metadata.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    /// Bytes, because the tokens of a vocabulary need not be UTF-8.
    String(&'a [u8]),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => T::U8,
            Value::I8(_) => T::I8,
            Value::U16(_) => T::U16,
            Value::I16(_) => T::I16,
            Value::U32(_) => T::U32,
            Value::I32(_) => T::I32,
            Value::U64(_) => T::U64,
            Value::I64(_) => T::I64,
            Value::F32(_) => T::F32,
            Value::F64(_) => T::F64,
            Value::Bool(_) => T::Bool,
            Value::String(_) => T::String,
            Value::Array(_) => T::Array,
        }
    }

    /// An integer of any width, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::U64(v) => v.try_into().ok(),
            Value::I64(v) => Some(v),
            _ => None,
        }
    }

    /// An integer of any width, if it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U64(v) => Some(v),
            _ => self.as_i64()?.try_into().ok(),
        }
    }

    /// A float of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(v) = *self { Some(v) } else { None }
    }

    /// The bytes of a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Value::String(v) = *self { Some(v) } else { None }
    }

    /// A string that is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array<'a>> {
        if let Value::Array(v) = self { Some(v) } else { None }
    }

    /// Decodes the value at the start of `bytes` and returns what follows it; `None` where the bytes are not one.
    pub(super) fn read(value_type: ValueType, bytes: &'a [u8]) -> Option<(Value<'a>, &'a [u8])> {
        fn number<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
            let (number, rest) = bytes.split_first_chunk()?;
            Some((*number, rest))
        }
        macro_rules! number {
            ($variant:ident, $ty:ty) => {{
                let (bytes, rest) = number(bytes)?;
                (Value::$variant(<$ty>::from_le_bytes(bytes)), rest)
            }};
        }
        Some(match value_type {
            T::U8 => number!(U8, u8),
            T::I8 => number!(I8, i8),
            T::U16 => number!(U16, u16),
            T::I16 => number!(I16, i16),
            T::U32 => number!(U32, u32),
            T::I32 => number!(I32, i32),
            T::F32 => number!(F32, f32),
            T::U64 => number!(U64, u64),
            T::I64 => number!(I64, i64),
            T::F64 => number!(F64, f64),
            T::Bool => {
                let (&byte, rest) = bytes.split_first()?;
                (Value::Bool(byte != 0), rest)
            }
            T::String => {
                let (len, rest) = number(bytes)?;
                let (string, rest) = rest.split_at_checked(u64::from_le_bytes(len).try_into().ok()?)?;
                (Value::String(string), rest)
            }
            T::Array => {
                let (element, rest) = number(bytes)?;
                let (len, body) = number(rest)?;
                let element = ValueType::from_id(u32::from_le_bytes(element))?;
                let len = u64::from_le_bytes(len);
                let rest = skip(element, len, body)?;
                let bytes = Cow::Borrowed(&body[..body.len() - rest.len()]);
                (Value::Array(Array { element, len, bytes }), rest)
            }
        })
    }

    /// Appends the value as it stands in a file, without its type.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::U8(v) => out.push(*v),
            Value::I8(v) => out.extend(v.to_le_bytes()),
            Value::U16(v) => out.extend(v.to_le_bytes()),
            Value::I16(v) => out.extend(v.to_le_bytes()),
            Value::U32(v) => out.extend(v.to_le_bytes()),
            Value::I32(v) => out.extend(v.to_le_bytes()),
            Value::U64(v) => out.extend(v.to_le_bytes()),
            Value::I64(v) => out.extend(v.to_le_bytes()),
            Value::F32(v) => out.extend(v.to_le_bytes()),
            Value::F64(v) => out.extend(v.to_le_bytes()),
            Value::Bool(v) => out.push((*v).into()),
            Value::String(v) => write_string(v, out),
            Value::Array(array) => {
                out.extend((array.element as u32).to_le_bytes());
                out.extend(array.len.to_le_bytes());
                out.extend(&*array.bytes);
            }
        }
    }
}

/// Appends a length and the bytes.
pub(super) fn write_string(string: &[u8], out: &mut Vec<u8>) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string);
}

/// What follows `len` elements.
fn skip(element: ValueType, len: u64, bytes: &[u8]) -> Option<&[u8]> {
    if let Some(size) = element.size() {
        return bytes.get(usize::try_from(len).ok()?.checked_mul(size)?..);
    }
    let mut rest = bytes;
    for _ in 0..len {
        rest = Value::read(element, rest)?.1;
    }
    Some(rest)
}

/// An array of values of one type.
#[derive(Clone, PartialEq, Debug)]
pub struct Array<'a> {
    element: ValueType,
    len: u64,
    /// The elements as they stand in a file.
    bytes: Cow<'a, [u8]>,
}

impl<'a> Array<'a> {
    /// An array of strings.
    pub fn of_strings<S: AsRef<[u8]>>(strings: &[S]) -> Array<'static> {
        let mut bytes = Vec::new();
        strings.iter().for_each(|string| write_string(string.as_ref(), &mut bytes));
        Array { element: T::String, len: strings.len() as u64, bytes: bytes.into() }
    }

    /// An array of 32-bit floats.
    pub fn of_f32s(values: &[f32]) -> Array<'static> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { element: T::F32, len: values.len() as u64, bytes: bytes.into() }
    }

    /// An array of signed 32-bit integers.
    pub fn of_i32s(values: &[i32]) -> Array<'static> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { element: T::I32, len: values.len() as u64, bytes: bytes.into() }
    }

    /// An array of unsigned 32-bit integers.
    pub fn of_u32s(values: &[u32]) -> Array<'static> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { element: T::U32, len: values.len() as u64, bytes: bytes.into() }
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, decoded one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        let mut rest = &*self.bytes;
        (0..self.len).map_while(move |_| {
            let (value, after) = Value::read(self.element, rest)?;
            rest = after;
            Some(value)
        })
    }

    /// The bytes of an array of strings.
    pub fn strings(&self) -> Option<impl Iterator<Item = &[u8]>> {
        (self.element == T::String).then(|| self.iter().filter_map(|value| value.as_bytes()))
    }

    /// The elements of an array of integers that all fit.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        self.iter().map(|value| value.as_i64()).collect()
    }

    /// The elements of an array of floats, as 32-bit ones.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        self.iter().map(|value| value.as_f64().map(|v| v as f32)).collect()
    }
}
