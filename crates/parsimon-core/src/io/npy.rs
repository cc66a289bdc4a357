//! NumPy's `.npy`, version 1.0: little-endian C-order arrays.

use std::io::Write;
use std::path::Path;

use bytemuck::Pod;

use super::{AtomicFile, FormatError, Map};

/// An element type that `.npy` files of this crate hold.
pub trait NpyElement: Pod {
    /// NumPy's description, such as `<f4`.
    const DESCR: &'static str;
}

impl NpyElement for f32 {
    const DESCR: &'static str = "<f4";
}
impl NpyElement for f64 {
    const DESCR: &'static str = "<f8";
}
impl NpyElement for u16 {
    const DESCR: &'static str = "<u2";
}
impl NpyElement for u32 {
    const DESCR: &'static str = "<u4";
}

/// Writes an array beside `path` and renames it.
///
/// The header is padded with spaces so that the data starts at a multiple of 64 bytes.
///
/// # Errors
///
/// [`FormatError::Io`].
///
/// # Panics
///
/// When `data.len()` is not the product of `shape`.
pub fn write_npy<T: NpyElement>(path: &Path, shape: &[usize], data: &[T]) -> Result<(), FormatError> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "the shape {shape:?} must hold every element");
    let mut file = AtomicFile::create(path)?;
    file.write_all(&header::<T>(shape))
        .and_then(|()| write_elements(&mut file, data))
        .map_err(|e| FormatError::io(path, "write", e))?;
    file.commit()
}

fn header<T: NpyElement>(shape: &[usize]) -> Vec<u8> {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let dims = if shape.len() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let dict = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({dims}), }}", T::DESCR);
    let unpadded = 10 + dict.len() + 1;
    let padding = unpadded.next_multiple_of(64) - unpadded;
    let length = u16::try_from(dict.len() + padding + 1).expect("a shape's text is far below 64 KiB");
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(length.to_le_bytes());
    header.extend(dict.as_bytes());
    header.extend(std::iter::repeat_n(b' ', padding));
    header.push(b'\n');
    header
}

fn write_elements<T: NpyElement>(out: &mut impl Write, data: &[T]) -> std::io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(data));
    }
    for element in data {
        let mut bytes = bytemuck::bytes_of(element).to_vec();
        bytes.reverse();
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// A mapped `.npy` array.
#[derive(Debug)]
pub struct NpyArray {
    map: Map,
    descr: String,
    shape: Vec<usize>,
    data_at: usize,
}

impl NpyArray {
    /// Maps and checks `path`.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`]; [`FormatError::Malformed`] for anything but a version 1.0 or 2.0 header in C order;
    /// [`FormatError::Truncated`] when the data is shorter than the shape says.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let map = Map::open(path)?;
        let malformed =
            |reason: &str| FormatError::Malformed { file: path.to_owned(), format: "npy", reason: reason.to_owned() };
        let (prefix, version) = map.split_at_checked(8).ok_or_else(|| malformed("shorter than its magic number"))?;
        let length = match prefix {
            b"\x93NUMPY\x01\x00" => version.first_chunk::<2>().map(|b| (10usize, u16::from_le_bytes(*b) as usize)),
            b"\x93NUMPY\x02\x00" => version.first_chunk::<4>().map(|b| (12usize, u32::from_le_bytes(*b) as usize)),
            _ => return Err(malformed("the magic number of version 1.0 or 2.0 is missing")),
        };
        let (begin, length) = length.ok_or_else(|| malformed("the header length is missing"))?;
        let dict = begin
            .checked_add(length)
            .and_then(|end| map.get(begin..end))
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .ok_or_else(|| malformed("the header is cut off or not text"))?;
        let descr = value_of(dict, "descr").map(|v| v.trim_matches(['\'', '"']).to_owned());
        let descr = descr.ok_or_else(|| malformed("`descr` is missing"))?;
        if value_of(dict, "fortran_order") != Some("False") {
            return Err(malformed("only C order is read (`fortran_order` must be False)"));
        }
        let shape = parse_shape(dict).ok_or_else(|| malformed("`shape` is missing or not a tuple of numbers"))?;
        let size = descr.get(2..).and_then(|digits| digits.parse::<usize>().ok());
        let size = size.ok_or_else(|| malformed("`descr` has no element size"))?;
        let data_at = begin + length;
        let needed = shape.iter().try_fold(size, |product, &dim| product.checked_mul(dim));
        let needed = needed.ok_or_else(|| malformed("the shape overflows"))?;
        if map.len() - data_at < needed {
            return Err(FormatError::Truncated {
                file: path.to_owned(),
                what: format!("the array {shape:?} of {descr}"),
                needed: needed as u64,
                available: (map.len() - data_at) as u64,
            });
        }
        Ok(NpyArray { map, descr, shape, data_at })
    }

    /// The array's dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// NumPy's description of the element type.
    pub fn descr(&self) -> &str {
        &self.descr
    }

    /// The elements, copied.
    ///
    /// # Errors
    ///
    /// [`FormatError::Malformed`] when the element type is not `T`.
    pub fn to_vec<T: NpyElement>(&self) -> Result<Vec<T>, FormatError> {
        if self.descr != T::DESCR {
            return Err(FormatError::Malformed {
                file: self.map.path().to_owned(),
                format: "npy",
                reason: format!("the elements are {}, expected {}", self.descr, T::DESCR),
            });
        }
        let bytes = &self.map[self.data_at..][..self.shape.iter().product::<usize>() * size_of::<T>()];
        if cfg!(target_endian = "little") {
            return Ok(bytemuck::pod_collect_to_vec(bytes));
        }
        let swap = |chunk: &[u8]| bytemuck::pod_read_unaligned(&chunk.iter().rev().copied().collect::<Vec<_>>());
        Ok(bytes.chunks_exact(size_of::<T>()).map(swap).collect())
    }
}

/// The text of a value in the header's dict, up to the comma that ends it; not for tuples.
fn value_of<'a>(dict: &'a str, key: &str) -> Option<&'a str> {
    let after = dict.split_once(&format!("'{key}':"))?.1;
    Some(after.split([',', '}']).next()?.trim())
}

fn parse_shape(dict: &str) -> Option<Vec<usize>> {
    let tuple = dict.split_once("'shape':")?.1.split_once('(')?.1.split_once(')')?.0;
    tuple.split(',').map(str::trim).filter(|dim| !dim.is_empty()).map(|dim| dim.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
