//! The index: postings on disk, heads in memory, and what changes them.
//!
//! Locks are taken in this order: publish gate (shared) -> stripes of external ids -> stripes of postings -> head index. No job runs and
//! no queue is waited for while one of them is held.

mod checkpoint;
mod compact;
mod maintain;
mod merge;
mod open;
mod reassign;
mod records;
mod regroup;
mod search;
mod split;
mod stats;
mod update;
mod verify;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use crate::config::{IndexConfig, Runtime};
use crate::epoch::Epochs;
use crate::heads::Heads;
use crate::ids::Ids;
use crate::jobs::{Counters, Jobs};
use crate::posting::Postings;
use crate::space::Space;
use crate::storage::generation::Manifest;
use crate::storage::pool::{ChunkPool, ChunkRef};
use crate::storage::wal::Wal;
use crate::storage::{FileLock, Vfs};

pub use compact::{SalvageReport, salvage};
pub use maintain::{Budget, MaintainReport};
pub use open::create;
pub(crate) use open::{first_manifest, write_first};
pub use search::{SearchOutcome, SearchParams, Searcher};
pub use stats::{IndexStats, PostingSizes, RamBytes};
pub use update::UpdateReport;
pub use verify::{VerifyLevel, VerifyReport, Violation};

/// Stripes of posting locks.
const STRIPES: usize = 1 << 12;

/// A durable index of vectors that is updated in place.
///
/// All methods take `&self` and may be called from many threads. Dropping it ends its threads; what was acknowledged is in the log.
pub struct Index {
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
}

/// What waits until no running search can need it.
#[derive(Debug)]
enum Action {
    /// Older copies of the id become garbage.
    FinishMove(u32, u16),
    ReleaseId(u32),
    ForgetHead(u32),
}

struct Published {
    manifest: Manifest,
    /// Keeps the generation's chunks from being overwritten.
    _chunks: Vec<Arc<ChunkRef>>,
}

struct Core {
    vfs: Arc<dyn Vfs>,
    space: Space,
    config: IndexConfig,
    runtime: Runtime,
    /// Records of a posting beyond which it is split.
    limit: usize,
    merge_threshold: usize,
    ids: Ids,
    heads: RwLock<Heads>,
    next_head: AtomicU32,
    postings: Postings,
    posting_locks: Vec<Mutex<()>>,
    pool: ChunkPool,
    /// Absent in an index that was opened for reading.
    wal: Option<Wal>,
    epochs: Epochs<Action>,
    /// Held shared while the structure changes, alone while a checkpoint copies it.
    gate: RwLock<()>,
    checkpointing: Mutex<()>,
    jobs: Jobs,
    counters: Counters,
    published: Mutex<Published>,
    tail_bytes: AtomicU64,
    /// Held from the choice of new heads to their publication, so that no two splits choose equal ones; taken after the posting's lock.
    new_heads: Mutex<()>,
    /// Held while postings are taken away in reliance on copies elsewhere; taken before any posting's lock.
    rearranging: Mutex<()>,
    /// Makes the seeds of splits differ.
    job_number: AtomicU64,
    /// Updates that the background sweep has not caught up with, in heads to look at.
    sweep_credit: AtomicU64,
    sweep_cursor: AtomicU32,
    /// Updates that regrouping has not caught up with, in heads, and the next head id to look at.
    regroup_credit: AtomicU64,
    regroup_cursor: AtomicU32,
    is_checkpoint_due: AtomicBool,
    _lock: Option<FileLock>,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.core.jobs.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
