//! Postings in memory: where their records are, never changed once published.
//!
//! A change makes a new posting and swaps it in under the posting's lock, so a search that has one in hand reads on undisturbed: the
//! chunks stay as long as somebody holds them.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::storage::chunk::Records;
use crate::storage::pool::ChunkRef;

/// Tables double, as those of the internal ids.
const PAGE: usize = 1 << 10;
const TABLES: usize = 22;

/// The records of one head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Posting {
    /// All full but the last.
    pub(crate) chunks: Vec<Arc<ChunkRef>>,
    /// Records in the chunks.
    pub(crate) on_disk: usize,
    /// Records that no chunk holds yet.
    pub(crate) tail: Option<Arc<Records>>,
    /// The posting could not be split, until it has this many live records. 0: it may be split.
    pub(crate) retry_at: u32,
}

impl Posting {
    /// All records.
    pub(crate) fn len(&self) -> usize {
        self.on_disk + self.tail_len()
    }

    pub(crate) fn tail_len(&self) -> usize {
        self.tail.as_ref().map_or(0, |tail| tail.len())
    }

    pub(crate) fn tail_bytes(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| (tail.rows.len() + 6 * tail.len()) as u64)
    }
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Open(Arc<Posting>),
    /// The head is gone; searches that found it before may still read.
    Retired(Arc<Posting>),
}

/// All postings by head id.
#[derive(Debug)]
pub(crate) struct Postings {
    tables: [OnceLock<Box<[RwLock<Slot>]>>; TABLES],
}

impl Postings {
    pub(crate) fn new() -> Self {
        Postings { tables: std::array::from_fn(|_| OnceLock::new()) }
    }

    fn slot(&self, head: u32) -> &RwLock<Slot> {
        let table = (head as usize / PAGE + 1).ilog2() as usize;
        let begin = ((1 << table) - 1) * PAGE;
        let slots = self.tables[table].get_or_init(|| (0..PAGE << table).map(|_| RwLock::default()).collect());
        &slots[head as usize - begin]
    }

    /// The posting for reading, also after its head is gone.
    pub(crate) fn read(&self, head: u32) -> Option<Arc<Posting>> {
        match &*self.slot(head).read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(posting) | Slot::Retired(posting) => Some(Arc::clone(posting)),
            Slot::Empty => None,
        }
    }

    /// The posting for changing; `None` where its head is gone.
    pub(crate) fn open(&self, head: u32) -> Option<Arc<Posting>> {
        match &*self.slot(head).read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(posting) => Some(Arc::clone(posting)),
            Slot::Retired(_) | Slot::Empty => None,
        }
    }

    /// Publishes a posting.
    pub(crate) fn set(&self, head: u32, posting: Posting) {
        *self.slot(head).write().unwrap_or_else(PoisonError::into_inner) = Slot::Open(Arc::new(posting));
    }

    /// Closes a posting for changes.
    pub(crate) fn retire(&self, head: u32) {
        let mut slot = self.slot(head).write().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Open(posting) = std::mem::take(&mut *slot) {
            *slot = Slot::Retired(posting);
        }
    }

    /// Forgets a retired posting.
    pub(crate) fn forget(&self, head: u32) {
        *self.slot(head).write().unwrap_or_else(PoisonError::into_inner) = Slot::Empty;
    }

    /// Bytes in memory beside the tails, for postings of `heads`.
    pub(crate) fn ram_bytes(&self, heads: &[u32]) -> u64 {
        let tables: usize =
            self.tables.iter().filter_map(OnceLock::get).map(|t| t.len() * size_of::<RwLock<Slot>>()).sum();
        let own = |&head: &u32| self.read(head).map_or(0, |p| size_of::<Posting>() + 16 + p.chunks.len() * 40);
        (tables + heads.iter().map(own).sum::<usize>()) as u64
    }
}
