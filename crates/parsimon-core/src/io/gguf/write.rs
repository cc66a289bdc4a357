//! Writing GGUF version 3. The bytes depend on what was set, in that order, and on nothing else.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::directory::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, DIMS_MAX, NAME_BYTES_MAX, is_alignment};
use super::value::{Value, write_string};
use crate::io::{AtomicFile, FormatError};
use crate::quant::BlockType;

/// The keys and tensors of a file; [`create`](Self::create) writes them, and the data follows a tensor at a time, so that no more than one
/// tensor is in memory.
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
/// writer.tensor("output_norm.weight", BlockType::F32, &[2])?;
/// let mut data = writer.create(&path)?;
/// data.write("output_norm.weight", &bytes)?;
/// data.commit()?;
/// let file = Gguf::open(&path, &OpenOptions::default())?;
/// assert_eq!(file.tensor("output_norm.weight")?.to_f32()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GgufWriter {
    alignment: u64,
    keys: Vec<u8>,
    key_names: HashSet<String>,
    tensors: Vec<Entry>,
    tensor_names: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    type_id: u32,
    bytes: u64,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufWriter {
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
    /// As [`Self::tensor_of_id`], and [`GgufWriteError::NotWholeBlocks`] unless the last dimension is whole blocks.
    pub fn tensor(&mut self, name: &str, block_type: BlockType, shape: &[usize]) -> Result<(), GgufWriteError> {
        let elements = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
        let whole = shape.last().is_some_and(|k| k.is_multiple_of(block_type.block_len()));
        let Some(bytes) = elements.filter(|_| whole).and_then(|n| block_type.bytes_of(n)) else {
            let block_len = block_type.block_len();
            return Err(GgufWriteError::NotWholeBlocks {
                tensor: name.to_owned(),
                block_type,
                shape: shape.to_vec(),
                block_len,
            });
        };
        self.tensor_of_id(name, block_type.id(), shape, bytes)
    }

    /// Adds a tensor of any type number, with `bytes` of data, which is not checked: for types of other dialects.
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
        bytes: u64,
    ) -> Result<(), GgufWriteError> {
        let tensor = || name.to_owned();
        if name.len() as u64 > NAME_BYTES_MAX {
            return Err(GgufWriteError::NameTooLong { tensor: tensor(), bytes: name.len() });
        }
        if !(1..=DIMS_MAX).contains(&shape.len()) || shape.contains(&0) || bytes == 0 {
            return Err(GgufWriteError::BadShape { tensor: tensor(), shape: shape.to_vec(), bytes });
        }
        if !self.tensor_names.insert(tensor()) {
            return Err(GgufWriteError::DuplicateTensor { tensor: tensor() });
        }
        self.tensors.push(Entry { name: tensor(), shape: shape.to_vec(), type_id, bytes });
        Ok(())
    }

    /// Starts the file beside `path`: everything before the data.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    pub fn create(self, path: &Path) -> Result<GgufData, FormatError> {
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
            offset = (offset + bytes).next_multiple_of(self.alignment);
        }
        let missing = self.tensors.into_iter().map(|entry| (entry.name, entry.bytes)).collect();
        let (path, file) = (path.to_owned(), AtomicFile::create(path)?);
        let mut data = GgufData { path, file, alignment: self.alignment as usize, missing };
        data.put(&head)?;
        Ok(data)
    }
}

/// The data of a GGUF file that is written beside its name, tensor after tensor, and renamed by [`GgufData::commit`].
#[derive(Debug)]
pub struct GgufData {
    path: PathBuf,
    file: AtomicFile,
    alignment: usize,
    /// Names and bytes of the tensors that are missing, in the order of the file.
    missing: VecDeque<(String, u64)>,
}

impl GgufData {
    /// Writes the data of the next tensor.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    ///
    /// # Panics
    ///
    /// When `name` is not the next tensor of the writer, or has another number of bytes there.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let next = self.missing.pop_front();
        assert_eq!(next, Some((name.to_owned(), bytes.len() as u64)), "the writer fixes the order and the sizes");
        self.put(bytes)
    }

    /// Synchronizes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    ///
    /// # Panics
    ///
    /// When tensors were not written.
    pub fn commit(self) -> Result<(), FormatError> {
        assert!(self.missing.is_empty(), "{} tensors were not written", self.missing.len());
        self.file.commit()
    }

    /// The bytes and what aligns the next ones.
    fn put(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let padding = vec![0; bytes.len().next_multiple_of(self.alignment) - bytes.len()];
        let written = self.file.write_all(bytes).and_then(|()| self.file.write_all(&padding));
        written.map_err(|e| FormatError::io(&self.path, "write", e))
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
    BadShape { tensor: String, shape: Vec<usize>, bytes: u64 },
    #[error(
        "tensor `{tensor}`: {block_type} has blocks of {block_len} weights, which do not divide the rows of {shape:?}"
    )]
    NotWholeBlocks { tensor: String, block_type: BlockType, shape: Vec<usize>, block_len: usize },
}

impl crate::Diagnose for GgufWriteError {}
