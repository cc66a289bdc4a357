//! Reading and writing the records of a posting.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use super::{Action, Core, STRIPES};
use crate::StorageError;
use crate::heads::Heads;
use crate::jobs::{Counters, Job};
use crate::posting::Posting;
use crate::storage::chunk::Records;

impl Core {
    pub(super) fn heads(&self) -> RwLockReadGuard<'_, Heads> {
        self.heads.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn heads_mut(&self) -> RwLockWriteGuard<'_, Heads> {
        self.heads.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stripe_of(head: u32) -> usize {
        (head.wrapping_mul(0x9E37_79B9) >> 20) as usize % STRIPES
    }

    pub(super) fn lock_posting(&self, head: u32) -> MutexGuard<'_, ()> {
        self.posting_locks[Self::stripe_of(head)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All records of a posting, chunks first.
    pub(super) fn load(&self, head: u32, posting: &Posting) -> Result<Records, StorageError> {
        let mut records = Records::default();
        self.pool.read(head, &posting.chunks, &mut Vec::new(), |chunk| chunk.append_to(&mut records))?;
        if records.len() != posting.on_disk {
            let what = format!("posting {head} has {} records, expected {}", records.len(), posting.on_disk);
            return Err(StorageError::damage(&self.pool.name, 0, what));
        }
        if let Some(tail) = &posting.tail {
            records.extend(tail);
        }
        Ok(records)
    }

    /// A posting of these records: full chunks are written, the rest stays in memory.
    pub(super) fn store(&self, head: u32, records: &Records, retry_at: u32) -> Result<Posting, StorageError> {
        let cap = self.pool.format.geometry.cap;
        let full = records.len() / cap * cap;
        let chunks = self.pool.write(head, 0, records, 0, full)?;
        let mut tail = Records::default();
        for i in full..records.len() {
            tail.push(records.iids[i], records.versions[i], records.row(i, self.space.stride()));
        }
        let tail = (tail.len() > 0).then(|| Arc::new(tail));
        Ok(Posting { chunks, on_disk: full, tail, retry_at })
    }

    /// Publishes a posting in the place of `old` and keeps the account of copies and of bytes in memory.
    pub(super) fn replace(&self, head: u32, posting: Posting, records: &Records, old: &[(&Posting, &Records)]) {
        for &iid in &records.iids {
            self.ids.add_copy(iid);
        }
        self.tail_bytes.fetch_add(posting.tail_bytes(), Ordering::Relaxed);
        self.postings.set(head, posting);
        for (posting, records) in old {
            self.discard(posting, records);
        }
    }

    /// Takes the records of a posting that is not reachable any more off the account.
    pub(super) fn discard(&self, posting: &Posting, records: &Records) {
        self.tail_bytes.fetch_sub(posting.tail_bytes(), Ordering::Relaxed);
        for &iid in &records.iids {
            if self.ids.drop_copy(iid) {
                self.epochs.defer(Action::ReleaseId(iid));
            }
        }
    }

    /// Appends a record; false where the head is gone. The caller holds the gate.
    pub(super) fn append(&self, head: u32, iid: u32, version: u16, row: &[u8]) -> Result<bool, StorageError> {
        let cap = self.pool.format.geometry.cap;
        let guard = self.lock_posting(head);
        let Some(old) = self.postings.open(head) else {
            Counters::add(&self.counters.head_misses, 1);
            return Ok(false);
        };
        let mut posting = Posting::clone(&old);
        let mut tail = match posting.tail.take() {
            Some(tail) => Records::clone(&tail),
            None => Records::default(),
        };
        // A part-filled last chunk belongs to the published generation: it moves back to memory and is written elsewhere when full.
        if tail.len() == 0 && !posting.on_disk.is_multiple_of(cap) {
            let last = posting.chunks.len() - 1;
            self.read_last(head, &posting, last, &mut tail)?;
            posting.on_disk -= tail.len();
            posting.chunks.truncate(last);
        }
        tail.push(iid, version, row);
        if tail.len() >= cap {
            // Where the disk is full the records stay in memory: the log has them.
            match self.pool.write(head, posting.chunks.len(), &tail, 0, cap) {
                Ok(chunks) => {
                    posting.chunks.extend(chunks);
                    posting.on_disk += cap;
                    tail = tail.drained(cap, self.space.stride());
                }
                Err(e) => self.jobs.fail(e.to_string()),
            }
        }
        posting.tail = (tail.len() > 0).then(|| Arc::new(tail));
        let (len, retry_at) = (posting.len(), posting.retry_at as usize);
        self.ids.add_copy(iid);
        self.tail_bytes.fetch_add(posting.tail_bytes(), Ordering::Relaxed);
        self.tail_bytes.fetch_sub(old.tail_bytes(), Ordering::Relaxed);
        self.postings.set(head, posting);
        drop(guard);
        Counters::add(&self.counters.appended, 1);
        if len > self.limit.max(retry_at) && !self.runtime.compat.append_only {
            self.want(Job::Split(head));
        }
        Ok(true)
    }

    fn read_last(&self, head: u32, posting: &Posting, last: usize, tail: &mut Records) -> Result<(), StorageError> {
        self.pool.read_from(head, &posting.chunks[last..], last, &mut Vec::new(), |chunk| chunk.append_to(tail))
    }

    /// Queues a job; a job that does not fit waits in a list that the caller of the update works off.
    pub(super) fn want(&self, job: Job) {
        if self.jobs.offer(job).is_err() {
            self.jobs.overflow(job);
        }
    }

    /// Writes the tail of a posting to a part-filled chunk.
    pub(super) fn write_tail(&self, head: u32, posting: &Posting) -> Result<Posting, StorageError> {
        let mut written = posting.clone();
        if let Some(tail) = written.tail.take() {
            written.chunks.extend(self.pool.write(head, posting.chunks.len(), &tail, 0, tail.len())?);
            written.on_disk += tail.len();
        }
        Ok(written)
    }

    /// Does what no running search can need any more.
    pub(super) fn settle(&self) {
        self.epochs.settle(|action| match action {
            Action::FinishMove(iid, version) => self.ids.finish_move(iid, Some(version)),
            Action::ReleaseId(iid) => self.ids.release(iid),
            Action::ForgetHead(head) => self.postings.forget(head),
        });
    }
}
