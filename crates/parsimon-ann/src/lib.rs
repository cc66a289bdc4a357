//! A durable index of vectors that is updated in place: SPANN's postings under SPFresh's rebalancing.
//!
//! ```
//! use parsimon_ann::{Element, Index, IndexConfig, Metric, Runtime, SearchParams, Space, VectorId};
//!
//! let dir = tempfile::tempdir()?;
//! let space = Space::new(Metric::L2, Element::U8, 2, None)?;
//! let index = Index::create(&dir.path().join("index"), &space, &IndexConfig::default(), [7; 16], Runtime::default())?;
//! index.insert(&[VectorId(1), VectorId(2)], &[10, 10, 200, 200])?;
//! index.delete(&[VectorId(2)])?;
//! let mut found = Vec::new();
//! index.searcher().search_into(&[11, 10], &SearchParams::default(), &mut found)?;
//! assert_eq!((found.len(), found[0].id, found[0].distance), (1, VectorId(1), 1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! - [`Space`]: dimension, element type ([`Element`]) and [`Metric`] of the vectors.
//! - [`Index`]: made empty ([`Index::create`]), from a file ([`Index::build`]), or opened ([`Index::open`]); then [`Index::insert`],
//!   [`Index::upsert`], [`Index::delete`], [`Index::checkpoint`], [`Index::maintain`], [`Index::compact`].
//! - [`Searcher`]: one a thread; [`SearchParams`] say how wide it looks.
//! - [`io`]: the field's files of vectors; [`runbook`]: streams of updates; [`mod@reference`]: exact search.
//! - [`Vfs`]: what the index asks of a file system, so that tests can stop the disk anywhere.
//!
//! Vectors lie in *postings* on disk, each around a *head* in memory; a vector near a border lies in several. An insert appends to
//! postings, a delete sets a byte. A posting that grows too long is split, a short one merged, and vectors whose nearest head may have
//! changed by that, which two cheap conditions tell ([`lire`]), choose their postings again. So the index stays about as good as a new
//! one and is never rebuilt as a whole.
//!
//! # What it promises
//!
//! 1. An acknowledged write is seen by every search that starts later, and with [`Durability::Sync`] survives a crash.
//! 2. An acknowledged delete is never returned by a search that starts later.
//! 3. A live vector is never invisible, not even while it is moved.
//! 4. With `nprobe` of at least the number of heads, results are exact.
//! 5. No id comes twice in a result.
//! 6. Damage to any file is a typed error, never a wrong neighbour.
//!
//! How good results are under churn comes behind: see `cargo xtask repro spfresh`.
//!
//! # When to use it
//!
//! When vectors come and go all the time and must not be lost. For data that never changes and fits in memory a graph index answers with
//! less work.
//!
//! # Kernels
//!
//! Distances have a portable body and bodies for AVX2, AVX-512 and VNNI, chosen at run time; `PARSIMON_ISA` lowers the choice. Integer
//! distances are exact and equal in all of them.
//!
//! # Numerics
//!
//! Distances are f32. Those of integers are exact sums, rounded once; those of floats are summed in f32 in fixed lanes, so they depend on
//! the instruction set, never on the number of threads. With [`Rebuild::Inline`] and one caller, the index is a function of the calls and
//! the seed.
//!
//! # The papers
//!
//! SPFresh: Incremental In-Place Update for Billion-Scale Vector Search (SOSP 2023), and SPANN: Highly-efficient Billion-scale
//! Approximate Nearest Neighbor Search (NeurIPS 2021). `docs/papers/spfresh.md` says what is implemented and where it deviates;
//! `docs/design/ann-format.md` describes the files.
#![deny(unsafe_code)]

mod assign;
mod build;
mod cluster;
mod config;
mod element;
mod epoch;
mod error;
mod heads;
mod ids;
mod index;
pub mod io;
mod jobs;
#[allow(unsafe_code)]
mod kernel;
pub mod lire;
mod metric;
mod posting;
pub mod reference;
pub mod runbook;
mod space;
mod storage;

pub use build::max_norm;
pub use config::{Compat, Durability, HeadIndexKind, IndexConfig, Rebuild, Runtime};
pub use element::Element;
pub use error::{AnnError, MetricError, StorageError, VectorFileError};
pub use index::{
    Budget, Index, IndexStats, MaintainReport, PostingSizes, RamBytes, SalvageReport, SearchOutcome, SearchParams,
    Searcher, UpdateReport, VerifyLevel, VerifyReport, Violation, create, salvage,
};
pub use jobs::Counts;
pub use metric::Metric;
pub use space::{ROW_BYTES_MAX, Space};
pub use storage::{FileLock, StdVfs, Vfs, VfsFile};

/// The caller's name of a vector: any value, unique among the live vectors of an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VectorId(pub u64);

/// A result of a search.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Neighbor {
    /// The caller's id.
    pub id: VectorId,
    /// Its distance from the query; smaller is nearer.
    pub distance: f32,
}
