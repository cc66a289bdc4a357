//! Writing GGUF version 3. The bytes depend on what was set, in that order, and on nothing else.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use super::directory::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, DIMS_MAX, NAME_BYTES_MAX, is_alignment};
use super::value::{Value, write_string};
use crate::io::{AtomicFile, FormatError};
use crate::quant::BlockType;

/// Collects keys and tensors and writes them in the order of their calls.
///
/// ```
/// use parsimon_core::io::gguf::{Gguf, GgufWriter, OpenOptions, Value};
/// use parsimon_core::quant::BlockType;
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.gguf");
/// let bytes: Vec<u8> = [1f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
/// let mut writer = GgufWriter::new();
/// writer.set("general.architecture", &Value::String(b"llama"))?;
/// writer.tensor("output_norm.weight", BlockType::F32, &[2], &bytes)?;
/// writer.write(&path)?;
/// let file = Gguf::open(&path, &OpenOptions::default())?;
/// assert_eq!(file.tensor("output_norm.weight")?.to_f32()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GgufWriter<'a> {
    alignment: u64,
    keys: Vec<u8>,
    key_names: HashSet<String>,
    tensors: Vec<Entry<'a>>,
    tensor_names: HashSet<String>,
}

#[derive(Debug)]
struct Entry<'a> {
    name: String,
    shape: Vec<usize>,
    type_id: u32,
    bytes: &'a [u8],
}

impl Default for GgufWriter<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> GgufWriter<'a> {
    /// A writer without keys and tensors.
    pub fn new() -> Self {
        GgufWriter {
            alignment: ALIGNMENT_DEFAULT,
            keys: Vec::new(),
            key_names: HashSet::new(),
            tensors: Vec::new(),
            tensor_names: HashSet::new(),
        }
    }

    /// Adds a key. `general.alignment` also sets the alignment of the data.
    ///
    /// # Errors
    ///
    /// [`GgufWriteError`] for a key that is longer than 65535 bytes or set already, and for an alignment that is not a power of two of 8 to
    /// 2^20 as U32.
    pub fn set(&mut self, key: &str, value: &Value<'_>) -> Result<(), GgufWriteError> {
        if key.len() > u16::MAX.into() {
            return Err(GgufWriteError::KeyTooLong { bytes: key.len() });
        }
        let alignment = match (key, value) {
            (ALIGNMENT_KEY, Value::U32(bytes)) if is_alignment((*bytes).into()) => (*bytes).into(),
            (ALIGNMENT_KEY, _) => return Err(GgufWriteError::BadAlignment { given: format!("{value:?}") }),
            _ => self.alignment,
        };
        if !self.key_names.insert(key.to_owned()) {
            return Err(GgufWriteError::DuplicateKey { key: key.to_owned() });
        }
        self.alignment = alignment;
        write_string(key.as_bytes(), &mut self.keys);
        self.keys.extend((value.value_type() as u32).to_le_bytes());
        value.write(&mut self.keys);
        Ok(())
    }

    /// Adds a tensor of `shape`, outermost dimension first.
    ///
    /// # Errors
    ///
    /// As [`Self::tensor_of_id`], and [`GgufWriteError::ByteLength`] unless `bytes` is what the type needs for whole blocks along the last
    /// dimension.
    pub fn tensor(
        &mut self,
        name: &str,
        block_type: BlockType,
        shape: &[usize],
        bytes: &'a [u8],
    ) -> Result<(), GgufWriteError> {
        let elements = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
        let whole = shape.last().is_some_and(|k| k.is_multiple_of(block_type.block_len()));
        let expected = elements.filter(|_| whole).and_then(|n| block_type.bytes_of(n));
        if expected != Some(bytes.len() as u64) {
            let (tensor, shape) = (name.to_owned(), shape.to_vec());
            return Err(GgufWriteError::ByteLength { tensor, block_type, shape, expected, actual: bytes.len() as u64 });
        }
        self.tensor_of_id(name, block_type.id(), shape, bytes)
    }

    /// Adds a tensor of any type number, with bytes that are not checked: for types of other dialects.
    ///
    /// # Errors
    ///
    /// [`GgufWriteError`] for a name that is longer than 64 bytes or used already, no or more than 4 dimensions, a dimension of 0, or no
    /// bytes.
    pub fn tensor_of_id(
        &mut self,
        name: &str,
        type_id: u32,
        shape: &[usize],
        bytes: &'a [u8],
    ) -> Result<(), GgufWriteError> {
        let tensor = || name.to_owned();
        if name.len() as u64 > NAME_BYTES_MAX {
            return Err(GgufWriteError::NameTooLong { tensor: tensor(), bytes: name.len() });
        }
        if !(1..=DIMS_MAX).contains(&shape.len()) || shape.contains(&0) || bytes.is_empty() {
            return Err(GgufWriteError::BadShape { tensor: tensor(), shape: shape.to_vec(), bytes: bytes.len() });
        }
        if !self.tensor_names.insert(tensor()) {
            return Err(GgufWriteError::DuplicateTensor { tensor: tensor() });
        }
        self.tensors.push(Entry { name: tensor(), shape: shape.to_vec(), type_id, bytes });
        Ok(())
    }

    /// Writes the file beside `path` and renames it.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), FormatError> {
        let mut file = AtomicFile::create(path)?;
        self.write_to(&mut file).map_err(|e| FormatError::io(path, "write", e))?;
        file.commit()
    }

    /// Writes the file's bytes.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write_to(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend((self.key_names.len() as u64).to_le_bytes());
        head.extend(&self.keys);
        let mut offset = 0u64;
        for Entry { name, shape, type_id, bytes } in &self.tensors {
            write_string(name.as_bytes(), &mut head);
            head.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&dim| head.extend((dim as u64).to_le_bytes()));
            head.extend(type_id.to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(self.alignment);
        }
        out.write_all(&head)?;
        self.pad(out, head.len())?;
        for entry in &self.tensors {
            out.write_all(entry.bytes)?;
            self.pad(out, entry.bytes.len())?;
        }
        Ok(())
    }

    fn pad(&self, out: &mut impl Write, written: usize) -> std::io::Result<()> {
        let padding = written.next_multiple_of(self.alignment as usize) - written;
        out.write_all(&vec![0; padding])
    }
}

/// A GGUF file cannot hold what it was given.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GgufWriteError {
    #[error("the key `{key}` is set twice")]
    DuplicateKey { key: String },
    #[error("a key of {bytes} bytes is longer than 65535")]
    KeyTooLong { bytes: usize },
    #[error("general.alignment is {given}, expected a power of two of 8 to 2^20 as U32")]
    BadAlignment { given: String },
    #[error("two tensors are named `{tensor}`")]
    DuplicateTensor { tensor: String },
    #[error("the name `{tensor}` has {bytes} bytes, at most 64 are possible")]
    NameTooLong { tensor: String, bytes: usize },
    #[error(
        "tensor `{tensor}` of shape {shape:?} and {bytes} bytes: 1 to 4 dimensions and something in each are needed"
    )]
    BadShape { tensor: String, shape: Vec<usize>, bytes: usize },
    #[error("tensor `{tensor}`: {block_type} {shape:?} needs {expected:?} bytes, got {actual}")]
    ByteLength { tensor: String, block_type: BlockType, shape: Vec<usize>, expected: Option<u64>, actual: u64 },
}

impl crate::Diagnose for GgufWriteError {}
