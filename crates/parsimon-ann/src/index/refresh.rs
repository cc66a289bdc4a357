//! Refresh: vectors get the postings that a fresh build would choose for them now.
//!
//! The two conditions find vectors whose *nearest* head changed. Their other copies depend on all heads around them, and go stale with
//! every split near by: after many updates vectors lack copies where searches look for them, which costs recall. So the sweep takes
//! every posting in turn, once in [`REFRESH_ROUNDS`] rounds: of the vectors whose nearest head it is, the copies that the rule wants
//! and that are missing are added, and where several are not wanted any more the vector moves as a whole.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::reassign::Candidate;
use super::{Action, Core};
use crate::StorageError;
use crate::assign::{Selection, select};
use crate::heads::HeadScratch;
use crate::ids::State;
use crate::jobs::Counters;

/// Sweeps from one refresh of a posting to the next.
const REFRESH_ROUNDS: u32 = 10;
/// Copies that are not wanted any more, from which on a vector moves.
const EXCESS_MAX: usize = 2;

/// A home vector of a posting, and what the rule wants for it.
struct Wish {
    iid: u32,
    version: u16,
    row: Vec<u8>,
    heads: Vec<u32>,
}

impl Core {
    /// Whether this round of the sweep refreshes a posting.
    pub(super) fn is_refreshed(&self, head: u32) -> bool {
        let compat = self.runtime.compat;
        let round = self.sweep_round.load(Ordering::Relaxed);
        !compat.no_reassign && !compat.gc_at_overflow_only && head.wrapping_add(round).is_multiple_of(REFRESH_ROUNDS)
    }

    /// Gives the vectors whose nearest head this is the postings that they would get in a fresh build. The caller holds the gate.
    pub(super) fn refresh(&self, head: u32) -> Result<(), StorageError> {
        let Some(posting) = self.postings.open(head) else { return Ok(()) };
        let mut scratch = HeadScratch::default();
        let wishes = self.wishes(head, &posting, &mut scratch)?;
        if wishes.is_empty() {
            return Ok(());
        }
        let holders = self.holders(head, &wishes, &mut scratch)?;
        for wish in wishes {
            let held = holders.get(&wish.iid).map(Vec::as_slice).unwrap_or_default();
            let missing: Vec<u32> = wish.heads.iter().copied().filter(|head| !held.contains(head)).collect();
            let excess = held.iter().filter(|head| !wish.heads.contains(head)).count();
            if missing.is_empty() && excess < EXCESS_MAX {
                continue;
            }
            if excess >= EXCESS_MAX {
                let Wish { iid, version, row, .. } = wish;
                self.reassign(&Candidate { iid, version, row, posting: None }, &mut scratch)?;
            } else {
                self.complete(&wish, &missing)?;
            }
            Counters::add(&self.counters.refreshed, 1);
        }
        Ok(())
    }

    fn wishes(
        &self,
        head: u32,
        posting: &crate::posting::Posting,
        scratch: &mut HeadScratch,
    ) -> Result<Vec<Wish>, StorageError> {
        let records = self.live_records(&self.load(head, posting)?);
        let mut wishes = Vec::new();
        for i in 0..records.len() {
            let row = records.row(i, self.space.stride());
            let query = self.space.row_query(row);
            let Selection::Heads(heads) = select(&self.space, &self.config, &self.heads(), &query, None, scratch)
            else {
                continue;
            };
            if heads.first() == Some(&head) {
                wishes.push(Wish { iid: records.iids[i], version: records.versions[i], row: row.to_vec(), heads });
            }
        }
        Ok(wishes)
    }

    /// The postings near this one, and those that are wanted, that hold a current copy of each vector.
    fn holders(
        &self,
        head: u32,
        wishes: &[Wish],
        scratch: &mut HeadScratch,
    ) -> Result<HashMap<u32, Vec<u32>>, StorageError> {
        let mut near: Vec<u32> = {
            let heads = self.heads();
            let Some(row) = heads.row(head) else { return Ok(HashMap::new()) };
            let query = self.space.row_query(row);
            heads.search(&query, self.config.reassign_range, scratch).iter().map(|found| found.head).collect()
        };
        near.extend(wishes.iter().flat_map(|wish| &wish.heads));
        near.sort_unstable();
        near.dedup();
        let mut holders: HashMap<u32, Vec<u32>> = wishes.iter().map(|wish| (wish.iid, Vec::new())).collect();
        for head in near {
            let Some(posting) = self.postings.open(head) else { continue };
            let mut see = |iid: u32, version: u16| {
                if let Some(held) = holders.get_mut(&iid).filter(|held| held.last() != Some(&head))
                    && !self.ids.is_stale(iid, version, u64::MAX)
                {
                    held.push(head);
                }
            };
            self.pool.read(head, &posting.chunks, &mut Vec::new(), |chunk| {
                (0..chunk.count).for_each(|i| see(chunk.iid(i), chunk.version(i)));
            })?;
            if let Some(tail) = &posting.tail {
                tail.iids.iter().zip(&tail.versions).for_each(|(&iid, &version)| see(iid, version));
            }
        }
        Ok(holders)
    }

    /// Adds copies of the current version.
    fn complete(&self, wish: &Wish, missing: &[u32]) -> Result<(), StorageError> {
        if !self.ids.try_move(wish.iid) {
            return Ok(());
        }
        let is_current = self.ids.state(wish.iid) == State::Live && self.ids.version(wish.iid) == wish.version;
        for &head in missing.iter().filter(|_| is_current) {
            // A head that is gone meanwhile is found by a later round.
            self.append(head, wish.iid, wish.version, &wish.row)?;
        }
        self.epochs.defer(Action::FinishMove(wish.iid, self.ids.version(wish.iid)));
        Ok(())
    }
}
