//! PyTorch's `.pth` files, read without running anything that is in them.
//!
//! A file is a zip of stored entries: `NAME/data.pkl` describes tensors in pickle, and `NAME/data/KEY` are their numbers. The pickle is interpreted by a machine
//! that knows a fixed list of instructions and eleven names; anything else is refused where it stands, before it could mean anything. Sizes come from the
//! central directory, and every one is compared with the file before something is allocated for it.

mod crc;
mod error;
mod pickle;
mod zip;

use std::collections::BTreeMap;
use std::path::Path;

pub use error::PthError;

use self::error::Place;
use self::pickle::{StorageRef, TensorRef};
use self::zip::Archive;
use super::Map;
use crate::tensor::TensorView;

/// The longest pickle.
const PICKLE_MAX: usize = 64 << 20;

/// The most tensors.
const TENSORS_MAX: usize = 65_536;

/// A `.pth` file whose tensors were found and checked.
///
/// ```no_run
/// use parsimon_core::io::PthFile;
/// let gates = PthFile::open("attn_gate_weights.pth".as_ref())?;
/// for name in gates.names() {
///     println!("{name}: {:?}", gates.tensor(name).map(|tensor| tensor.shape()));
/// }
/// # Ok::<(), parsimon_core::io::PthError>(())
/// ```
#[derive(Debug)]
pub struct PthFile {
    map: Map,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    tensor: TensorRef,
    /// Where its numbers lie in the file, for a tensor that lies in a line; else its numbers, gathered.
    data: Data,
}

#[derive(Debug)]
enum Data {
    InFile(std::ops::Range<usize>),
    Gathered(Vec<u8>),
}

impl PthFile {
    /// Opens a file that holds a dictionary of tensors.
    ///
    /// # Errors
    ///
    /// [`PthError`] with the entry or the byte offset.
    pub fn open(path: &Path) -> Result<Self, PthError> {
        let map = Map::open(path).map_err(|error| PthError::Io(Box::new(error)))?;
        let tensors = read(&map, path)?;
        Ok(PthFile { map, tensors })
    }

    /// Names of all tensors, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, Entry { tensor, data }) = self.tensors.get_key_value(name)?;
        let bytes = match data {
            Data::InFile(range) => &self.map[range.clone()],
            Data::Gathered(bytes) => bytes,
        };
        Some(TensorView { file: self.map.path(), name, dtype: tensor.storage.dtype, shape: &tensor.shape, bytes })
    }
}

fn read(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Entry>, PthError> {
    let place = Place { file: path };
    let archive = Archive::open(bytes, place)?;
    let pickle = archive.only_ending_with("data.pkl")?;
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    let byte_order = format!("{folder}byteorder");
    if archive.has(&byte_order) {
        let order = &bytes[archive.data(&byte_order)?];
        if order.trim_ascii() != b"little" {
            let found = String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned();
            return Err(PthError::UnsupportedByteOrder { file: path.to_owned(), found });
        }
    }
    let program = archive.data(&pickle)?;
    if program.len() > PICKLE_MAX {
        return Err(place.limit("the pickle", program.len() as u64, PICKLE_MAX as u64));
    }
    let found = pickle::tensors(&bytes[program], TENSORS_MAX, place)?;
    let mut gathered_bytes = 0u64;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in found {
        let data = data(bytes, &archive, &folder, &name, &tensor, &mut gathered_bytes)?;
        tensors.insert(name, Entry { tensor, data });
    }
    Ok(tensors)
}

/// Checks a tensor against its storage, and gathers it where it does not lie in a line.
fn data(
    bytes: &[u8],
    archive: &Archive<'_>,
    folder: &str,
    name: &str,
    tensor: &TensorRef,
    gathered_bytes: &mut u64,
) -> Result<Data, PthError> {
    let place = archive.place();
    let TensorRef { storage: StorageRef { key, dtype, numel }, offset, shape, stride } = tensor;
    let entry = format!("{folder}data/{key}");
    if !archive.has(&entry) {
        return Err(PthError::MissingStorage { file: place.file.to_owned(), tensor: name.to_owned(), entry });
    }
    let storage = archive.data(&entry)?;
    let size = dtype.size();
    let out_of_bounds = |needed: u64| PthError::StorageOutOfBounds {
        file: place.file.to_owned(),
        tensor: name.to_owned(),
        needed,
        available: *numel,
    };
    let held = storage.len() / size;
    if *numel > held as u64 {
        return Err(out_of_bounds(*numel));
    }
    let len = shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n)).ok_or_else(|| out_of_bounds(u64::MAX))?;
    if len == 0 {
        return Ok(Data::Gathered(Vec::new()));
    }
    if shape.iter().zip(stride).any(|(&n, &stride)| n > 1 && stride == 0) {
        return Err(place.bad_pickle(format!("tensor `{name}` repeats numbers with stride 0"), 0));
    }
    let last = shape
        .iter()
        .zip(stride)
        .try_fold(*offset, |at, (&n, &stride)| at.checked_add((n as u64 - 1).checked_mul(stride)?));
    match last {
        Some(last) if last < *numel => {}
        Some(last) => return Err(out_of_bounds(last.saturating_add(1))),
        None => return Err(out_of_bounds(u64::MAX)),
    }
    let mut in_line = 1;
    let is_contiguous = shape.iter().zip(stride).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == in_line;
        in_line = in_line.saturating_mul(n as u64);
        fits
    });
    let start = storage.start + *offset as usize * size;
    if is_contiguous {
        return Ok(Data::InFile(start..start + len * size));
    }
    // Strides may overlap, so a small storage could claim many numbers.
    *gathered_bytes += (len * size) as u64;
    let limit = 4 * bytes.len() as u64;
    if *gathered_bytes > limit {
        return Err(place.limit("bytes of tensors that do not lie in a line", *gathered_bytes, limit));
    }
    Ok(Data::Gathered(gather(&bytes[storage], size, *offset as usize, (shape, stride), len)))
}

/// The numbers of a tensor in row-major order.
fn gather(storage: &[u8], size: usize, offset: usize, (shape, stride): (&[usize], &[u64]), len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len * size);
    let mut index = vec![0usize; shape.len()];
    for _ in 0..len {
        let at = offset + index.iter().zip(stride).map(|(&i, &stride)| i * stride as usize).sum::<usize>();
        out.extend_from_slice(&storage[at * size..][..size]);
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// Reads bytes as a file would be read, for fuzzing: an error or the names of the tensors.
#[doc(hidden)]
pub fn read_names(bytes: &[u8]) -> Result<Vec<String>, PthError> {
    read(bytes, Path::new("bytes")).map(|tensors| tensors.into_keys().collect())
}

#[cfg(test)]
mod tests;
