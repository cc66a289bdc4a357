//! What an index holds and what it costs.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Index;
use crate::AnnError;
use crate::jobs::Counts;

/// Records of a posting over all postings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct PostingSizes {
    pub min: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Bytes in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RamBytes {
    /// Head vectors, their index and the lists of chunks.
    pub heads: u64,
    /// The tables of internal and external ids.
    pub ids: u64,
    /// Records that no chunk holds yet.
    pub tails: u64,
}

/// The state of an index.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct IndexStats {
    /// Live vectors.
    pub live: u64,
    /// Postings.
    pub heads: u64,
    /// Records in them, copies and stale ones included.
    pub records: u64,
    /// Records without use: of dead vectors, or replaced by newer copies.
    pub stale: u64,
    /// Records of use a live vector.
    pub copies_mean: f64,
    /// Bytes in memory.
    pub ram_bytes: RamBytes,
    /// Bytes of the data file.
    pub disk_bytes: u64,
    /// Bytes of the log since the last checkpoint.
    pub wal_bytes: u64,
    /// The published generation.
    pub generation: u64,
    /// Sizes of postings.
    pub postings: PostingSizes,
    /// What was done since the index was opened.
    pub counts: Counts,
    /// Jobs that wait.
    pub jobs: u64,
    /// Why the last job that failed did.
    pub failure: Option<String>,
}

impl Index {
    /// Counts everything; reads every posting.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`] when a posting cannot be read.
    pub fn stats(&self) -> Result<IndexStats, AnnError> {
        let core = &self.core;
        let heads = core.heads().ids();
        let (mut records, mut stale) = (0, 0);
        let mut sizes = Vec::with_capacity(heads.len());
        for &head in &heads {
            let Some(posting) = core.postings.open(head) else { continue };
            let found = core.load(head, &posting)?;
            let pairs = found.iids.iter().zip(&found.versions);
            stale += pairs.filter(|(iid, version)| core.ids.is_stale(**iid, **version, u64::MAX)).count() as u64;
            records += found.len() as u64;
            sizes.push(found.len() as u64);
        }
        sizes.sort_unstable();
        let at = |share: f64| sizes.get(((sizes.len() as f64 - 1.0).max(0.0) * share) as usize).copied().unwrap_or(0);
        let live = core.ids.live();
        Ok(IndexStats {
            live,
            heads: heads.len() as u64,
            records,
            stale,
            copies_mean: if live == 0 { 0.0 } else { (records - stale) as f64 / live as f64 },
            ram_bytes: self.ram_bytes(),
            disk_bytes: core.pool.bytes(),
            wal_bytes: core.wal.as_ref().map_or(0, |wal| wal.bytes()),
            generation: core.published().manifest.generation,
            postings: PostingSizes { min: at(0.0), p50: at(0.5), p99: at(0.99), max: at(1.0) },
            counts: core.counters.counts(),
            jobs: core.jobs.len() as u64,
            failure: core.jobs.failure(),
        })
    }

    /// Bytes in memory.
    pub fn ram_bytes(&self) -> RamBytes {
        let core = &self.core;
        let ids = core.heads().ids();
        RamBytes {
            heads: core.heads().ram_bytes() + core.postings.ram_bytes(&ids),
            ids: core.ids.ram_bytes(),
            tails: core.tail_bytes.load(Ordering::Relaxed),
        }
    }

    /// Bytes of the data file.
    pub fn disk_bytes(&self) -> u64 {
        self.core.pool.bytes()
    }

    /// What was done since the index was opened; reads nothing.
    pub fn counts(&self) -> Counts {
        self.core.counters.counts()
    }

    /// Live vectors.
    pub fn len(&self) -> u64 {
        self.core.ids.live()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Postings.
    pub fn heads(&self) -> usize {
        self.core.heads().len()
    }

    /// Live ids, ascending.
    pub fn ids(&self) -> Vec<crate::VectorId> {
        self.core.ids.live_ids().into_iter().map(crate::VectorId).collect()
    }
}
