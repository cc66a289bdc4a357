//! Writing a safetensors file a tensor at a time: the header first, so that no more than one tensor is in memory.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::{AtomicFile, FormatError};
use crate::DType;

/// Headers are padded with spaces to a multiple of this, so that data is aligned.
const ALIGN: usize = 8;

/// A tensor that will be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// The name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// The bytes of the elements.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// A safetensors file that is written beside its name, tensor after tensor, and renamed by [`SafetensorsWriter::commit`].
///
/// ```
/// use parsimon_core::DType;
/// use parsimon_core::io::{Checkpoint, SafetensorsWriter, TensorSpec};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.safetensors");
/// let spec = TensorSpec { name: "w".into(), dtype: DType::F32, shape: vec![2] };
/// let mut writer = SafetensorsWriter::create(&path, &[spec])?;
/// writer.write("w", &[0, 0, 128, 63, 0, 0, 0, 64])?;
/// writer.commit()?;
/// assert_eq!(Checkpoint::open(&path)?.tensor("w")?.to_f32()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter {
    path: PathBuf,
    file: AtomicFile,
    /// Names and bytes of the tensors that are missing, in the order of the file.
    missing: VecDeque<(String, usize)>,
}

impl SafetensorsWriter {
    /// Writes the header of `tensors`, whose data follows in the same order.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    ///
    /// # Panics
    ///
    /// When two tensors have one name.
    pub fn create(path: &Path, tensors: &[TensorSpec]) -> Result<Self, FormatError> {
        let mut header = BTreeMap::new();
        let mut begin = 0;
        for tensor in tensors {
            let end = begin + tensor.bytes();
            let entry = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [begin, end]});
            assert!(header.insert(&tensor.name, entry).is_none(), "two tensors are called {}", tensor.name);
            begin = end;
        }
        let mut header = json!(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(ALIGN), b' ');
        let missing = tensors.iter().map(|tensor| (tensor.name.clone(), tensor.bytes())).collect();
        let mut writer = SafetensorsWriter { path: path.to_owned(), file: AtomicFile::create(path)?, missing };
        writer.put(&(header.len() as u64).to_le_bytes())?;
        writer.put(&header)?;
        Ok(writer)
    }

    /// Writes the data of the next tensor, little-endian and row-major.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    ///
    /// # Panics
    ///
    /// When `name` is not the next tensor of the header, or has another number of bytes there.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let next = self.missing.pop_front();
        assert_eq!(next, Some((name.to_owned(), bytes.len())), "the header fixes the order and the sizes");
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
    /// When tensors of the header were not written.
    pub fn commit(self) -> Result<(), FormatError> {
        assert!(self.missing.is_empty(), "{} tensors were not written", self.missing.len());
        self.file.commit()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.file.write_all(bytes).map_err(|e| FormatError::io(&self.path, "write", e))
    }
}
