//! Chunks: what the data file is an array of. A posting is a list of chunks, all full but the last.

use super::{Uuid, VERSION, put, u16_at, u32_at, u64_at};
use crate::{Space, StorageError};

const BLOCK: usize = 4096;
const BLOCKS_MAX: usize = 64;
/// Records of a posting that the paper's postings of 12 KB and 48 KB come to.
const POSTING_TARGET: f64 = 92.0;
const IIDS: usize = 64;

/// How records lie in a chunk; it follows from the space alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    /// Blocks of 4096 bytes of a chunk.
    pub(crate) chunk_blocks: usize,
    /// Records of a chunk.
    pub(crate) cap: usize,
    /// Bytes from row to row.
    pub(crate) stride: usize,
    /// Where the rows begin.
    pub(crate) vectors_at: usize,
    /// Bytes of a row without padding.
    pub(crate) row_bytes: usize,
}

impl Geometry {
    /// The geometry of a space: the smallest chunk of at least 8 records with at most 10 % waste, or the one of least waste.
    pub(crate) fn of(space: &Space) -> Geometry {
        let (stride, row_bytes) = (space.stride(), space.row_bytes());
        let vectors_at = |n: usize| IIDS + (6 * n).next_multiple_of(64);
        let fits = |blocks: usize| {
            let bytes = BLOCK * blocks;
            let mut cap = (bytes - IIDS) / (stride + 6);
            while cap > 0 && vectors_at(cap) + cap * stride > bytes {
                cap -= 1;
            }
            let waste = 1.0 - (vectors_at(cap) + cap * stride) as f64 / bytes as f64;
            (blocks, cap, waste)
        };
        let all: Vec<_> = (1..=BLOCKS_MAX).map(fits).collect();
        let good = all.iter().find(|&&(_, cap, waste)| cap >= 8 && waste <= 0.1);
        let least = || {
            let some = all.iter().filter(|&&(_, cap, _)| cap >= 1);
            some.min_by(|a, b| a.2.total_cmp(&b.2)).expect("64 blocks hold the largest row")
        };
        let &(chunk_blocks, cap, _) = good.unwrap_or_else(least);
        Geometry { chunk_blocks, cap, stride, vectors_at: vectors_at(cap), row_bytes }
    }

    /// Bytes of a chunk.
    pub(crate) fn chunk_bytes(&self) -> usize {
        BLOCK * self.chunk_blocks
    }

    /// The posting limit in records, unless the user says otherwise: whole chunks, near 92.
    pub(crate) fn default_limit(&self) -> u32 {
        (self.cap * ((POSTING_TARGET / self.cap as f64).round() as usize).max(1)) as u32
    }
}

/// What every chunk of an index carries beside its records.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ChunkFormat {
    pub(crate) geometry: Geometry,
    pub(crate) uuid: Uuid,
    pub(crate) row_dim: u32,
    pub(crate) element: u8,
    pub(crate) metric: u8,
}

/// Records in memory: the content of a chunk, or the tail of a posting.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Records {
    pub(crate) iids: Vec<u32>,
    pub(crate) versions: Vec<u16>,
    /// Rows with their padding.
    pub(crate) rows: Vec<u8>,
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.iids.len()
    }

    pub(crate) fn push(&mut self, iid: u32, version: u16, row: &[u8]) {
        self.iids.push(iid);
        self.versions.push(version);
        self.rows.extend(row);
    }

    pub(crate) fn row(&self, i: usize, stride: usize) -> &[u8] {
        &self.rows[i * stride..][..stride]
    }

    /// The records from `n` on.
    pub(crate) fn drained(&self, n: usize, stride: usize) -> Records {
        Records {
            iids: self.iids[n..].to_vec(),
            versions: self.versions[n..].to_vec(),
            rows: self.rows[n * stride..].to_vec(),
        }
    }

    pub(crate) fn extend(&mut self, other: &Records) {
        self.iids.extend(&other.iids);
        self.versions.extend(&other.versions);
        self.rows.extend(&other.rows);
    }
}

/// Who a chunk belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) head: u32,
    /// The chunk's place in the posting.
    pub(crate) index: u32,
}

/// A chunk that was read: its header and where its parts lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkView<'a> {
    pub(crate) seq: u64,
    pub(crate) owner: Owner,
    pub(crate) count: usize,
    bytes: &'a [u8],
    geometry: Geometry,
}

impl<'a> ChunkView<'a> {
    pub(crate) fn iid(&self, i: usize) -> u32 {
        u32_at(self.bytes, IIDS + 4 * i)
    }

    pub(crate) fn version(&self, i: usize) -> u16 {
        u16_at(self.bytes, IIDS + 4 * self.geometry.cap + 2 * i)
    }

    /// The rows with their padding.
    pub(crate) fn rows(&self) -> &'a [u8] {
        &self.bytes[self.geometry.vectors_at..][..self.count * self.geometry.stride]
    }

    pub(crate) fn append_to(&self, records: &mut Records) {
        records.iids.extend((0..self.count).map(|i| self.iid(i)));
        records.versions.extend((0..self.count).map(|i| self.version(i)));
        records.rows.extend(self.rows());
    }
}

impl ChunkFormat {
    /// The first chunk of the data file.
    pub(crate) fn superblock(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.geometry.chunk_bytes()];
        put(&mut bytes, 0, b"PANNDATA");
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 12, &(self.geometry.chunk_bytes() as u32).to_le_bytes());
        put(&mut bytes, 16, &self.uuid);
        put(&mut bytes, 32, &self.row_dim.to_le_bytes());
        put(&mut bytes, 36, &[self.element, self.metric]);
        put(&mut bytes, 40, &(self.geometry.stride as u32).to_le_bytes());
        put(&mut bytes, 44, &(self.geometry.cap as u32).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    /// That `bytes` are this index's superblock.
    pub(crate) fn check_superblock(&self, file: &str, bytes: &[u8]) -> Result<(), StorageError> {
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) || &bytes[..8] != b"PANNDATA" {
            return Err(StorageError::damage(file, 0, "the checksum of the superblock is wrong"));
        }
        if u32_at(bytes, 8) > VERSION {
            let given = u32_at(bytes, 8).into();
            return Err(StorageError::UnsupportedVersion { file: file.into(), given, known: VERSION.into() });
        }
        if bytes != self.superblock() {
            if bytes[..60] == self.superblock()[..60] {
                return Err(StorageError::damage(file, HEADER_END, "bytes after the superblock are not zero"));
            }
            return Err(StorageError::Mismatch { file: file.into(), what: "the superblock".into() });
        }
        Ok(())
    }

    /// A chunk with records `begin..end`.
    pub(crate) fn encode(&self, seq: u64, owner: Owner, records: &Records, begin: usize, end: usize) -> Vec<u8> {
        let Geometry { cap, stride, vectors_at, .. } = self.geometry;
        let count = end - begin;
        assert!(count <= cap, "a chunk holds {cap} records, not {count}");
        let mut bytes = vec![0; self.geometry.chunk_bytes()];
        put(&mut bytes, 0, b"PCHK");
        put(&mut bytes, 8, &seq.to_le_bytes());
        put(&mut bytes, 16, &owner.head.to_le_bytes());
        put(&mut bytes, 20, &owner.index.to_le_bytes());
        put(&mut bytes, 24, &(count as u16).to_le_bytes());
        put(&mut bytes, 26, &(cap as u16).to_le_bytes());
        put(&mut bytes, 28, &[self.element, 0, 0, 0]);
        put(&mut bytes, 32, &(stride as u32).to_le_bytes());
        put(&mut bytes, 36, &self.row_dim.to_le_bytes());
        put(&mut bytes, 40, &self.uuid[..8]);
        for (i, iid) in records.iids[begin..end].iter().enumerate() {
            put(&mut bytes, IIDS + 4 * i, &iid.to_le_bytes());
        }
        for (i, version) in records.versions[begin..end].iter().enumerate() {
            put(&mut bytes, IIDS + 4 * cap + 2 * i, &version.to_le_bytes());
        }
        put(&mut bytes, vectors_at, &records.rows[begin * stride..end * stride]);
        let crc = crc32c::crc32c(&bytes[8..]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        bytes
    }

    /// Checks a chunk; the error says what is wrong with it.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8]) -> Result<ChunkView<'a>, &'static str> {
        let geometry = self.geometry;
        if &bytes[..4] != b"PCHK" {
            return Err("this is no chunk");
        }
        if u32_at(bytes, 4) != crc32c::crc32c(&bytes[8..]) {
            return Err("the checksum of the chunk is wrong");
        }
        let same = u16_at(bytes, 26) as usize == geometry.cap
            && bytes[28..32] == [self.element, 0, 0, 0]
            && u32_at(bytes, 32) as usize == geometry.stride
            && u32_at(bytes, 36) == self.row_dim
            && bytes[40..48] == self.uuid[..8];
        let count = u16_at(bytes, 24) as usize;
        if !same || count > geometry.cap {
            return Err("the chunk is of another index");
        }
        let owner = Owner { head: u32_at(bytes, 16), index: u32_at(bytes, 20) };
        Ok(ChunkView { seq: u64_at(bytes, 8), owner, count, bytes, geometry })
    }
}

const HEADER_END: u64 = 64;

#[cfg(test)]
mod tests;
