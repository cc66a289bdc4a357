//! The part of a GGUF file before the data, checked whole before anything of it is used.
//!
//! Nothing is allocated for values: they are walked, and their places kept. Tensors and keys are kept one by one, at most 2^20 of each and no
//! more than the rest of the file could hold.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::dialect::{self, Clues, Dialect, Suggestion};
use super::value::{Value, ValueType};
use crate::io::FormatError;

const MAGIC: [u8; 4] = *b"GGUF";
const COUNT_MAX: u64 = 1 << 20;
/// Bytes of the smallest entries: an empty name and one dimension; an empty key and one byte.
const TENSOR_BYTES_MIN: u64 = 32;
const KEY_BYTES_MIN: u64 = 13;
const STRING_BYTES_MAX: u64 = 16 << 20;
const KEY_BYTES_MAX: u64 = 65535;
pub(super) const NAME_BYTES_MAX: u64 = 64;
const NESTING_MAX: usize = 4;
pub(super) const DIMS_MAX: usize = 4;
const ALIGNMENT_MAX: u64 = 1 << 20;
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
pub(super) const ALIGNMENT_DEFAULT: u64 = 32;

/// One tensor of the list.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorInfo {
    /// The name, at most 64 bytes.
    pub name: Box<str>,
    /// The dimensions, outermost first: `[m, k]` for a weight. The file has them the other way round.
    pub shape: Box<[usize]>,
    /// The number of the type in the file; what it means depends on the dialect.
    pub type_id: u32,
    /// Bytes from the start of the data.
    pub offset: u64,
    /// Bytes of the tensor; up to the next tensor where its type does not say.
    pub bytes: u64,
}

impl TensorInfo {
    /// The product of the dimensions.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }

    /// The contiguous dimension.
    pub(super) fn k(&self) -> u64 {
        self.shape.last().map_or(1, |&k| k as u64)
    }
}

/// A key and the place of its value.
#[derive(Debug)]
struct Key {
    name: Box<str>,
    value_type: ValueType,
    value: Range<usize>,
}

/// Everything before the data.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) version: u32,
    pub(super) alignment: u64,
    pub(super) data_at: usize,
    pub(super) tensors: Vec<TensorInfo>,
    keys: Vec<Key>,
    /// Indices in the order of the names.
    tensors_by_name: Vec<u32>,
    keys_by_name: Vec<u32>,
    gaps: Vec<(u64, bool)>,
}

impl Directory {
    /// Reads and checks the directory of a whole file.
    pub(super) fn parse(path: &Path, bytes: &[u8], dialect: Dialect) -> Result<Directory, FormatError> {
        let mut cursor = Cursor { path, bytes, at: 0 };
        let version = cursor.version()?;
        let n_tensors = cursor.u64("the number of tensors")?;
        let n_keys = cursor.u64("the number of keys")?;
        cursor.check_count("the number of tensors", n_tensors, TENSOR_BYTES_MIN)?;
        cursor.check_count("the number of keys", n_keys, KEY_BYTES_MIN)?;
        let keys = (0..n_keys).map(|i| cursor.key(i)).collect::<Result<Vec<_>, _>>()?;
        let keys_by_name = sorted(&keys, |key| &key.name)
            .map_err(|key| FormatError::DuplicateKey { file: path.to_owned(), key: key.to_owned() })?;
        let tensors = (0..n_tensors).map(|i| cursor.tensor(i)).collect::<Result<Vec<_>, _>>()?;
        let tensors_by_name = sorted(&tensors, |info| &info.name)
            .map_err(|tensor| FormatError::DuplicateTensor { file: path.to_owned(), tensor: tensor.to_owned() })?;
        let mut directory = Directory {
            version,
            alignment: ALIGNMENT_DEFAULT,
            data_at: 0,
            tensors,
            keys,
            tensors_by_name,
            keys_by_name,
            gaps: Vec::new(),
        };
        directory.alignment = directory.alignment(path, bytes)?;
        directory.data_at = cursor.at.next_multiple_of(directory.alignment as usize);
        let available = (bytes.len() as u64).saturating_sub(directory.data_at as u64);
        directory.place(path, dialect, available).map_err(|source| match directory.suggest(bytes, dialect) {
            None => source,
            Some(Suggestion { dialect: suggested, evidence }) => FormatError::WrongDialect {
                file: path.to_owned(),
                given: format!("{dialect:?}"),
                suggested: format!("{suggested:?}"),
                evidence,
                source: Box::new(source),
            },
        })?;
        Ok(directory)
    }

    fn alignment(&self, path: &Path, bytes: &[u8]) -> Result<u64, FormatError> {
        let Some(value) = self.get(bytes, ALIGNMENT_KEY) else { return Ok(ALIGNMENT_DEFAULT) };
        let given = value.as_u64().unwrap_or(0);
        if is_alignment(given) {
            return Ok(given);
        }
        Err(FormatError::BadAlignment { file: path.to_owned(), given: format!("{value:?}") })
    }

    /// Finds the bytes of every tensor, inside the data and without overlap.
    fn place(&mut self, path: &Path, dialect: Dialect, available: u64) -> Result<(), FormatError> {
        let mut order: Vec<u32> = (0..self.tensors.len() as u32).collect();
        order.sort_by_key(|&i| self.tensors[i as usize].offset);
        self.gaps = vec![(0, false); self.tensors.len()];
        for (place, &i) in order.iter().enumerate() {
            let next = order.get(place + 1).map(|&next| self.tensors[next as usize].offset);
            let gap = next.unwrap_or(available).saturating_sub(self.tensors[i as usize].offset);
            self.gaps[i as usize] = (gap, next.is_none());
        }
        for (place, &i) in order.iter().enumerate() {
            let (gap, is_last) = self.gaps[i as usize];
            let info = &self.tensors[i as usize];
            let bytes = self.check_tensor(path, dialect, info, gap)?;
            let needed = bytes.max(1);
            if info.offset.checked_add(needed).is_none_or(|end| end > available) {
                return Err(FormatError::OutOfBounds {
                    file: path.to_owned(),
                    tensor: info.name.to_string(),
                    begin: info.offset,
                    end: info.offset.saturating_add(needed),
                    available,
                    dtype: type_name(dialect, info.type_id),
                    shape: info.shape.iter().map(|&dim| dim as u64).collect(),
                    needed,
                });
            }
            if !is_last && needed > gap {
                let second = &self.tensors[order[place + 1] as usize];
                return Err(FormatError::Overlap {
                    file: path.to_owned(),
                    first: info.name.to_string(),
                    second: second.name.to_string(),
                    at: second.offset,
                });
            }
            self.tensors[i as usize].bytes = bytes;
        }
        Ok(())
    }

    /// The bytes of a tensor whose offset is aligned and whose shape its type can have; `gap` where the type is not known.
    fn check_tensor(&self, path: &Path, dialect: Dialect, info: &TensorInfo, gap: u64) -> Result<u64, FormatError> {
        if !info.offset.is_multiple_of(self.alignment) {
            return Err(FormatError::Misaligned {
                file: path.to_owned(),
                tensor: info.name.to_string(),
                offset: info.offset,
                alignment: self.alignment,
            });
        }
        let block_len = match dialect::layout(dialect, info.type_id) {
            dialect::Layout::Block(block_type) => block_type.block_len() as u64,
            dialect::Layout::I2s => 64,
            dialect::Layout::Refused(..) => return Ok(dialect::exact_bytes(dialect, info).unwrap_or(gap)),
        };
        dialect::exact_bytes(dialect, info).ok_or_else(|| FormatError::BadShape {
            file: path.to_owned(),
            tensor: info.name.to_string(),
            shape: info.shape.iter().map(|&dim| dim as u64).collect(),
            reason: format!("{} needs whole blocks of {block_len} weights", type_name(dialect, info.type_id)),
        })
    }

    /// See [`dialect::suggest`].
    pub(super) fn suggest(&self, bytes: &[u8], given: Dialect) -> Option<Suggestion> {
        let architecture = self.get(bytes, "general.architecture").and_then(|value| value.as_str());
        let file_type = self.get(bytes, "general.file_type").and_then(|value| value.as_u64());
        let clues = Clues {
            architecture: architecture.unwrap_or_default(),
            file_type: file_type.unwrap_or(u64::MAX),
            gaps: &self.gaps,
            alignment: self.alignment,
        };
        dialect::suggest(given, &self.tensors, &clues)
    }

    /// The value of a key, decoded from the file's bytes.
    pub(super) fn get<'a>(&self, bytes: &'a [u8], key: &str) -> Option<Value<'a>> {
        let find = self.keys_by_name.binary_search_by_key(&key, |&i| &*self.keys[i as usize].name);
        self.value(bytes, self.keys_by_name[find.ok()?] as usize)
    }

    fn value<'a>(&self, bytes: &'a [u8], i: usize) -> Option<Value<'a>> {
        let key = &self.keys[i];
        Some(Value::read(key.value_type, bytes.get(key.value.clone())?)?.0)
    }

    /// Keys and values in file order.
    pub(super) fn metadata<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        (0..self.keys.len()).filter_map(|i| Some((&*self.keys[i].name, self.value(bytes, i)?)))
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let find = self.tensors_by_name.binary_search_by_key(&name, |&i| &*self.tensors[i as usize].name);
        Some(&self.tensors[self.tensors_by_name[find.ok()?] as usize])
    }
}

/// Whether data can be aligned to this.
pub(super) fn is_alignment(bytes: u64) -> bool {
    bytes.is_power_of_two() && (8..=ALIGNMENT_MAX).contains(&bytes)
}

pub(super) fn type_name(dialect: Dialect, id: u32) -> String {
    match dialect::layout(dialect, id) {
        dialect::Layout::Block(block_type) => block_type.name().to_owned(),
        dialect::Layout::I2s => "I2_S".to_owned(),
        dialect::Layout::Refused(name, _) => name,
    }
}

/// Indices in the order of the names, or a name that occurs twice.
fn sorted<T>(items: &[T], name: impl Fn(&T) -> &str) -> Result<Vec<u32>, &str> {
    let mut order: Vec<u32> = (0..items.len() as u32).collect();
    order.sort_unstable_by_key(|&i| name(&items[i as usize]));
    let names = |i: u32| name(&items[i as usize]);
    match order.windows(2).find(|pair| names(pair[0]) == names(pair[1])) {
        Some(pair) => Err(names(pair[0])),
        None => Ok(order),
    }
}

/// A name in an error.
#[derive(Clone, Copy)]
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// Where reading stands. Every step checks what is left.
struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn take(&mut self, len: u64, what: impl fmt::Display) -> Result<&'a [u8], FormatError> {
        if len > self.left() {
            return Err(FormatError::Truncated {
                file: self.path.to_owned(),
                what: format!("{what} at byte {}", self.at),
                needed: len,
                available: self.left(),
            });
        }
        let taken = &self.bytes[self.at..][..len as usize];
        self.at += len as usize;
        Ok(taken)
    }

    fn u32(&mut self, what: impl fmt::Display) -> Result<u32, FormatError> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("`take` gives what was asked for")))
    }

    fn u64(&mut self, what: impl fmt::Display) -> Result<u64, FormatError> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("`take` gives what was asked for")))
    }

    fn malformed(&self, reason: String) -> FormatError {
        FormatError::Malformed { file: self.path.to_owned(), format: "GGUF", reason }
    }

    fn limit(&self, what: impl fmt::Display, given: u64, limit: u64) -> Result<(), FormatError> {
        if given <= limit {
            return Ok(());
        }
        Err(FormatError::LimitExceeded { file: self.path.to_owned(), what: what.to_string(), given, limit })
    }

    fn version(&mut self) -> Result<u32, FormatError> {
        let file = || self.path.to_owned();
        let magic = self.bytes.get(..4).unwrap_or(self.bytes);
        if magic != MAGIC {
            return Err(FormatError::NotGguf { file: file(), found: magic.escape_ascii().to_string() });
        }
        self.at = 4;
        let version = self.u32("the version")?;
        let note = match version {
            2 | 3 => return Ok(version),
            1 => "version 1 has 32-bit counts; convert the file with a current llama.cpp",
            0x0200_0000 | 0x0300_0000 => "this is a big-endian GGUF",
            _ => "versions 2 and 3 are read",
        };
        Err(FormatError::UnsupportedVersion { file: self.path.to_owned(), given: version, note })
    }

    fn check_count(&self, what: &'static str, given: u64, entry_bytes_min: u64) -> Result<(), FormatError> {
        let limit = COUNT_MAX.min(self.left() / entry_bytes_min);
        if given <= limit {
            return Ok(());
        }
        Err(FormatError::CountTooLarge { file: self.path.to_owned(), what, given, limit })
    }

    fn string(&mut self, what: impl fmt::Display, limit: u64) -> Result<&'a [u8], FormatError> {
        let len = self.u64(&what)?;
        self.limit(format_args!("the length of {what}"), len, limit)?;
        self.take(len, what)
    }

    fn utf8(&mut self, what: impl fmt::Display, limit: u64) -> Result<&'a str, FormatError> {
        let bytes = self.string(&what, limit)?;
        std::str::from_utf8(bytes).map_err(|e| self.malformed(format!("{what} is not UTF-8: {e}")))
    }

    fn key(&mut self, i: u64) -> Result<Key, FormatError> {
        let name = self.utf8(format_args!("key {i}"), KEY_BYTES_MAX)?;
        let value_type = self.value_type(name)?;
        let begin = self.at;
        self.skip_value(value_type, name, 0)?;
        Ok(Key { name: name.into(), value_type, value: begin..self.at })
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, FormatError> {
        let id = self.u32(Quoted(key))?;
        ValueType::from_id(id).ok_or_else(|| self.malformed(format!("the value of `{key}` has the unknown type {id}")))
    }

    fn skip_value(&mut self, value_type: ValueType, key: &str, depth: usize) -> Result<(), FormatError> {
        if let Some(size) = value_type.size() {
            let bytes = self.take(size as u64, Quoted(key))?;
            return self.check_bools(value_type, bytes, key);
        }
        if value_type == ValueType::String {
            return self.string(Quoted(key), STRING_BYTES_MAX).map(drop);
        }
        self.limit(format_args!("the nesting of `{key}`"), depth as u64 + 1, NESTING_MAX as u64)?;
        let element = self.value_type(key)?;
        let len = self.u64(Quoted(key))?;
        if let Some(size) = element.size() {
            let bytes = self.take(len.saturating_mul(size as u64), Quoted(key))?;
            return self.check_bools(element, bytes, key);
        }
        // A string is at least its length, an array at least its type and its length.
        let element_bytes_min = if element == ValueType::String { 8 } else { 12 };
        if len > self.left() / element_bytes_min {
            return Err(FormatError::Truncated {
                file: self.path.to_owned(),
                what: format!("the array `{key}` at byte {}", self.at),
                needed: len.saturating_mul(element_bytes_min),
                available: self.left(),
            });
        }
        (0..len).try_for_each(|_| self.skip_value(element, key, depth + 1))
    }

    fn check_bools(&self, value_type: ValueType, bytes: &[u8], key: &str) -> Result<(), FormatError> {
        match bytes.iter().find(|&&byte| byte > 1) {
            Some(byte) if value_type == ValueType::Bool => {
                Err(self.malformed(format!("`{key}` has a truth value of {byte}")))
            }
            _ => Ok(()),
        }
    }

    fn tensor(&mut self, i: u64) -> Result<TensorInfo, FormatError> {
        let name = self.utf8(format_args!("the name of tensor {i}"), NAME_BYTES_MAX)?;
        let what = Quoted(name);
        let n_dims = self.u32(what)?;
        let bad = |shape: Vec<u64>, reason: String| FormatError::BadShape {
            file: self.path.to_owned(),
            tensor: name.to_owned(),
            shape,
            reason,
        };
        if n_dims == 0 || n_dims as usize > DIMS_MAX {
            return Err(bad(Vec::new(), format!("it has {n_dims} dimensions, 1 to {DIMS_MAX} are possible")));
        }
        let mut dims = (0..n_dims).map(|_| self.u64(what)).collect::<Result<Vec<_>, _>>()?;
        dims.reverse();
        let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        // The largest element is 8 bytes; a tensor that does not fit the address space fits no map.
        if elements.is_none_or(|n| n == 0 || n > isize::MAX as u64 / 8) {
            let reason = "a dimension is 0 or the product is too large".to_owned();
            return Err(FormatError::BadShape {
                file: self.path.to_owned(),
                tensor: name.to_owned(),
                shape: dims,
                reason,
            });
        }
        let type_id = self.u32(what)?;
        let offset = self.u64(what)?;
        let shape = dims.iter().map(|&dim| dim as usize).collect();
        Ok(TensorInfo { name: name.into(), shape, type_id, offset, bytes: 0 })
    }
}
