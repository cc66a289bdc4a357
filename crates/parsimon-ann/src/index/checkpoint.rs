//! Checkpoints: a consistent copy of the structure becomes the current generation, and the log before it is not needed any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Core, Index, Published};
use crate::posting::Posting;
use crate::storage::generation::{Generation, IdColumns, Manifest, Post, RETRY_SHIFT, UNSPLITTABLE, remove_dir};
use crate::storage::wal::{file_name, parse_name};
use crate::{AnnError, StorageError};

/// What the exclusive step copies: pointers and the table of ids.
struct Copy {
    heads: Vec<u32>,
    head_rows: Vec<u8>,
    postings: Vec<Arc<Posting>>,
    ids: IdColumns,
    next_head: u32,
    start_lsn: u64,
}

impl Core {
    /// Writes every tail to a chunk of its own, to bound the memory that unwritten records take.
    pub(super) fn write_tails(&self) -> Result<(), StorageError> {
        let _one = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        // Not in the loop's head, where the lock would be held through the loop.
        let heads = self.heads().ids();
        for head in heads {
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            self.settle_tail(head)?;
        }
        Ok(())
    }

    fn settle_tail(&self, head: u32) -> Result<(), StorageError> {
        let _guard = self.lock_posting(head);
        let Some(posting) = self.postings.open(head).filter(|posting| posting.tail.is_some()) else { return Ok(()) };
        let written = self.write_tail(head, &posting)?;
        self.tail_bytes.fetch_sub(posting.tail_bytes(), Ordering::Relaxed);
        self.postings.set(head, written);
        Ok(())
    }

    fn copy(&self) -> Result<Copy, AnnError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.settle();
        let start_lsn = self.wal()?.rotate()?;
        let heads = self.heads();
        let ids = heads.ids();
        let head_rows = ids.iter().flat_map(|&id| heads.row(id).expect("a listed head has a row")).copied().collect();
        let postings = ids.iter().map(|&id| self.postings.open(id).expect("a head has a posting")).collect();
        let next_head = self.next_head.load(Ordering::Relaxed);
        Ok(Copy { heads: ids, head_rows, postings, ids: self.ids.columns(), next_head, start_lsn })
    }

    pub(super) fn checkpoint(&self) -> Result<u64, AnnError> {
        // Most of the writing is done before writers are kept out.
        self.write_tails()?;
        let _one = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copy = self.copy()?;
        for (&head, posting) in copy.heads.iter().zip(&mut copy.postings) {
            if posting.tail.is_some() {
                *posting = Arc::new(self.write_tail(head, posting)?);
            }
        }
        self.pool.grow()?;
        self.pool.sync()?;
        let old = self.published().manifest.clone();
        let mut generation = self.generation(&old, &copy);
        generation.publish(&*self.vfs, &self.space)?;
        let number = generation.manifest.generation;
        let chunks = copy.postings.iter().flat_map(|posting| posting.chunks.clone()).collect();
        // The chunks of the generation before become free here, after the new one is durable.
        *self.published() = Published { manifest: generation.manifest, _chunks: chunks };
        remove_before(self, number, copy.start_lsn)?;
        Ok(number)
    }

    pub(super) fn published(&self) -> std::sync::MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self, old: &Manifest, copy: &Copy) -> Generation {
        let posts: Vec<Post> =
            copy.heads.iter().zip(&copy.postings).map(|(&head, posting)| post(head, posting)).collect();
        let manifest = Manifest {
            generation: old.generation + 1,
            data_chunks: self.pool.list.end(),
            chunk_seq: self.pool.seq(),
            wal_start_lsn: copy.start_lsn,
            next_head_id: copy.next_head,
            heads: posts.len() as u64,
            live: copy.ids.state.iter().filter(|&&state| state == 2).count() as u64,
            internal_ids: copy.ids.ext.len() as u64,
            records: posts.iter().map(|post| u64::from(post.records)).sum(),
            ..old.clone()
        };
        Generation { manifest, head_rows: copy.head_rows.clone(), posts, ids: copy.ids.clone() }
    }
}

pub(super) fn post(head: u32, posting: &Posting) -> Post {
    let flags = if posting.retry_at > 0 { UNSPLITTABLE | posting.retry_at << RETRY_SHIFT } else { 0 };
    let chunks = posting.chunks.iter().map(|chunk| chunk.number).collect();
    Post { head, records: posting.on_disk as u32, flags, chunks }
}

/// Removes generations and logs that are not needed any more.
pub(super) fn remove_before(core: &Core, generation: u64, start_lsn: u64) -> Result<(), StorageError> {
    let vfs = &*core.vfs;
    let names = vfs.list("").map_err(|e| StorageError::io(".", "list", e))?;
    for name in names {
        if crate::storage::generation::parse_dir(&name).is_some_and(|number| number != generation) {
            remove_dir(vfs, &name)?;
        }
        if let Some(first) = parse_name(&name).filter(|&first| first < start_lsn) {
            let name = file_name(first);
            vfs.remove_file(&name).map_err(|e| StorageError::io(&name, "remove", e))?;
        }
    }
    vfs.sync_dir("").map_err(|e| StorageError::io(".", "synchronize", e))
}

impl Index {
    /// Publishes the present state as a generation and removes the log before it; returns the generation's number. Writers wait only
    /// while pointers are copied and what the log buffers is synchronized.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`]; the generation before is then still the current one.
    pub fn checkpoint(&self) -> Result<u64, AnnError> {
        self.core.checkpoint()
    }
}
