//! Reassign: vectors near a changed border get the postings that the rule chooses now. PAPER(spfresh §3.3).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::merge::Merge;
use super::split::Split;
use super::{Action, Core};
use crate::StorageError;
use crate::assign::{Selection, select};
use crate::heads::HeadScratch;
use crate::ids::{State, is_older};
use crate::jobs::Counters;
use crate::lire::{needs_check_merge, needs_check_near, needs_check_split};
use crate::space::Query;
use crate::storage::chunk::Records;

/// A vector that one of the conditions lets pass, and the posting that holds it.
pub(super) struct Candidate {
    pub(super) iid: u32,
    pub(super) version: u16,
    pub(super) row: Vec<u8>,
    /// The postings that make a move needless when the rule chooses all of them.
    pub(super) postings: Vec<u32>,
}

/// Candidates, each vector once.
#[derive(Default)]
struct Candidates {
    found: Vec<Candidate>,
    at: HashMap<u32, usize>,
}

impl Candidates {
    fn add(&mut self, candidate: Candidate) {
        match self.at.entry(candidate.iid) {
            Entry::Vacant(entry) => {
                entry.insert(self.found.len());
                self.found.push(candidate);
            }
            Entry::Occupied(entry) => {
                let known = &mut self.found[*entry.get()];
                // Of an older copy nothing is to be kept.
                if known.version == candidate.version {
                    known.postings.extend(candidate.postings);
                } else if is_older(known.version, candidate.version) {
                    *known = candidate;
                }
            }
        }
    }
}

impl Core {
    /// The distances of every record to a head.
    fn distances(&self, head: &Query, records: &Records) -> Vec<f32> {
        let mut distances = Vec::with_capacity(records.len());
        self.space.scan(head, &records.rows, self.space.stride(), |_, distance| distances.push(distance));
        distances
    }

    /// After a split: the vectors of both parts by the first condition, those of nearby postings by the second.
    ///
    /// A vector lies in about six postings, and in each of them it may pass: it is looked at once, with all of them in hand.
    pub(super) fn reassign_after_split(&self, split: &Split) -> Result<(), StorageError> {
        let old = self.space.row_query(&split.old_row);
        let new = [0, 1].map(|k| self.space.row_query(&split.heads[k].1));
        let mut candidates = Candidates::default();
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
                    candidates.add(self.candidate(part, i, split.heads[k].0));
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
                if needs_check_near(d_old[i], &[d_new[0][i], d_new[1][i]], d_cur[i])
                    && !self.ids.is_stale(records.iids[i], records.versions[i], u64::MAX)
                {
                    candidates.add(self.candidate(&records, i, head));
                }
            }
        }
        Counters::add(&self.counters.evaluated, evaluated);
        self.reassign_all(candidates.found, Some(split))
    }

    /// After a merge: only the vectors of the posting that is gone.
    pub(super) fn reassign_after_merge(&self, merge: &Merge) -> Result<(), StorageError> {
        let (kept, gone) = (self.space.row_query(&merge.kept_row), self.space.row_query(&merge.gone_row));
        let (d_kept, d_gone) = (self.distances(&kept, &merge.records), self.distances(&gone, &merge.records));
        Counters::add(&self.counters.evaluated, merge.records.len());
        let passing = (0..merge.records.len()).filter(|&i| needs_check_merge(d_kept[i], d_gone[i]));
        let candidates = passing.map(|i| self.candidate(&merge.records, i, merge.kept)).collect();
        self.reassign_all(candidates, None)
    }

    fn candidate(&self, records: &Records, i: usize, posting: u32) -> Candidate {
        let row = records.row(i, self.space.stride()).to_vec();
        Candidate { iid: records.iids[i], version: records.versions[i], row, postings: vec![posting] }
    }

    fn reassign_all(&self, candidates: Vec<Candidate>, split: Option<&Split>) -> Result<(), StorageError> {
        Counters::add(&self.counters.candidates, candidates.len());
        let mut scratch = HeadScratch::default();
        for candidate in candidates {
            if self.reassign(&candidate, split, &mut scratch)? {
                Counters::add(&self.counters.reassigned, 1);
            }
        }
        Ok(())
    }

    /// Gives a vector the copies that the rule wants now. Where it wants all postings that the vector is known to be in, only the copies
    /// at the heads of a split can be missing, and these are added. Otherwise the vector moves: the old copies stay, and count, until
    /// every search that could miss a new one has ended. True when something was written.
    fn reassign(
        &self,
        candidate: &Candidate,
        split: Option<&Split>,
        scratch: &mut HeadScratch,
    ) -> Result<bool, StorageError> {
        let Candidate { iid, version, row, postings } = candidate;
        if self.ids.state(*iid) != State::Live || self.ids.version(*iid) != *version || !self.ids.try_move(*iid) {
            return Ok(false);
        }
        // Between the look and the bit another move may have been completed.
        let is_current = self.ids.state(*iid) == State::Live && self.ids.version(*iid) == *version;
        let query = self.space.row_query(row);
        let mut next = version.wrapping_add(1);
        let mut written = Vec::new();
        loop {
            if !is_current {
                break;
            }
            // After a merge nothing can be missing where the posting that took the vector is right.
            let stop = if split.is_none() { postings.first().copied() } else { None };
            let selection = select(&self.space, &self.config, &self.heads(), &query, stop, scratch);
            let Selection::Heads(mut heads) = selection else { break };
            if written.is_empty() && postings.iter().all(|posting| heads.contains(posting)) {
                next = *version;
                heads.retain(|head| !postings.contains(head) && split.is_some_and(|s| s.lacks(*head, *iid)));
            }
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
            if !missed || next == *version {
                break;
            }
        }
        if written.is_empty() || next == *version {
            self.ids.finish_move(*iid, None);
            return Ok(!written.is_empty());
        }
        self.epochs.defer(Action::FinishMove(*iid, next));
        Ok(true)
    }
}
