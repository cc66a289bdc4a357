//! safetensors: reading single and sharded checkpoints through a map, and writing them.
//!
//! Layout: a `u64` header length, that many bytes of JSON `{name: {dtype, shape, data_offsets: [begin, end]}}` (and optionally
//! `__metadata__`), then the data. The header is read here rather than by the safetensors crate, because an error must name the
//! tensor and the numbers, and because one tensor of an unknown dtype must not make the others unreadable. Writing goes through
//! the crate.

mod writer;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

pub use writer::{SafetensorsWriter, TensorSpec};

use super::{AtomicFile, FormatError, Map, read_json};
use crate::{DType, TensorView};

const HEADER_BYTES_MAX: u64 = 100 << 20;
const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The tensors of a model: one safetensors file, or the shards that an index lists.
///
/// Opening reads headers only; tensors are borrowed from the map. The files must not be changed while a checkpoint is open.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to shard.
    home: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    map: Map,
    data_at: usize,
    entries: HashMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

/// A checked header entry: `begin..end` lies inside the data, and for a known dtype has the length that the shape needs.
#[derive(Debug)]
struct Entry {
    dtype: Result<DType, String>,
    shape: Vec<usize>,
    begin: usize,
    end: usize,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, or a model folder with `model.safetensors` or `model.safetensors.index.json`.
    ///
    /// # Errors
    ///
    /// [`FormatError`] with the file, the tensor and the numbers. Nothing is allocated beyond the header's own length.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        if !path.is_dir() {
            return Self::from_shards(path, vec![Shard::open(path)?]);
        }
        let index = path.join(INDEX_FILE);
        if index.exists() { Self::open_index(&index) } else { Self::open(&path.join(SINGLE_FILE)) }
    }

    fn open_index(path: &Path) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let Index { weight_map } = read_json(path)?;
        let malformed = |reason: String| FormatError::Malformed { file: path.to_owned(), format: "index", reason };
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut shards = Vec::new();
        let mut shard_of = BTreeMap::new();
        for name in weight_map.values() {
            if shard_of.contains_key(name) {
                continue;
            }
            if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
                return Err(malformed(format!("shard `{name}` is not a plain file name")));
            }
            shard_of.insert(name.clone(), shards.len());
            shards.push(Shard::open(&folder.join(name))?);
        }
        for (tensor, name) in &weight_map {
            if !shards[shard_of[name]].entries.contains_key(tensor) {
                return Err(FormatError::IndexMismatch {
                    file: path.to_owned(),
                    tensor: tensor.clone(),
                    shard: name.clone(),
                });
            }
        }
        Self::from_shards(folder, shards)
    }

    fn from_shards(path: &Path, shards: Vec<Shard>) -> Result<Self, FormatError> {
        let mut home = BTreeMap::new();
        for (i, shard) in shards.iter().enumerate() {
            for name in shard.entries.keys() {
                if home.insert(name.clone(), i).is_some() {
                    return Err(FormatError::DuplicateTensor {
                        file: shard.map.path().to_owned(),
                        tensor: name.clone(),
                    });
                }
            }
        }
        Ok(Checkpoint { path: path.to_owned(), shards, home })
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.home.keys().map(String::as_str)
    }

    /// Whether a tensor of this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.home.contains_key(name)
    }

    /// The `__metadata__` of the first file.
    pub fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        self.shards.first().map(|shard| &shard.metadata)
    }

    /// Checks that all `names` exist.
    ///
    /// # Errors
    ///
    /// [`FormatError::MissingTensors`] with every missing name.
    pub fn require<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), FormatError> {
        let missing: Vec<String> = names.into_iter().filter(|name| !self.contains(name)).map(str::to_owned).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(FormatError::MissingTensors { file: self.path.clone(), names: missing })
    }

    /// Borrows a tensor.
    ///
    /// # Errors
    ///
    /// [`FormatError::MissingTensors`], or [`FormatError::UnsupportedDType`] for a dtype this crate does not know.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, FormatError> {
        let Some((name, &shard)) = self.home.get_key_value(name) else {
            return Err(FormatError::MissingTensors { file: self.path.clone(), names: vec![name.to_owned()] });
        };
        let shard = &self.shards[shard];
        let entry = &shard.entries[name];
        let dtype = entry.dtype.clone().map_err(|given| FormatError::UnsupportedDType {
            file: shard.map.path().to_owned(),
            tensor: name.to_owned(),
            given,
        })?;
        let bytes = &shard.map[shard.data_at + entry.begin..shard.data_at + entry.end];
        Ok(TensorView { file: shard.map.path(), name, dtype, shape: &entry.shape, bytes })
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, FormatError> {
        let map = Map::open(path)?;
        let truncated = |what: &str, needed: u64| FormatError::Truncated {
            file: path.to_owned(),
            what: what.to_owned(),
            needed,
            available: map.len() as u64,
        };
        let length = map.first_chunk::<8>().ok_or_else(|| truncated("the header length", 8))?;
        let length = u64::from_le_bytes(*length);
        if length > HEADER_BYTES_MAX {
            return Err(FormatError::LimitExceeded {
                file: path.to_owned(),
                what: "the header length".into(),
                given: length,
                limit: HEADER_BYTES_MAX,
            });
        }
        let data_at = 8 + length as usize;
        let json = map.get(8..data_at).ok_or_else(|| truncated("the header", data_at as u64))?;
        let header: Header = serde_json::from_slice(json).map_err(|e| FormatError::Malformed {
            file: path.to_owned(),
            format: "safetensors header",
            reason: e.to_string(),
        })?;
        let available = (map.len() - data_at) as u64;
        let mut entries = HashMap::with_capacity(header.tensors.len());
        for (name, raw) in header.tensors {
            let entry = raw.check(path, &name, available)?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(FormatError::DuplicateTensor { file: path.to_owned(), tensor: name });
            }
        }
        check_overlap(path, &entries)?;
        Ok(Shard { map, data_at, entries, metadata: header.metadata })
    }
}

fn check_overlap(path: &Path, entries: &HashMap<String, Entry>) -> Result<(), FormatError> {
    let mut spans: Vec<_> = entries.iter().filter(|(_, e)| e.begin < e.end).collect();
    spans.sort_unstable_by_key(|(name, e)| (e.begin, name.as_str()));
    for pair in spans.windows(2) {
        let ((first, a), (second, b)) = (pair[0], pair[1]);
        if b.begin < a.end {
            return Err(FormatError::Overlap {
                file: path.to_owned(),
                first: first.clone(),
                second: second.clone(),
                at: b.begin as u64,
            });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawEntry {
    fn check(self, path: &Path, tensor: &str, available: u64) -> Result<Entry, FormatError> {
        let RawEntry { dtype, shape, data_offsets: [begin, end] } = self;
        let known = DType::from_safetensors(&dtype);
        let elements = shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let needed = known.map(|known| elements.and_then(|n| n.checked_mul(known.size() as u64)).unwrap_or(u64::MAX));
        let given = end.checked_sub(begin).filter(|_| end <= available);
        if given.is_none() || needed.is_some_and(|needed| given != Some(needed)) {
            return Err(FormatError::OutOfBounds {
                file: path.to_owned(),
                tensor: tensor.to_owned(),
                begin,
                end,
                available,
                needed: needed.or(elements).unwrap_or(u64::MAX),
                dtype,
                shape,
            });
        }
        let shape = shape.into_iter().map(|dim| dim as usize).collect();
        Ok(Entry { dtype: known.ok_or(dtype), shape, begin: begin as usize, end: end as usize })
    }
}

/// The header in file order; serde's maps would silently keep the last of two equal names.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawEntry)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                    } else {
                        let entry = map
                            .next_value()
                            .map_err(|e| serde::de::Error::custom(format_args!("tensor `{name}`: {e}")))?;
                        header.tensors.push((name, entry));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A tensor to write.
#[derive(Clone, Debug)]
pub struct TensorData {
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Little-endian bytes, row-major.
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// An F32 tensor.
    ///
    /// # Panics
    ///
    /// When `values.len()` is not the product of `shape`.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        Self::from_elements(DType::F32, shape, values.iter().map(|v| v.to_le_bytes()))
    }

    /// An F16 tensor, each value rounded to nearest.
    ///
    /// # Panics
    ///
    /// When `values.len()` is not the product of `shape`.
    pub fn from_f16(shape: &[usize], values: &[half::f16]) -> Self {
        Self::from_elements(DType::F16, shape, values.iter().map(|v| v.to_le_bytes()))
    }

    /// An I32 tensor.
    ///
    /// # Panics
    ///
    /// When `values.len()` is not the product of `shape`.
    pub fn from_i32(shape: &[usize], values: &[i32]) -> Self {
        Self::from_elements(DType::I32, shape, values.iter().map(|v| v.to_le_bytes()))
    }

    fn from_elements<const N: usize>(dtype: DType, shape: &[usize], elements: impl Iterator<Item = [u8; N]>) -> Self {
        let bytes: Vec<u8> = elements.flatten().collect();
        let needed = shape.iter().product::<usize>() * dtype.size();
        assert_eq!(bytes.len(), needed, "the shape {shape:?} must hold every element");
        TensorData { dtype, shape: shape.to_vec(), bytes }
    }
}

impl safetensors::View for &TensorData {
    fn dtype(&self) -> safetensors::Dtype {
        use safetensors::Dtype as D;
        match self.dtype {
            DType::Bool => D::BOOL,
            DType::U8 => D::U8,
            DType::I8 => D::I8,
            DType::F8E4M3 => D::F8_E4M3,
            DType::F8E5M2 => D::F8_E5M2,
            DType::U16 => D::U16,
            DType::I16 => D::I16,
            DType::F16 => D::F16,
            DType::BF16 => D::BF16,
            DType::U32 => D::U32,
            DType::I32 => D::I32,
            DType::F32 => D::F32,
            DType::U64 => D::U64,
            DType::I64 => D::I64,
            DType::F64 => D::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes tensors as one safetensors file, beside and renamed. The bytes depend on the tensors and the metadata alone.
///
/// # Errors
///
/// [`FormatError::Io`].
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, TensorData>,
    metadata: Option<HashMap<String, String>>,
) -> Result<(), FormatError> {
    let file = AtomicFile::create(path)?;
    safetensors::serialize_to_file(tensors, metadata, file.temporary_path())
        .map_err(|e| FormatError::io(path, "write", std::io::Error::other(e)))?;
    file.commit()
}

#[cfg(test)]
mod tests;
