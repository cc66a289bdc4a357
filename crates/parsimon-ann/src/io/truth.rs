//! Ids, ground truth and results.

use std::io::Write;
use std::path::Path;

use parsimon_core::io::{AtomicFile, Map};

use super::vectors::{Kind, Table, check_size, format, u32_at};
use crate::{Neighbor, VectorFileError};

/// Ids of a one-column file: npy of 32 or 64 bits, or ibin.
///
/// # Errors
///
/// [`VectorFileError`], also for negative ids.
pub fn read_ids(path: &Path) -> Result<Vec<u64>, VectorFileError> {
    let table = Table::open(path)?;
    let Kind::Int { size, signed } = table.kind else {
        return Err(format(path, 0, "the elements are not integers of 32 or 64 bits"));
    };
    if table.d != 1 {
        return Err(format(path, 0, format!("ids have one column, this file has {}", table.d)));
    }
    let id = |i: usize| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(table.row(i));
        let id = u64::from_le_bytes(bytes);
        let negative = signed && id >> (8 * size - 1) != 0;
        if negative { Err(format(path, i * size, format!("id {i} is negative"))) } else { Ok(id) }
    };
    (0..table.n).map(id).collect()
}

/// Writes ids as npy of unsigned 64-bit integers.
///
/// # Errors
///
/// I/O.
pub fn write_ids(path: &Path, ids: impl ExactSizeIterator<Item = u64>) -> Result<(), VectorFileError> {
    let dict = format!("{{'descr': '<u8', 'fortran_order': False, 'shape': ({},), }}", ids.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(118u16.to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    bytes.extend(ids.flat_map(u64::to_le_bytes));
    let mut file = AtomicFile::create(path)?;
    file.write_all(&bytes).map_err(|source| VectorFileError::Io { file: path.to_owned(), action: "write", source })?;
    Ok(file.commit()?)
}

/// The true nearest neighbours of queries.
#[derive(Clone, PartialEq, Debug)]
pub struct GroundTruth {
    /// Neighbours of a query.
    pub k: usize,
    /// `k` ids a query, nearest first.
    pub ids: Vec<u32>,
    /// `k` distances a query.
    pub distances: Vec<f32>,
}

impl GroundTruth {
    /// Reads a file of ground truth.
    ///
    /// # Errors
    ///
    /// [`VectorFileError`].
    pub fn read(path: &Path) -> Result<GroundTruth, VectorFileError> {
        let map = Map::open(path)?;
        let (Some(n), Some(k)) = (u32_at(&map, 0), u32_at(&map, 4)) else {
            return Err(format(path, 0, "the header of 8 bytes is cut off"));
        };
        let (n, k) = (n as usize, k as usize);
        check_size(&map, 8, n, k as u128 * 8)?;
        let (ids, distances) = map[8..].split_at(n * k * 4);
        let words = |bytes: &[u8]| bytes.as_chunks::<4>().0.to_vec();
        Ok(GroundTruth {
            k,
            ids: words(ids).into_iter().map(u32::from_le_bytes).collect(),
            distances: words(distances).into_iter().map(f32::from_le_bytes).collect(),
        })
    }

    /// How many queries there are.
    pub fn queries(&self) -> usize {
        self.ids.len().checked_div(self.k).unwrap_or(0)
    }

    /// Writes the file beside `path` and renames it.
    ///
    /// # Errors
    ///
    /// I/O.
    pub fn write(&self, path: &Path) -> Result<(), VectorFileError> {
        let mut file = AtomicFile::create(path)?;
        let mut bytes = [(self.queries() as u32).to_le_bytes(), (self.k as u32).to_le_bytes()].concat();
        bytes.extend(self.ids.iter().flat_map(|id| id.to_le_bytes()));
        bytes.extend(self.distances.iter().flat_map(|d| d.to_le_bytes()));
        file.write_all(&bytes).map_err(|source| VectorFileError::Io {
            file: path.to_owned(),
            action: "write",
            source,
        })?;
        Ok(file.commit()?)
    }

    /// The share of the true `k` nearest neighbours among the first `k` results, averaged over the queries; `None` where there is
    /// nothing to compare.
    pub fn recall(&self, results: &[Vec<Neighbor>], k: usize) -> Option<f64> {
        let k = k.min(self.k);
        if k == 0 || results.is_empty() || results.len() > self.queries() {
            return None;
        }
        let hits = |(query, found): (usize, &Vec<Neighbor>)| {
            let truth = &self.ids[query * self.k..][..k];
            found.iter().take(k).filter(|n| truth.iter().any(|&id| u64::from(id) == n.id.0)).count()
        };
        let hits: usize = results.iter().enumerate().map(hits).sum();
        Some(hits as f64 / (results.len() * k) as f64)
    }
}

/// Writes `res.ibin` (u32 ids, 0xFFFFFFFF where fewer than `k` were found) and `res.fbin` (distances, infinity there).
///
/// # Errors
///
/// I/O, and an id above 32 bits.
pub fn write_results(path: &Path, results: &[Vec<Neighbor>], k: usize) -> Result<(), VectorFileError> {
    let header = [(results.len() as u32).to_le_bytes(), (k as u32).to_le_bytes()].concat();
    let (mut ids, mut distances) = (header.clone(), header);
    for (query, found) in results.iter().enumerate() {
        for i in 0..k {
            let (id, distance) = found.get(i).map_or((u64::from(u32::MAX), f32::INFINITY), |n| (n.id.0, n.distance));
            let id = u32::try_from(id)
                .map_err(|_| format(path, 0, format!("query {query} found id {id}, above 32 bits")))?;
            ids.extend(id.to_le_bytes());
            distances.extend(distance.to_le_bytes());
        }
    }
    for (path, bytes) in [(path.with_extension("ibin"), ids), (path.with_extension("fbin"), distances)] {
        let mut file = AtomicFile::create(&path)?;
        file.write_all(&bytes).map_err(|source| VectorFileError::Io { file: path, action: "write", source })?;
        file.commit()?;
    }
    Ok(())
}
