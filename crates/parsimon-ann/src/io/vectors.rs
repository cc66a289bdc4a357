//! Vectors in files: mapped for reading, streamed for writing.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use parsimon_core::io::{AtomicFile, Map};

use crate::{Element, VectorFileError};

const FORMATS: &str = ".fvecs, .bvecs, .ivecs, .fbin, .u8bin, .i8bin, .ibin or .npy";

/// What lies in a file: elements of vectors, or 32-bit and 64-bit integers (ids).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Vector(Element),
    Int { size: usize, signed: bool },
}

impl Kind {
    pub(super) fn size(self) -> usize {
        match self {
            Kind::Vector(element) => element.size(),
            Kind::Int { size, .. } => size,
        }
    }
}

/// The layout of a mapped file: row `i` begins at `begin + i * stride`.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) map: Map,
    pub(super) kind: Kind,
    pub(super) n: usize,
    pub(super) d: usize,
    begin: usize,
    stride: usize,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Table, VectorFileError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let int = Kind::Int { size: 4, signed: true };
        let (per_row, kind) = match extension {
            "fvecs" => (true, Kind::Vector(Element::F32)),
            "bvecs" => (true, Kind::Vector(Element::U8)),
            "ivecs" => (true, int),
            "fbin" => (false, Kind::Vector(Element::F32)),
            "u8bin" => (false, Kind::Vector(Element::U8)),
            "i8bin" => (false, Kind::Vector(Element::I8)),
            "ibin" => (false, int),
            "npy" => return npy(path),
            _ => return Err(VectorFileError::UnknownFormat { file: path.to_owned(), expected: FORMATS }),
        };
        let map = Map::open(path)?;
        if per_row { vecs(map, kind) } else { bin(map, kind) }
    }

    pub(super) fn row(&self, i: usize) -> &[u8] {
        &self.map[self.begin + i * self.stride..][..self.d * self.kind.size()]
    }
}

pub(super) fn format(path: &Path, offset: usize, what: impl Into<String>) -> VectorFileError {
    VectorFileError::Format { file: path.to_owned(), offset: offset as u64, what: what.into() }
}

pub(super) fn u32_at(map: &[u8], at: usize) -> Option<u32> {
    map.get(at..)?.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
}

/// That `n d size` bytes and no more follow `begin`.
pub(super) fn check_size(map: &Map, begin: usize, n: usize, row: u128) -> Result<(), VectorFileError> {
    let needed = begin as u128 + n as u128 * row;
    if needed == map.len() as u128 {
        return Ok(());
    }
    let what = format!("{n} rows of {row} bytes end at byte {needed}, the file has {} bytes", map.len());
    Err(format(map.path(), begin, what))
}

fn bin(map: Map, kind: Kind) -> Result<Table, VectorFileError> {
    let (Some(n), Some(d)) = (u32_at(&map, 0), u32_at(&map, 4)) else {
        return Err(format(map.path(), 0, "the header of 8 bytes is cut off"));
    };
    if d == 0 {
        return Err(format(map.path(), 4, "the dimension is 0"));
    }
    let (n, d) = (n as usize, d as usize);
    check_size(&map, 8, n, d as u128 * kind.size() as u128)?;
    Ok(Table { map, kind, n, d, begin: 8, stride: d * kind.size() })
}

fn vecs(map: Map, kind: Kind) -> Result<Table, VectorFileError> {
    let d = u32_at(&map, 0).ok_or_else(|| format(map.path(), 0, "the dimension of the first row is cut off"))?;
    if d == 0 || d > i32::MAX as u32 {
        return Err(format(map.path(), 0, format!("the dimension is {}", d as i32)));
    }
    let d = d as usize;
    let stride = 4 + d * kind.size();
    if !map.len().is_multiple_of(stride) {
        let what = format!("rows of {stride} bytes do not fill the file of {} bytes", map.len());
        return Err(format(map.path(), map.len() / stride * stride, what));
    }
    let n = map.len() / stride;
    for i in 0..n {
        let given = u32_at(&map, i * stride).expect("the row lies in the file");
        if given as usize != d {
            return Err(format(
                map.path(),
                i * stride,
                format!("row {i} has dimension {}, row 0 has {d}", given as i32),
            ));
        }
    }
    Ok(Table { map, kind, n, d, begin: 4, stride })
}

fn npy(path: &Path) -> Result<Table, VectorFileError> {
    let map = Map::open(path)?;
    let bad = |what: &str| format(path, 0, what.to_owned());
    let (begin, length): (usize, _) = match map.get(..8) {
        Some(b"\x93NUMPY\x01\x00") => (10, map.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))),
        Some(b"\x93NUMPY\x02\x00" | b"\x93NUMPY\x03\x00") => (12, u32_at(&map, 8).map(|length| length as usize)),
        _ => return Err(bad("the magic number of npy 1.0 to 3.0 is missing")),
    };
    let dict = length.and_then(|length| map.get(begin..begin.checked_add(length)?));
    let dict = dict.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(|| bad("the header is cut off"))?;
    let value = |key: &str| dict.split_once(&format!("'{key}':")).map(|(_, after)| after.trim_start());
    let descr = value("descr").and_then(|v| v.split(['\'', '"']).nth(1)).ok_or_else(|| bad("`descr` is missing"))?;
    let kind = match descr {
        "<f4" => Kind::Vector(Element::F32),
        "<f2" => Kind::Vector(Element::F16),
        "|u1" => Kind::Vector(Element::U8),
        "|i1" => Kind::Vector(Element::I8),
        "<i4" => Kind::Int { size: 4, signed: true },
        "<u4" => Kind::Int { size: 4, signed: false },
        "<i8" => Kind::Int { size: 8, signed: true },
        "<u8" => Kind::Int { size: 8, signed: false },
        _ => return Err(bad(&format!("elements are `{descr}`, expected one of <f4 <f2 |u1 |i1 <i4 <u4 <i8 <u8"))),
    };
    if !value("fortran_order").is_some_and(|v| v.starts_with("False")) {
        return Err(bad("only C order is read"));
    }
    let shape = value("shape").and_then(|v| v.strip_prefix('(')?.split_once(')')).map(|(shape, _)| shape);
    let dims: Option<Result<Vec<usize>, _>> =
        shape.map(|s| s.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::parse::<usize>).collect());
    let (n, d) = match dims {
        Some(Ok(dims)) => match <[usize; 2]>::try_from(dims) {
            Ok([n, d]) => (n, d),
            Err(dims) if dims.len() == 1 => (dims[0], 1),
            Err(_) => return Err(bad("expected one or two dimensions")),
        },
        _ => return Err(bad("`shape` is missing or no tuple of numbers")),
    };
    if d == 0 {
        return Err(bad("the dimension is 0"));
    }
    let data = begin + length.expect("the header was there");
    check_size(&map, data, n, d as u128 * kind.size() as u128)?;
    Ok(Table { map, kind, n, d, begin: data, stride: d * kind.size() })
}

/// A mapped file of vectors: rows are read from disk as they are used.
#[derive(Debug)]
pub struct VectorFile {
    table: Table,
    element: Element,
}

impl VectorFile {
    /// Maps and checks a file; its name's ending says the format.
    ///
    /// # Errors
    ///
    /// [`VectorFileError`] with the byte where the file stops making sense.
    pub fn open(path: &Path) -> Result<VectorFile, VectorFileError> {
        let table = Table::open(path)?;
        match table.kind {
            Kind::Vector(element) => Ok(VectorFile { table, element }),
            Kind::Int { .. } => Err(format(path, 0, "the elements are 32 or 64-bit integers: ids, not vectors")),
        }
    }

    /// The type of elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.table.d
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.table.n
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.n == 0
    }

    /// The bytes of vector `i`.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn row(&self, i: usize) -> &[u8] {
        assert!(i < self.table.n, "row {i} of {}", self.table.n);
        self.table.row(i)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.table.map.path()
    }

    /// The first vector that is not finite.
    pub fn first_not_finite(&self) -> Option<usize> {
        if self.element.is_integer() {
            return None;
        }
        (0..self.len()).find(|&i| self.element.decode(self.row(i)).iter().any(|v| !v.is_finite()))
    }
}

/// Writes vectors beside the final name and renames: fvecs, bvecs, fbin, u8bin, i8bin or npy by the name's ending.
pub struct VectorWriter {
    file: AtomicFile,
    path: PathBuf,
    element: Element,
    dim: usize,
    rows: u64,
    per_row: bool,
    npy: bool,
}

/// The npy header is written twice, with room for any number of rows.
const NPY_HEADER: usize = 128;

impl VectorWriter {
    /// Starts a file.
    ///
    /// # Errors
    ///
    /// [`VectorFileError::UnknownFormat`] where the ending does not fit the element type; I/O.
    pub fn create(path: &Path, element: Element, dim: usize) -> Result<VectorWriter, VectorFileError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let (per_row, npy) = match (extension, element) {
            ("fvecs", Element::F32) | ("bvecs", Element::U8) => (true, false),
            ("fbin", Element::F32) | ("u8bin", Element::U8) | ("i8bin", Element::I8) => (false, false),
            ("npy", Element::F32 | Element::F16 | Element::U8 | Element::I8) => (false, true),
            _ => {
                let expected = "an ending that holds these elements: .fbin or .fvecs f32, .u8bin or .bvecs u8, .i8bin i8, .npy f16 too";
                return Err(VectorFileError::UnknownFormat { file: path.to_owned(), expected });
            }
        };
        let mut writer = VectorWriter {
            file: AtomicFile::create(path)?,
            path: path.to_owned(),
            element,
            dim,
            rows: 0,
            per_row,
            npy,
        };
        let header = writer.header();
        writer.write(&header)?;
        Ok(writer)
    }

    fn header(&self) -> Vec<u8> {
        if self.npy {
            let descr = match self.element {
                Element::F16 => "<f2",
                Element::U8 => "|u1",
                Element::I8 => "|i1",
                _ => "<f4",
            };
            let dict =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}, {}), }}", self.rows, self.dim);
            let mut header = b"\x93NUMPY\x01\x00".to_vec();
            header.extend(((NPY_HEADER - 10) as u16).to_le_bytes());
            header.extend(dict.as_bytes());
            header.resize(NPY_HEADER - 1, b' ');
            header.push(b'\n');
            return header;
        }
        if self.per_row {
            Vec::new()
        } else {
            [(self.rows as u32).to_le_bytes(), (self.dim as u32).to_le_bytes()].concat()
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), VectorFileError> {
        let file = self.path.clone();
        self.file.write_all(bytes).map_err(|source| VectorFileError::Io { file, action: "write", source })
    }

    /// Appends a vector.
    ///
    /// # Errors
    ///
    /// I/O.
    ///
    /// # Panics
    ///
    /// When the vector has another size.
    pub fn push(&mut self, vector: &[u8]) -> Result<(), VectorFileError> {
        assert_eq!(vector.len(), self.dim * self.element.size(), "a vector of the file");
        if self.per_row {
            let dim = (self.dim as u32).to_le_bytes();
            self.write(&dim)?;
        }
        self.rows += 1;
        self.write(vector)
    }

    /// Completes the header, synchronizes and renames.
    ///
    /// # Errors
    ///
    /// I/O.
    pub fn finish(mut self) -> Result<u64, VectorFileError> {
        let header = self.header();
        let path = self.path.clone();
        let io = |source| VectorFileError::Io { file: path.clone(), action: "write the header of", source };
        self.file.flush().map_err(io)?;
        // The buffer is empty, so a second handle may write the first bytes.
        let mut head = std::fs::OpenOptions::new().write(true).open(self.file.temporary_path()).map_err(io)?;
        head.seek(SeekFrom::Start(0)).and_then(|_| head.write_all(&header)).map_err(io)?;
        let rows = self.rows;
        self.file.commit()?;
        Ok(rows)
    }
}
