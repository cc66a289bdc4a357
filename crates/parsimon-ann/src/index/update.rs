//! Inserts, upserts and deletes.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use serde::Serialize;

use super::{Core, Index};
use crate::assign::{Selection, select};
use crate::config::Durability;
use crate::heads::HeadScratch;
use crate::ids::IDS_MAX;
use crate::posting::Posting;
use crate::space::Query;
use crate::storage::wal::{Entry, PAYLOAD_MAX, Wal};
use crate::{AnnError, StorageError, VectorId};

/// Rows from which on postings are chosen on several threads.
const PARALLEL: usize = 32;

/// What a batch did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct UpdateReport {
    /// Ids that the batch changed.
    pub applied: u64,
    /// Of these, ids that were live before.
    pub replaced: u64,
    /// Ids to delete that were not live.
    pub missing: u64,
    /// Rows of the batch that a later row with the same id replaced.
    pub repeated: u64,
    /// The number of the batch's last record in the log; 0 when nothing was written.
    pub lsn: u64,
}

/// How many postings are chosen at once under the locks.
struct Batch<'a> {
    ids: Vec<u64>,
    /// Stored rows, one stride each.
    rows: Vec<u8>,
    /// Rows for the log.
    logged: Vec<&'a [u8]>,
}

impl Core {
    pub(super) fn wal(&self) -> Result<&Wal, AnnError> {
        self.wal.as_ref().ok_or(AnnError::Unsupported { what: "writing to an index that was opened for reading" })
    }

    /// The row of a vector as the log keeps it, from its stored row.
    fn logged<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        &row[..self.space.vector_bytes()]
    }

    /// Puts a stored row into its postings; at least one takes it. The caller holds the gate.
    fn place(
        &self,
        iid: u32,
        row: &[u8],
        chosen: Option<Vec<u32>>,
        scratch: &mut HeadScratch,
    ) -> Result<(), StorageError> {
        let query = self.space.row_query(row);
        let mut written: Vec<u32> = Vec::new();
        let mut chosen = chosen;
        loop {
            let heads = match chosen.take() {
                Some(heads) => heads,
                None => match select(&self.space, &self.config, &self.heads(), &query, None, scratch) {
                    Selection::Heads(heads) => heads,
                    Selection::NoNeed => unreachable!("there is no posting to stop at"),
                },
            };
            if heads.is_empty() && written.is_empty() {
                self.first_head(row);
                continue;
            }
            let mut missed = false;
            for head in heads {
                if !written.contains(&head) {
                    if self.append(head, iid, 0, row)? {
                        written.push(head);
                    } else {
                        missed = true;
                    }
                }
            }
            if !missed {
                return Ok(());
            }
        }
    }

    /// The first vector of an empty index becomes its first head.
    fn first_head(&self, row: &[u8]) {
        let mut heads = self.heads_mut();
        if heads.len() == 0 {
            let head = self.next_head.fetch_add(1, Ordering::Relaxed);
            self.postings.set(head, Posting::default());
            heads.insert(head, row);
        }
    }

    /// The effect of an upsert, after it is in the log. The caller holds the gate and the id's stripe.
    fn apply_upsert(
        &self,
        ext: u64,
        row: &[u8],
        lsn: u64,
        chosen: Option<Vec<u32>>,
        scratch: &mut HeadScratch,
    ) -> Result<bool, AnnError> {
        let iid = self.ids.allocate(ext, lsn).ok_or(AnnError::CapacityExceeded { limit: IDS_MAX })?;
        self.place(iid, row, chosen, scratch)?;
        self.ids.set_live(iid);
        let old = self.ids.insert(ext, iid);
        if let Some(old) = old {
            self.ids.set_dead(old, self.epochs.tick());
        }
        Ok(old.is_some())
    }

    fn apply_delete(&self, ext: u64) -> bool {
        let old = self.ids.remove(ext);
        if let Some(old) = old {
            self.ids.set_dead(old, self.epochs.tick());
        }
        old.is_some()
    }

    /// Applies a record of the log after a crash.
    pub(super) fn replay(&self, lsn: u64, entry: &Entry) -> Result<(), AnnError> {
        let mut scratch = HeadScratch::default();
        match entry {
            Entry::Upsert { ids, rows } => {
                for (&ext, vector) in ids.iter().zip(rows.chunks_exact(self.space.vector_bytes())) {
                    let row = self.stored_again(vector)?;
                    self.apply_upsert(ext, &row, lsn, None, &mut scratch)?;
                }
                self.after_update(ids.len());
            }
            Entry::Delete { ids } => {
                ids.iter().for_each(|&ext| {
                    self.apply_delete(ext);
                });
                self.after_update(ids.len());
            }
            Entry::Seal => {}
        }
        Ok(())
    }

    /// The stored row of a logged vector, which is normalised already.
    fn stored_again(&self, vector: &[u8]) -> Result<Vec<u8>, AnnError> {
        let mut row = Vec::with_capacity(self.space.stride());
        if self.space.metric() == crate::Metric::InnerProduct {
            self.space.push_row(0, vector, &mut row)?;
        } else {
            row.extend(vector);
            row.resize(self.space.stride(), 0);
        }
        Ok(row)
    }

    /// The postings of every row, on several threads where that pays.
    fn choose(&self, rows: &[u8]) -> Vec<Option<Vec<u32>>> {
        let one = |scratch: &mut HeadScratch, row: &[u8]| -> Option<Vec<u32>> {
            let query: Query = self.space.row_query(row);
            match select(&self.space, &self.config, &self.heads(), &query, None, scratch) {
                Selection::Heads(heads) if !heads.is_empty() => Some(heads),
                _ => None,
            }
        };
        let stride = self.space.stride();
        if rows.len() / stride < PARALLEL {
            let mut scratch = HeadScratch::default();
            return rows.chunks_exact(stride).map(|row| one(&mut scratch, row)).collect();
        }
        rows.par_chunks_exact(stride).map_init(HeadScratch::default, one).collect()
    }

    fn upsert_batch(&self, batch: &Batch<'_>, is_insert: bool, report: &mut UpdateReport) -> Result<(), AnnError> {
        let wal = self.wal()?;
        let lsn = {
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let _stripes = self.ids.lock(batch.ids.iter().copied());
            if let Some(&id) = batch.ids.iter().find(|&&id| is_insert && self.ids.get(id).is_some()) {
                return Err(AnnError::AlreadyExists { id });
            }
            if u64::from(self.ids.len()) + batch.ids.len() as u64 > IDS_MAX {
                return Err(AnnError::CapacityExceeded { limit: IDS_MAX });
            }
            let chosen = self.choose(&batch.rows);
            let lsn = wal.append(&Entry::Upsert { ids: batch.ids.clone(), rows: batch.logged.concat() })?;
            let mut scratch = HeadScratch::default();
            for ((&ext, row), chosen) in batch.ids.iter().zip(batch.rows.chunks_exact(self.space.stride())).zip(chosen)
            {
                report.replaced += u64::from(self.apply_upsert(ext, row, lsn, chosen, &mut scratch)?);
                report.applied += 1;
            }
            lsn
        };
        report.lsn = lsn;
        self.after_update(batch.ids.len());
        self.acknowledge(lsn)
    }

    fn acknowledge(&self, lsn: u64) -> Result<(), AnnError> {
        let wal = self.wal()?;
        if self.runtime.durability == Durability::Sync {
            wal.wait_durable(lsn)?;
        }
        if wal.bytes() > self.runtime.checkpoint_wal_bytes && !self.is_checkpoint_due.swap(true, Ordering::Relaxed) {
            let result = self.checkpoint();
            self.is_checkpoint_due.store(false, Ordering::Relaxed);
            result?;
        } else if self.tail_bytes.load(Ordering::Relaxed) > self.runtime.tail_bytes {
            self.write_tails()?;
        }
        Ok(())
    }

    fn update(&self, ids: &[VectorId], vectors: &[u8], is_insert: bool) -> Result<UpdateReport, AnnError> {
        let size = self.space.vector_bytes();
        if vectors.len() != ids.len() * size {
            return Err(AnnError::Shape {
                what: "bytes of the batch",
                expected: ids.len() * size,
                actual: vectors.len(),
            });
        }
        let mut report = UpdateReport::default();
        let mut rows = Vec::with_capacity(ids.len() * self.space.stride());
        for (i, vector) in vectors.chunks_exact(size).enumerate() {
            self.space.push_row(i, vector, &mut rows)?;
        }
        // Of an id that comes twice the last row counts.
        let last: HashMap<u64, usize> = ids.iter().enumerate().map(|(i, id)| (id.0, i)).collect();
        let kept: Vec<usize> = (0..ids.len()).filter(|&i| last[&ids[i].0] == i).collect();
        report.repeated = (ids.len() - kept.len()) as u64;
        let stride = self.space.stride();
        for part in kept.chunks(((PAYLOAD_MAX - 8) / (size + 8)).max(1)) {
            let stored: Vec<&[u8]> = part.iter().map(|&i| &rows[i * stride..][..stride]).collect();
            let logged = stored.iter().map(|row| self.logged(row)).collect();
            let batch = Batch { ids: part.iter().map(|&i| ids[i].0).collect(), rows: stored.concat(), logged };
            self.upsert_batch(&batch, is_insert, &mut report)?;
        }
        Ok(report)
    }
}

impl Index {
    /// Adds vectors (their bytes, row after row) under ids that are not live.
    ///
    /// When it returns, every later search sees them, and with [`Durability::Sync`] they survive a crash.
    ///
    /// # Errors
    ///
    /// [`AnnError::AlreadyExists`], [`AnnError::InvalidVector`] and [`AnnError::Shape`] before anything is applied; [`AnnError::Storage`] when
    /// the log fails.
    pub fn insert(&self, ids: &[VectorId], vectors: &[u8]) -> Result<UpdateReport, AnnError> {
        self.core.update(ids, vectors, true)
    }

    /// As [`Index::insert`], and replaces the vectors of ids that are live.
    ///
    /// # Errors
    ///
    /// As [`Index::insert`], without [`AnnError::AlreadyExists`].
    pub fn upsert(&self, ids: &[VectorId], vectors: &[u8]) -> Result<UpdateReport, AnnError> {
        self.core.update(ids, vectors, false)
    }

    /// Removes ids; those that are not live are counted as missing.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`] when the log fails.
    pub fn delete(&self, ids: &[VectorId]) -> Result<UpdateReport, AnnError> {
        let core = &self.core;
        let wal = core.wal()?;
        let mut report = UpdateReport::default();
        for part in ids.chunks((PAYLOAD_MAX - 8) / 8) {
            {
                let _gate = core.gate.read().unwrap_or_else(PoisonError::into_inner);
                let _stripes = core.ids.lock(part.iter().map(|id| id.0));
                let mut live: Vec<u64> = part.iter().map(|id| id.0).filter(|&id| core.ids.get(id).is_some()).collect();
                live.sort_unstable();
                live.dedup();
                report.missing += (part.len() - live.len()) as u64;
                if live.is_empty() {
                    continue;
                }
                report.lsn = wal.append(&Entry::Delete { ids: live.clone() })?;
                for ext in &live {
                    core.apply_delete(*ext);
                }
                report.applied += live.len() as u64;
            }
            core.after_update(part.len());
        }
        if report.lsn > 0 {
            core.acknowledge(report.lsn)?;
        }
        Ok(report)
    }

    /// Makes every acknowledged write durable.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`] when the log fails.
    pub fn flush(&self) -> Result<(), AnnError> {
        Ok(self.core.wal()?.flush()?)
    }
}
