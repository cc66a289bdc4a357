//! Merge and collect: a posting with few live records moves into another, and stale records go. PAPER(spfresh §3.2).

use std::sync::PoisonError;

use super::{Action, Core};
use crate::StorageError;
use crate::heads::HeadScratch;
use crate::jobs::Counters;
use crate::storage::chunk::Records;

/// Heads that are tried as partners.
const PARTNERS: usize = 64;
/// A merged posting has at most this share of the limit, so that it is not split again at once.
const FILL_MAX: (usize, usize) = (3, 4);
/// Fewer stale records are not worth a rewrite.
const STALE_MIN: usize = 4;

/// What a merge made, for the reassign that follows it.
pub(super) struct Merge {
    pub(super) kept: u32,
    pub(super) kept_row: Vec<u8>,
    pub(super) gone_row: Vec<u8>,
    /// The records of the posting that is gone.
    pub(super) records: Records,
}

impl Core {
    /// Rewrites a posting without its stale records, if they are enough.
    pub(super) fn collect(&self, head: u32) -> Result<(), StorageError> {
        let _guard = self.lock_posting(head);
        let Some(old) = self.postings.open(head) else { return Ok(()) };
        let records = self.load(head, &old)?;
        let live = self.live_records(&records);
        if self.is_worth_collecting(records.len(), live.len()) {
            self.write_back(head, &old, &records, &live, old.retry_at)?;
        }
        Ok(())
    }

    pub(super) fn is_worth_collecting(&self, records: usize, live: usize) -> bool {
        let stale = records - live;
        stale >= STALE_MIN && stale as f32 >= self.config.gc_ratio * records as f32
    }

    /// Merges a posting of few live records into the nearest one with room. The caller holds the gate.
    pub(super) fn merge(&self, head: u32) -> Result<Option<Merge>, StorageError> {
        let row = match self.heads().row(head) {
            Some(row) => row.to_vec(),
            None => return Ok(None),
        };
        let mut scratch = HeadScratch::default();
        let query = self.space.row_query(&row);
        let near: Vec<u32> =
            self.heads().search(&query, PARTNERS, &mut scratch).iter().map(|f| f.head).filter(|&h| h != head).collect();
        for partner in near {
            let room = self.limit * FILL_MAX.0 / FILL_MAX.1;
            if self.postings.open(partner).is_none_or(|p| p.len() >= room) {
                continue;
            }
            match self.merge_with(head, partner)? {
                Attempt::Done(merge) => return Ok(merge),
                Attempt::NoRoom => {}
            }
        }
        self.collect(head)?;
        Ok(None)
    }

    fn merge_with(&self, head: u32, partner: u32) -> Result<Attempt, StorageError> {
        let (a, b) = (Self::stripe_of(head), Self::stripe_of(partner));
        let lock = |stripe: usize| self.posting_locks[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        let _first = lock(a.min(b));
        let _second = (a != b).then(|| lock(a.max(b)));
        let (Some(old), Some(other)) = (self.postings.open(head), self.postings.open(partner)) else {
            return Ok(Attempt::NoRoom);
        };
        let records = self.load(head, &old)?;
        let live = self.live_records(&records);
        if live.len() > self.merge_threshold {
            return Ok(Attempt::Done(None));
        }
        let other_records = self.load(partner, &other)?;
        let other_live = self.live_records(&other_records);
        if live.len() + other_live.len() > self.limit * FILL_MAX.0 / FILL_MAX.1 {
            return Ok(Attempt::NoRoom);
        }
        let keeps_partner = (other_live.len(), head) >= (live.len(), partner);
        let (kept, gone) = if keeps_partner { (partner, head) } else { (head, partner) };
        let mut joined = if keeps_partner { other_live.clone() } else { live.clone() };
        joined.extend(if keeps_partner { &live } else { &other_live });
        let joined = self.live_records(&joined);
        let posting = self.store(kept, &joined, 0)?;
        self.replace(kept, posting, &joined, &[]);
        let (kept_row, gone_row) = {
            let mut heads = self.heads_mut();
            let rows = [kept, gone].map(|h| heads.row(h).expect("an open posting has a head").to_vec());
            heads.remove(gone);
            let [kept_row, gone_row] = rows;
            (kept_row, gone_row)
        };
        self.postings.retire(gone);
        self.epochs.defer(Action::ForgetHead(gone));
        self.discard(&old, &records);
        self.discard(&other, &other_records);
        Counters::add(&self.counters.merges, 1);
        let records = if keeps_partner { live } else { other_live };
        Ok(Attempt::Done(Some(Merge { kept, kept_row, gone_row, records })))
    }
}

enum Attempt {
    /// Merged, or not wanted any more.
    Done(Option<Merge>),
    NoRoom,
}
