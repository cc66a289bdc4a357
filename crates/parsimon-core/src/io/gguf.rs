//! GGUF: models of the ggml family in one file, versions 2 and 3 read through a map, version 3 written.
//!
//! ```text
//! "GGUF" | u32 version | u64 tensors | u64 keys
//! key:    string | u32 type | value            string: u64 length, bytes
//! tensor: string | u32 n_dims | u64 dims[n_dims], innermost first | u32 type | u64 offset from the start of the data
//! padding to general.alignment (32 unless the key says otherwise), then the tensors, each padded
//! ```
//!
//! Opening reads the directory only: its cost does not depend on the size of the model. Values and tensors borrow from the map.
//!
//! **The trap** is the numbers of types: forks of ggml and ggml itself gave the same numbers to different types. [`Dialect`] says whose they
//! are; a file that does not fit is an error that names the dialect that would, never a silent switch. A type that is not known,
//! or was removed, leaves the file readable: only reading that tensor is an error.

mod dialect;
mod directory;
mod split;
mod value;
mod write;

use std::path::Path;

pub use dialect::{Dialect, Suggestion};
use dialect::{Layout, layout};
use directory::Directory;
pub use directory::TensorInfo;
pub use value::{Array, Value, ValueType};
pub use write::{GgufData, GgufWriteError, GgufWriter};

use super::{FormatError, Map};
use crate::quant::packed::i2s::I2sMatrix;
use crate::quant::{BlockMatrix, BlockType, PackedError};
use crate::{DType, TensorView};

/// How to read a file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OpenOptions {
    /// Whose type numbers the file uses.
    pub dialect: Dialect,
}

/// A mapped GGUF file. It must not be changed while it is open.
///
/// ```no_run
/// use parsimon_core::io::gguf::{Gguf, GgufTensor, OpenOptions};
///
/// let file = Gguf::open("model.gguf".as_ref(), &OpenOptions::default())?;
/// println!("{}", file.str("general.architecture")?);
/// if let GgufTensor::Blocks(matrix) = file.tensor("blk.0.attn_q.weight")? {
///     println!("{} [{}, {}]", matrix.block_type(), matrix.m(), matrix.k());
/// }
/// # Ok::<(), parsimon_core::io::FormatError>(())
/// ```
#[derive(Debug)]
pub struct Gguf {
    dialect: Dialect,
    first: Shard,
    rest: Vec<Shard>,
}

/// One file of a model.
#[derive(Debug)]
struct Shard {
    map: Map,
    directory: Directory,
}

impl Shard {
    fn open(path: &Path, dialect: Dialect) -> Result<Self, FormatError> {
        let map = Map::open(path)?;
        let directory = Directory::parse(path, &map, dialect)?;
        Ok(Shard { map, directory })
    }

    fn bytes_of(&self, info: &TensorInfo) -> &[u8] {
        &self.map[self.directory.data_at + info.offset as usize..][..info.bytes as usize]
    }

    fn malformed(&self, tensor: &str, error: &dyn std::error::Error) -> FormatError {
        let reason = format!("tensor `{tensor}`: {error}");
        FormatError::Malformed { file: self.map.path().to_owned(), format: "GGUF", reason }
    }
}

/// A tensor of a GGUF file.
#[derive(Clone, Copy, Debug)]
pub enum GgufTensor<'a> {
    /// Floats or integers, one by one.
    Dense(TensorView<'a>),
    /// Blocks along the last dimension; the others are joined to `m`.
    Blocks(BlockMatrix<'a>),
    /// bitnet.cpp's ternary tensors, in [`Dialect::BitnetCpp`].
    I2s(I2sMatrix<'a>),
}

impl Gguf {
    /// Maps `path` and checks everything before the data. Of a model in several files it is the first, `name-00001-of-000NN.gguf`,
    /// and the others are opened with it; the metadata is the first one's.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`]; [`FormatError::NotGguf`], [`FormatError::UnsupportedVersion`] (also for big-endian files);
    /// [`FormatError::CountTooLarge`], [`FormatError::LimitExceeded`], [`FormatError::Truncated`] before anything is allocated;
    /// [`FormatError::BadShape`], [`FormatError::BadAlignment`], [`FormatError::Misaligned`], [`FormatError::OutOfBounds`],
    /// [`FormatError::Overlap`], [`FormatError::DuplicateKey`], [`FormatError::DuplicateTensor`]; [`FormatError::Malformed`] for text
    /// that is not UTF-8; [`FormatError::WrongDialect`] around one of these where another dialect explains the file.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, FormatError> {
        let first = Shard::open(path, options.dialect)?;
        let rest = split::open_rest(&first, options.dialect)?;
        Ok(Gguf { dialect: options.dialect, first, rest })
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        self.first.map.path()
    }

    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.first.directory.version
    }

    /// What offsets are multiples of.
    pub fn alignment(&self) -> u64 {
        self.first.directory.alignment
    }

    /// The dialect that the file was opened with.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Another dialect, if only that explains the types and sizes of the tensors.
    pub fn suggestion(&self) -> Option<Suggestion> {
        self.shards().find_map(|shard| shard.directory.suggest(&shard.map, self.dialect))
    }

    /// Keys and values in file order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.first.directory.metadata(&self.first.map)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.first.directory.get(&self.first.map, key)
    }

    /// A key that must exist and be a string.
    ///
    /// # Errors
    ///
    /// [`FormatError::MissingKey`], [`FormatError::WrongValueType`].
    pub fn str(&self, key: &str) -> Result<&str, FormatError> {
        self.require(key, "a UTF-8 string", |value| value.as_str())
    }

    /// A key that must exist and be an integer that is not negative.
    ///
    /// # Errors
    ///
    /// As [`Gguf::str`].
    pub fn u64(&self, key: &str) -> Result<u64, FormatError> {
        self.require(key, "an integer that is not negative", |value| value.as_u64())
    }

    /// A key that must exist and be a float.
    ///
    /// # Errors
    ///
    /// As [`Gguf::str`].
    pub fn f64(&self, key: &str) -> Result<f64, FormatError> {
        self.require(key, "a float", |value| value.as_f64())
    }

    /// A key that must exist and be an array.
    ///
    /// # Errors
    ///
    /// As [`Gguf::str`].
    pub fn array(&self, key: &str) -> Result<Array<'_>, FormatError> {
        self.require(key, "an array", |value| value.as_array().cloned())
    }

    fn require<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Result<T, FormatError> {
        let (file, key) = (|| self.path().to_owned(), key.to_owned());
        let Some(value) = self.get(&key) else { return Err(FormatError::MissingKey { file: file(), key }) };
        convert(&value).ok_or_else(|| FormatError::WrongValueType {
            file: file(),
            key,
            expected,
            actual: value.value_type(),
        })
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.shards().flat_map(|shard| &shard.directory.tensors)
    }

    /// A tensor's entry in the list.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.shards().find_map(|shard| shard.directory.tensor(name))
    }

    /// Checks that all `names` exist.
    ///
    /// # Errors
    ///
    /// [`FormatError::MissingTensors`] with every missing name.
    pub fn require_tensors<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), FormatError> {
        let missing: Vec<String> =
            names.into_iter().filter(|name| self.info(name).is_none()).map(str::to_owned).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(FormatError::MissingTensors { file: self.path().to_owned(), names: missing })
    }

    /// The bytes of a tensor, whatever its type; up to the next tensor where the type does not say how many they are.
    ///
    /// # Errors
    ///
    /// [`FormatError::MissingTensors`].
    pub fn raw(&self, name: &str) -> Result<&[u8], FormatError> {
        let (shard, info) = self.entry(name)?;
        Ok(shard.bytes_of(info))
    }

    fn entry(&self, name: &str) -> Result<(&Shard, &TensorInfo), FormatError> {
        let found = self.shards().find_map(|shard| Some((shard, shard.directory.tensor(name)?)));
        found.ok_or_else(|| FormatError::MissingTensors { file: self.path().to_owned(), names: vec![name.to_owned()] })
    }

    /// Borrows a tensor.
    ///
    /// # Errors
    ///
    /// [`FormatError::MissingTensors`], or [`FormatError::UnsupportedType`] with a hint for a type that is not read in this dialect.
    pub fn tensor(&self, name: &str) -> Result<GgufTensor<'_>, FormatError> {
        let (shard, info) = self.entry(name)?;
        let bytes = shard.bytes_of(info);
        let k = info.k() as usize;
        let m = info.elements() as usize / k;
        match layout(self.dialect, info.type_id) {
            Layout::Block(block_type) => match dense(block_type) {
                Some(dtype) => {
                    let (file, name, shape) = (shard.map.path(), &*info.name, &*info.shape);
                    Ok(GgufTensor::Dense(TensorView { file, name, dtype, shape, bytes }))
                }
                None => {
                    let matrix = BlockMatrix::try_new(block_type, m, k, bytes);
                    matrix.map(GgufTensor::Blocks).map_err(|e| shard.malformed(name, &e))
                }
            },
            Layout::I2s => {
                let matrix = I2sMatrix::try_new(&info.name, m, k, bytes);
                matrix.map(GgufTensor::I2s).map_err(|e| shard.malformed(name, &e))
            }
            Layout::Refused(type_name, why) => {
                let mut hint = format!("{type_name}: {why}");
                if let Some(Suggestion { dialect, evidence }) = self.suggestion() {
                    hint = format!("{hint}. Open the file with Dialect::{dialect:?}: {evidence}");
                }
                Err(FormatError::UnsupportedType {
                    file: shard.map.path().to_owned(),
                    tensor: name.to_owned(),
                    id: info.type_id,
                    hint,
                })
            }
        }
    }

    /// Decodes every block of the tensors that decode, and checks that all weights are finite.
    ///
    /// # Errors
    ///
    /// [`FormatError::NonFiniteBlock`] with tensor, row and block.
    pub fn validate(&self) -> Result<(), FormatError> {
        for info in self.tensors() {
            let Ok(GgufTensor::Blocks(matrix)) = self.tensor(&info.name) else { continue };
            if let Err(crate::quant::BlockError::NonFiniteScale { row, block }) = matrix.validate() {
                let (file, tensor) = (self.path().to_owned(), info.name.to_string());
                return Err(FormatError::NonFiniteBlock { file, tensor, row, block });
            }
        }
        Ok(())
    }
}

impl GgufTensor<'_> {
    /// The weights as f32; I2_S in the blocks of x86.
    ///
    /// # Errors
    ///
    /// [`FormatError::WrongDType`] for integers, [`PackedError`] for I2_S codes that are not ternary.
    pub fn to_f32(&self) -> Result<Vec<f32>, PackedError> {
        match self {
            GgufTensor::Dense(view) => Ok(view.to_f32()?),
            GgufTensor::Blocks(matrix) => Ok(matrix.dequantize()),
            GgufTensor::I2s(matrix) => Ok(matrix.to_group_quantized(Default::default())?.dequantize()),
        }
    }
}

/// The dtype of the types that are no blocks.
fn dense(block_type: BlockType) -> Option<DType> {
    Some(match block_type {
        BlockType::F32 => DType::F32,
        BlockType::F16 => DType::F16,
        BlockType::BF16 => DType::BF16,
        BlockType::F64 => DType::F64,
        BlockType::I8 => DType::I8,
        BlockType::I16 => DType::I16,
        BlockType::I32 => DType::I32,
        BlockType::I64 => DType::I64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
