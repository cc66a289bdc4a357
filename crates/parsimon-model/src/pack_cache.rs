//! A folder of packed weights, so that a model that was opened before is mapped instead of packed again.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parsimon_core::TensorView;
use parsimon_core::io::{AtomicFile, FormatError, Map};
use parsimon_core::quant::gptq::GptqConfig;
use parsimon_lut::{Backend, CacheError, Kernel, LowBitMatrix, Plan, Traits};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

/// What a [`PackCache`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct PackCacheReport {
    /// Matrices that were mapped as they were found.
    pub hits: usize,
    /// Matrices that were packed because the folder had none.
    pub packed: usize,
    /// Matrices that were packed because the file that the folder had could not be used.
    pub repaired: usize,
    /// Packed matrices that could not be written; the model runs, and the next opening packs them again.
    pub not_stored: usize,
}

/// A folder of packed matrices, one file each; docs/design/lut-layout.md has their names and bytes.
///
/// A file is named by the content of the tensors and by the kernel, so that several models, backends and machines may share a folder. Nothing
/// is ever removed. Files are mapped while a matrix lives; they may be deleted or replaced by renaming meanwhile, but not written to.
///
/// ```
/// use parsimon_model::PackCache;
///
/// let dir = tempfile::tempdir()?;
/// let cache = PackCache::open(&dir.path().join("packed"))?;
/// assert_eq!(cache.report().hits, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PackCache {
    folder: PathBuf,
    hits: AtomicUsize,
    packed: AtomicUsize,
    repaired: AtomicUsize,
    not_stored: AtomicUsize,
}

/// What decides how a quantized matrix is packed here.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PackKey {
    /// XXH3 of the tensors and of how they are read.
    content: u128,
    /// The kernels of ternary and of other weights; they are often the same.
    kernels: [Kernel; 2],
    shape: (usize, usize),
    bits: u8,
    group: usize,
}

impl PackKey {
    /// The key of the GPTQ matrix `tensors`; `None` where no kernel is planned for it, which packing it will explain.
    pub(crate) fn new(
        tensors: &[TensorView<'_>],
        config: &GptqConfig,
        shape: (usize, usize),
        backend: Backend,
    ) -> Option<PackKey> {
        let (bits, k) = (config.bits, shape.1);
        let group = usize::try_from(config.group_size).map_or(k, |group| group.min(k));
        let kernel = |ternary| Plan::for_backend(Traits { bits, ternary, group }, backend).ok().map(|plan| plan.kernel);
        let kernels = [kernel(bits == 2)?, kernel(false)?];
        let mut hash = Xxh3::new();
        let mut read_as = format!("gptq {bits} {} {:?}", config.group_size, config.checkpoint_format);
        for tensor in tensors {
            // Every length is in what comes before the bytes, so that no two lists of tensors are one.
            write!(read_as, " {:?} {:?}", tensor.dtype(), tensor.shape()).expect("a string takes every character");
        }
        hash.update(&(read_as.len() as u64).to_le_bytes());
        hash.update(read_as.as_bytes());
        tensors.iter().for_each(|tensor| hash.update(tensor.bytes()));
        Some(PackKey { content: hash.digest128(), kernels, shape, bits, group })
    }

    fn file_name(&self) -> String {
        let [ternary, other] = self.kernels.map(Kernel::name);
        let kernels = if ternary == other { other } else { format!("{ternary}+{other}") };
        format!("{:032x}-{kernels}.pslt", self.content)
    }

    fn fits(&self, matrix: &LowBitMatrix) -> bool {
        let same = (matrix.shape(), matrix.bits(), matrix.group()) == (self.shape, self.bits, self.group);
        same && self.kernels.contains(&matrix.kernel())
    }
}

/// What the folder has under a name.
enum Found {
    Usable(LowBitMatrix),
    Unusable,
    Nothing,
}

impl PackCache {
    /// Opens a folder; it is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`] when the folder cannot be made.
    pub fn open(folder: &Path) -> Result<PackCache, FormatError> {
        std::fs::create_dir_all(folder).map_err(|e| FormatError::io(folder, "create the folder", e))?;
        let [hits, packed, repaired, not_stored] = [const { AtomicUsize::new(0) }; 4];
        Ok(PackCache { folder: folder.to_owned(), hits, packed, repaired, not_stored })
    }

    /// What happened since the folder was opened.
    pub fn report(&self) -> PackCacheReport {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        PackCacheReport {
            hits: count(&self.hits),
            packed: count(&self.packed),
            repaired: count(&self.repaired),
            not_stored: count(&self.not_stored),
        }
    }

    /// The matrix of a key: mapped, or from `pack` and then written. A file that cannot be read or written is never an error.
    pub(crate) fn get_or_pack<E>(
        &self,
        key: &PackKey,
        pack: impl FnOnce() -> Result<LowBitMatrix, E>,
    ) -> Result<LowBitMatrix, E> {
        let path = self.folder.join(key.file_name());
        let count = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
        let reason = match find(&path, key) {
            Found::Usable(matrix) => {
                count(&self.hits);
                return Ok(matrix);
            }
            Found::Unusable => &self.repaired,
            Found::Nothing => &self.packed,
        };
        let matrix = pack()?;
        count(reason);
        if store(&path, &matrix).is_err() {
            count(&self.not_stored);
        }
        Ok(matrix)
    }
}

fn find(path: &Path, key: &PackKey) -> Found {
    if !path.exists() {
        return Found::Nothing;
    }
    let read = |map: Map| -> Result<LowBitMatrix, CacheError> {
        let len = map.len();
        LowBitMatrix::from_cache(&Arc::new(map), 0..len)
    };
    match Map::open(path).map(read) {
        Ok(Ok(matrix)) if key.fits(&matrix) => Found::Usable(matrix),
        _ => Found::Unusable,
    }
}

fn store(path: &Path, matrix: &LowBitMatrix) -> Result<(), FormatError> {
    let mut file = AtomicFile::create(path)?;
    matrix.write_cache(&mut file).map_err(|e| FormatError::io(path, "write", e))?;
    file.commit()
}

#[cfg(test)]
mod tests;
