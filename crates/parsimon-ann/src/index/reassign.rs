//! Reassign: vectors near a changed border get the postings that the rule chooses now. PAPER(spfresh §3.3).

use super::merge::Merge;
use super::split::Split;
use super::{Action, Core};
use crate::StorageError;
use crate::assign::{Selection, select};
use crate::heads::HeadScratch;
use crate::ids::State;
use crate::jobs::Counters;
use crate::lire::{needs_check_merge, needs_check_near, needs_check_split};
use crate::space::Query;
use crate::storage::chunk::Records;

/// A vector that one of the conditions lets pass, and the posting that holds it.
pub(super) struct Candidate {
    pub(super) iid: u32,
    pub(super) version: u16,
    pub(super) row: Vec<u8>,
    /// The posting that makes a move needless when the rule chooses it.
    pub(super) posting: Option<u32>,
}

impl Core {
    /// The distances of every record to a head.
    fn distances(&self, head: &Query, records: &Records) -> Vec<f32> {
        let mut distances = Vec::with_capacity(records.len());
        self.space.scan(head, &records.rows, self.space.stride(), |_, distance| distances.push(distance));
        distances
    }

    /// After a split: the vectors of both parts by the first condition, those of nearby postings by the second.
    pub(super) fn reassign_after_split(&self, split: &Split) -> Result<(), StorageError> {
        let old = self.space.row_query(&split.old_row);
        let new = [0, 1].map(|k| self.space.row_query(&split.heads[k].1));
        let mut candidates = Vec::new();
        let mut evaluated = 0;
        for (k, part) in split.parts.iter().enumerate() {
            let d_old = self.distances(&old, part);
            let d_new = [self.distances(&new[0], part), self.distances(&new[1], part)];
            evaluated += part.len();
            for i in 0..part.len() {
                let both = [d_new[0][i], d_new[1][i]];
                let passes = if self.runtime.compat.own_head_only {
                    d_old[i] < both[k]
                } else {
                    needs_check_split(d_old[i], &both)
                };
                if passes {
                    candidates.push(self.candidate(part, i, split.heads[k].0));
                }
            }
        }
        let mut scratch = HeadScratch::default();
        let near: Vec<u32> = {
            let heads = self.heads();
            let found = heads.search(&old, self.config.reassign_range + 2, &mut scratch);
            let own = |head: u32| split.heads.iter().any(|(new, _)| *new == head);
            found.iter().map(|f| f.head).filter(|&head| !own(head)).take(self.config.reassign_range).collect()
        };
        for head in near {
            let Some(row) = self.heads().row(head).map(<[u8]>::to_vec) else { continue };
            let Some(posting) = self.postings.read(head) else { continue };
            let records = self.load(head, &posting)?;
            let current = self.space.row_query(&row);
            let (d_old, d_cur) = (self.distances(&old, &records), self.distances(&current, &records));
            let d_new = [self.distances(&new[0], &records), self.distances(&new[1], &records)];
            evaluated += records.len();
            for i in 0..records.len() {
                if needs_check_near(d_old[i], &[d_new[0][i], d_new[1][i]], d_cur[i]) {
                    candidates.push(self.candidate(&records, i, head));
                }
            }
        }
        Counters::add(&self.counters.evaluated, evaluated);
        self.reassign_all(candidates)
    }

    /// After a merge: only the vectors of the posting that is gone.
    pub(super) fn reassign_after_merge(&self, merge: &Merge) -> Result<(), StorageError> {
        let (kept, gone) = (self.space.row_query(&merge.kept_row), self.space.row_query(&merge.gone_row));
        let (d_kept, d_gone) = (self.distances(&kept, &merge.records), self.distances(&gone, &merge.records));
        Counters::add(&self.counters.evaluated, merge.records.len());
        let passing = (0..merge.records.len()).filter(|&i| needs_check_merge(d_kept[i], d_gone[i]));
        let candidates = passing.map(|i| self.candidate(&merge.records, i, merge.kept)).collect();
        self.reassign_all(candidates)
    }

    fn candidate(&self, records: &Records, i: usize, posting: u32) -> Candidate {
        let row = records.row(i, self.space.stride()).to_vec();
        Candidate { iid: records.iids[i], version: records.versions[i], row, posting: Some(posting) }
    }

    fn reassign_all(&self, candidates: Vec<Candidate>) -> Result<(), StorageError> {
        Counters::add(&self.counters.candidates, candidates.len());
        let mut scratch = HeadScratch::default();
        for candidate in candidates {
            if self.reassign(&candidate, &mut scratch)? {
                Counters::add(&self.counters.reassigned, 1);
            }
        }
        Ok(())
    }

    /// Gives a vector new copies where the rule wants them now. The old ones stay, and count, until every search that could miss a new
    /// one has ended. True when it moved.
    pub(super) fn reassign(&self, candidate: &Candidate, scratch: &mut HeadScratch) -> Result<bool, StorageError> {
        let Candidate { iid, version, row, posting } = candidate;
        if self.ids.state(*iid) != State::Live || self.ids.version(*iid) != *version || !self.ids.try_move(*iid) {
            return Ok(false);
        }
        // Between the look and the bit another move may have been completed.
        let is_current = self.ids.state(*iid) == State::Live && self.ids.version(*iid) == *version;
        let query = self.space.row_query(row);
        let next = version.wrapping_add(1);
        let mut written = Vec::new();
        loop {
            if !is_current {
                break;
            }
            let selection = select(&self.space, &self.config, &self.heads(), &query, *posting, scratch);
            let Selection::Heads(heads) = selection else { break };
            let mut missed = false;
            for head in heads {
                if written.contains(&head) {
                    continue;
                }
                if self.append(head, *iid, next, row)? {
                    written.push(head);
                } else {
                    missed = true;
                }
            }
            if !missed {
                break;
            }
        }
        if written.is_empty() {
            self.ids.finish_move(*iid, None);
            return Ok(false);
        }
        self.epochs.defer(Action::FinishMove(*iid, next));
        Ok(true)
    }
}
