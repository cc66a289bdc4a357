//! What an index is made with, and how it is opened.

use serde::{Deserialize, Serialize};

use crate::AnnError;

/// What an index is made with; kept in its manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexConfig {
    /// Heads a vector, from 0 to 1: how fine the postings are. PAPER(spfresh SPANN §3) says 16 %.
    pub head_ratio: f64,
    /// Records of a posting beyond which it is split; `None` takes whole chunks near 92.
    pub posting_limit: Option<u32>,
    /// Postings that hold a vector, at most. PAPER(spfresh SPANN §3): 8.
    pub replicas: usize,
    /// Heads looked at when a vector chooses its postings.
    pub candidates: usize,
    /// A head is taken while its distance is at most `1 + closure` times the nearest one's.
    pub closure: f32,
    /// Factor of the RNG rule: a head is left out when it is nearer to one taken already than to the vector.
    pub rng_factor: f32,
    /// Postings near a split or merged one whose vectors are checked. PAPER(spfresh §5): 64.
    pub reassign_range: usize,
    /// Live records below which a posting is merged into another; `None` takes an eighth of the limit.
    pub merge_threshold: Option<u32>,
    /// Share of stale records beyond which the sweep rewrites a posting.
    pub gc_ratio: f32,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for IndexConfig {
    fn default() -> Self {
        IndexConfig {
            head_ratio: 0.12,
            posting_limit: None,
            replicas: 8,
            candidates: 64,
            closure: 10.0,
            rng_factor: 1.0,
            reassign_range: 64,
            merge_threshold: None,
            gc_ratio: 0.07,
            seed: 1,
        }
    }
}

impl IndexConfig {
    pub(crate) fn check(&self) -> Result<(), AnnError> {
        let positive = "it must be at least 1";
        if !(self.head_ratio > 0.0 && self.head_ratio <= 1.0) {
            return Err(AnnError::param("head_ratio", self.head_ratio, "it must be above 0 and at most 1"));
        }
        if self.posting_limit.is_some_and(|limit| !(2..=1 << 22).contains(&limit)) {
            return Err(AnnError::param("posting_limit", format!("{:?}", self.posting_limit), "it must be 2 to 2^22"));
        }
        if self.replicas == 0 {
            return Err(AnnError::param("replicas", self.replicas, positive));
        }
        if self.candidates < self.replicas {
            return Err(AnnError::param("candidates", self.candidates, "it must be at least `replicas`"));
        }
        if !(self.closure >= 0.0 && self.rng_factor > 0.0 && self.gc_ratio >= 0.0) {
            return Err(AnnError::param("closure, rng_factor, gc_ratio", self.closure, "they must not be negative"));
        }
        Ok(())
    }
}

/// When an acknowledged write is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Before it is acknowledged.
    #[default]
    Sync,
    /// After the next [`crate::Index::flush`] or checkpoint; a crash loses the latest writes, never one before another.
    Deferred,
}

/// Who splits, merges and reassigns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rebuild {
    /// The caller of an update, before it returns: the index is a function of the calls and the seed.
    #[default]
    Inline,
    /// The caller of [`crate::Index::maintain`]; a full queue makes updates help.
    Deferred,
    /// So many threads of the index.
    Threads(usize),
}

/// The structure of the head index in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HeadIndexKind {
    /// [`HeadIndexKind::Exact`] up to 2048 heads, [`HeadIndexKind::TwoLevel`] beyond.
    #[default]
    Auto,
    /// Every head is looked at.
    Exact,
    /// Heads lie in cells, and only the nearest cells are looked at.
    TwoLevel,
}

/// Rules of other systems, for comparisons alone. None of them loses a vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compat {
    /// Postings only grow: no split, no merge, no reassign (SPANN+).
    pub append_only: bool,
    /// Splits and merges move no vectors of other postings.
    pub no_reassign: bool,
    /// Stale records are dropped by splits alone.
    pub gc_at_overflow_only: bool,
    /// The first condition looks only at a vector's own part.
    pub own_head_only: bool,
}

/// How an index is opened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Runtime {
    /// When writes are durable.
    pub durability: Durability,
    /// Who rebuilds.
    pub rebuild: Rebuild,
    /// Bytes of the log after which an update makes a checkpoint.
    pub checkpoint_wal_bytes: u64,
    /// Bytes of unwritten records in memory beyond which they are written to chunks.
    pub tail_bytes: u64,
    /// The structure of the head index.
    pub heads: HeadIndexKind,
    /// Rules of other systems.
    pub compat: Compat,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime {
            durability: Durability::Sync,
            rebuild: Rebuild::Inline,
            checkpoint_wal_bytes: 256 << 20,
            tail_bytes: 64 << 20,
            heads: HeadIndexKind::Auto,
            compat: Compat::default(),
        }
    }
}
