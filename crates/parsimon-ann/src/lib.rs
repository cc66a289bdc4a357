//! x
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
mod space;
mod storage;

pub use build::max_norm;
pub use config::{Compat, Durability, HeadIndexKind, IndexConfig, Rebuild, Runtime};
pub use element::Element;
pub use error::{AnnError, MetricError, StorageError, VectorFileError};
pub use index::{
    Budget, Index, IndexStats, MaintainReport, PostingSizes, RamBytes, SalvageReport, SearchOutcome, SearchParams, Searcher,
    UpdateReport, VerifyLevel, VerifyReport, Violation, create, salvage,
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
