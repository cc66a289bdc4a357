//! Regroup: the heads of a region are chosen again, as a fresh build would choose them from the vectors that are there now.
//!
//! Splits and merges keep postings within their bounds, and the two conditions keep vectors at their nearest heads; but a head that was
//! the middle of vectors long gone stays where it was, heads of splits lie where the records of a posting lie and not where its own
//! vectors do, and the other copies of a vector depend on all heads around it. What that costs grows with every update (measured:
//! 1.8 points of recall at eight postings in a hundred days of 1 %). So region after region, the oldest heads first, is clustered
//! anew, once in [`REGROUP_EVERY`] updates a live vector: a build in small portions.
//!
//! A region's new postings are made from snapshots, without locks; they are published only if none of its postings has changed
//! meanwhile. A search sees either the old heads or the new ones, and reads whole postings of both. Copies are added under their present
//! version, so nothing elsewhere becomes stale.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::split::Split;
use super::{Action, Core};
use crate::StorageError;
use crate::assign::Pool;
use crate::build::{Leaf, leaves};
use crate::cluster::split_in_two;
use crate::heads::{Found, HeadScratch};
use crate::ids::State;
use crate::jobs::{Counters, Job};
use crate::posting::Posting;
use crate::storage::chunk::Records;

/// Updates a live vector, in hundredths, from one regrouping of a head to the next.
pub(super) const REGROUP_EVERY: u64 = 33;
/// Heads of a region.
pub(super) const REGION: usize = 24;
/// Heads near the first one that are looked at for a region: those made lately are left alone.
const REACH: usize = 96;
/// How often the size of leaves is tried.
const TRIALS: usize = 4;

/// The postings of a region as they were when they were read.
struct Region {
    heads: Vec<u32>,
    postings: Vec<Arc<Posting>>,
    records: Vec<Records>,
    pool: Pool,
}

/// A vector of the region.
struct Member {
    iid: u32,
    version: u16,
    row: Vec<u8>,
    /// Its nearest head is one of the region's.
    is_home: bool,
}

/// A head to be, with its records.
struct Planned {
    row: Vec<u8>,
    /// Distance, whether the head is the vector's nearest, and the member.
    records: Vec<(f32, bool, usize)>,
}

/// A member, and a head outside that wants a copy of it.
type Wish = (usize, u32);

/// A head that was made, its row and its records.
pub(super) type Made = (u32, Vec<u8>, Records);

impl Core {
    /// Regroups the region around the oldest head. The caller holds the gate.
    pub(super) fn regroup(&self) -> Result<(), StorageError> {
        let mut scratch = HeadScratch::default();
        let Some(head) = self.oldest_head() else { return Ok(()) };
        let Some(region) = self.region_around(head, &mut scratch)? else { return Ok(()) };
        let members = self.members(&region, &mut scratch);
        let rows = self.new_heads_of(&members, &region);
        if !rows.is_empty() && self.rearrange(&region, &members, rows, &mut scratch)?.is_some() {
            Counters::add(&self.counters.regrouped, region.heads.len());
        }
        Ok(())
    }

    /// Splits a posting: two heads in the place of one, and of its vectors only those stay that want one of them. `None` where that makes
    /// no progress; nothing has changed then. The caller holds the gate.
    pub(super) fn split_anew(&self, head: u32) -> Result<Option<Split>, StorageError> {
        let mut scratch = HeadScratch::default();
        let Some(region) = self.region_of(head, &mut scratch)? else { return Ok(None) };
        let members = self.members(&region, &mut scratch);
        if members.len() <= self.limit {
            return Ok(None);
        }
        let all: Vec<&[u8]> = members.iter().map(|member| member.row.as_slice()).collect();
        let Some(parts) = split_in_two(&self.space, &all, self.job_seed()) else { return Ok(None) };
        let rows: Vec<Vec<u8>> = parts.medoids.iter().map(|&i| members[i].row.clone()).collect();
        if rows.iter().any(|row| region.pool.has_equal(&self.space, row, &HashSet::from([head]))) {
            return Ok(None);
        }
        let Some(old_row) = self.heads().row(head).map(<[u8]>::to_vec) else { return Ok(None) };
        let made = self.rearrange(&region, &members, rows, &mut scratch)?;
        let Some([a, b]) = made.and_then(|made| <[Made; 2]>::try_from(made).ok()) else { return Ok(None) };
        Counters::add(&self.counters.splits, 1);
        Ok(Some(Split { old_row, heads: [(a.0, a.1), (b.0, b.1)], parts: [a.2, b.2] }))
    }

    /// Takes away the head of a posting with few vectors: most are in other postings already, the rest is added where it is wanted.
    /// False where the posting has to stay. The caller holds the gate.
    pub(super) fn dissolve(&self, head: u32) -> Result<bool, StorageError> {
        let mut scratch = HeadScratch::default();
        let Some(region) = self.region_of(head, &mut scratch)? else { return Ok(false) };
        let members = self.members(&region, &mut scratch);
        if members.len() > self.merge_threshold || region.pool.len() < 2 {
            return Ok(false);
        }
        let is_done = self.rearrange(&region, &members, Vec::new(), &mut scratch)?.is_some();
        Counters::add(&self.counters.merges, usize::from(is_done));
        Ok(is_done)
    }

    /// Puts new heads in the place of a region's. `None` where the region changed meanwhile, or would not become smaller postings.
    fn rearrange(
        &self,
        region: &Region,
        members: &[Member],
        rows: Vec<Vec<u8>>,
        scratch: &mut HeadScratch,
    ) -> Result<Option<Vec<Made>>, StorageError> {
        let is_split = region.heads.len() == 1 && !rows.is_empty();
        // One at a time: of two that run beside each other, each could rely on the copy that the other takes away.
        let _alone = self.rearranging.lock().unwrap_or_else(PoisonError::into_inner);
        let (planned, missing) = self.plan_region(members, rows, region, scratch)?;
        if is_split && (planned.len() < 2 || planned.iter().any(|plan| plan.records.len() >= members.len())) {
            return Ok(None);
        }
        for (member, head) in missing {
            // Without it the region's posting may hold the vector's last copy, so the region stays as it is.
            if !self.add_copy_at(&members[member], head)? {
                return Ok(None);
            }
        }
        self.publish_region(region, members, planned)
    }

    /// The oldest head behind the cursor: ids grow with time.
    fn oldest_head(&self) -> Option<u32> {
        let end = self.next_head.load(Ordering::Relaxed);
        let mut head = self.regroup_cursor.load(Ordering::Relaxed);
        while head < end && self.postings.open(head).is_none() {
            head += 1;
        }
        // A region that cannot be published now is passed by, and met again in the next round.
        self.regroup_cursor.store(if head < end { head + 1 } else { 0 }, Ordering::Relaxed);
        (head < end).then_some(head)
    }

    fn region_around(&self, head: u32, scratch: &mut HeadScratch) -> Result<Option<Region>, StorageError> {
        let heads = {
            let index = self.heads();
            let Some(row) = index.row(head) else { return Ok(None) };
            let young = self.next_head.load(Ordering::Relaxed).saturating_sub(index.len() as u32 / 2);
            let near = index.search(&self.space.row_query(row), REACH, scratch).iter().map(|found| found.head);
            let old = near.filter(|&near| near == head || near < young).take(REGION);
            old.collect::<Vec<u32>>()
        };
        if heads.len() < 2 { Ok(None) } else { self.read_region(heads, head, scratch) }
    }

    fn region_of(&self, head: u32, scratch: &mut HeadScratch) -> Result<Option<Region>, StorageError> {
        self.read_region(vec![head], head, scratch)
    }

    /// Reads the postings of a region; `None` where one is gone, or holds vectors that are alike and has a rule of its own.
    fn read_region(
        &self,
        heads: Vec<u32>,
        middle: u32,
        scratch: &mut HeadScratch,
    ) -> Result<Option<Region>, StorageError> {
        let pool = {
            let index = self.heads();
            let Some(row) = index.row(middle) else { return Ok(None) };
            Pool::around(&self.space, &self.config, &index, &self.space.row_query(row), scratch)
        };
        let postings: Option<Vec<Arc<Posting>>> = heads.iter().map(|&head| self.postings.open(head)).collect();
        let Some(postings) = postings.filter(|postings| postings.iter().all(|posting| posting.retry_at == 0)) else {
            return Ok(None);
        };
        let records = heads.iter().zip(&postings).map(|(&head, posting)| self.load(head, posting));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Region { heads, postings, records, pool }))
    }

    /// The live vectors of the region, each once.
    fn members(&self, region: &Region, scratch: &mut HeadScratch) -> Vec<Member> {
        let mut all = Records::default();
        region.records.iter().for_each(|records| all.extend(records));
        let live = self.live_records(&all);
        let own: HashSet<u32> = region.heads.iter().copied().collect();
        let member = |i: usize| {
            let row = live.row(i, self.space.stride()).to_vec();
            let nearest = region.pool.nearest(&self.space, &self.space.row_query(&row), scratch);
            let is_home = nearest.is_some_and(|found| own.contains(&found.head));
            Member { iid: live.iids[i], version: live.versions[i], row, is_home }
        };
        (0..live.len()).map(member).collect()
    }

    /// Rows of new heads: medoids of small clusters of the vectors at home here, no two alike and none like a head outside.
    fn new_heads_of(&self, members: &[Member], region: &Region) -> Vec<Vec<u8>> {
        let homes: Vec<u32> = (0..members.len() as u32).filter(|&i| members[i as usize].is_home).collect();
        let wanted = (self.config.head_ratio * homes.len() as f64).max(1.0);
        let seed = self.job_seed();
        let row = |i: usize| members[i].row.as_slice();
        let quiet = parsimon_core::CancelFlag::new();
        let control = parsimon_core::Control { progress: &parsimon_core::NoProgress, cancel: &quiet };
        let mut leaf = (crate::build::HEADS_PER_LEAF / self.config.head_ratio).round().max(1.0);
        let mut best: Option<(f64, Vec<Leaf>)> = None;
        for _ in 0..TRIALS {
            let found = leaves(&self.space, &homes, &row, leaf as usize, seed, &control).expect("nobody cancels");
            let ratio = found.len() as f64 / wanted;
            if best.as_ref().is_none_or(|(error, _)| ratio.ln().abs() < *error) {
                best = Some((ratio.ln().abs(), found));
            }
            let next = (leaf * ratio).round().max(1.0);
            if next == leaf {
                break;
            }
            leaf = next;
        }
        let found = best.map(|(_, found)| found).unwrap_or_default();
        let own: HashSet<u32> = region.heads.iter().copied().collect();
        let mut seen = HashSet::new();
        let rows = found.iter().map(|leaf| row(leaf.medoid as usize)).filter(|row| seen.insert(*row));
        rows.filter(|row| !region.pool.has_equal(&self.space, row, &own)).map(<[u8]>::to_vec).collect()
    }

    /// The records of the new heads, and the copies that are missing at heads outside.
    fn plan_region(
        &self,
        members: &[Member],
        rows: Vec<Vec<u8>>,
        region: &Region,
        scratch: &mut HeadScratch,
    ) -> Result<(Vec<Planned>, Vec<Wish>), StorageError> {
        // New heads stand behind all others in the pool, under numbers that no head has.
        let first = u32::MAX - rows.len() as u32;
        let pool = region.pool.with(&region.heads, first, &rows);
        let mut planned: Vec<Planned> = rows.into_iter().map(|row| Planned { row, records: Vec::new() }).collect();
        let mut outside = Vec::new();
        for (i, member) in members.iter().enumerate() {
            let query = self.space.row_query(&member.row);
            let chosen = pool.select(&self.space, &self.config, &query, &mut scratch.heads);
            for (at, Found { distance, head }) in chosen.into_iter().enumerate() {
                match head.checked_sub(first) {
                    Some(new) => planned[new as usize].records.push((distance, at == 0, i)),
                    None => outside.push((i, head)),
                }
            }
        }
        let holders = self.holders(outside.iter().map(|&(_, head)| head).collect())?;
        // A copy under another version does not count: when a move is completed, it may become garbage.
        let copy = |i: usize| (members[i].iid, members[i].version);
        let held = |&(i, head): &Wish| holders.get(&head).is_some_and(|copies| copies.contains(&copy(i)));
        outside.retain(|wish| !held(wish));
        for plan in &mut planned {
            plan.records.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
            // As in a build: the farthest are cut, but never where a vector is at home.
            let mut at = 0;
            plan.records.retain(|&(_, is_first, _)| {
                at += 1;
                is_first || at <= self.limit
            });
        }
        planned.retain(|plan| !plan.records.is_empty());
        Ok((planned, outside))
    }

    /// The internal ids and versions of the copies in each of these postings.
    fn holders(&self, mut heads: Vec<u32>) -> Result<HashMap<u32, HashSet<(u32, u16)>>, StorageError> {
        heads.sort_unstable();
        heads.dedup();
        let mut holders = HashMap::with_capacity(heads.len());
        for head in heads {
            let Some(posting) = self.postings.open(head) else { continue };
            let mut copies = HashSet::with_capacity(posting.len());
            let mut see = |iid: u32, version: u16| {
                if !self.ids.is_stale(iid, version, u64::MAX) {
                    copies.insert((iid, version));
                }
            };
            self.pool.read(head, &posting.chunks, &mut Vec::new(), |chunk| {
                (0..chunk.count).for_each(|i| see(chunk.iid(i), chunk.version(i)));
            })?;
            if let Some(tail) = &posting.tail {
                tail.iids.iter().zip(&tail.versions).for_each(|(&iid, &version)| see(iid, version));
            }
            holders.insert(head, copies);
        }
        Ok(holders)
    }

    /// Adds a copy under the present version; false where the head has gone, or the vector is being moved. The job's pin keeps the id
    /// from being used again.
    fn add_copy_at(&self, member: &Member, head: u32) -> Result<bool, StorageError> {
        let Member { iid, version, row, .. } = member;
        match self.ids.state(*iid) {
            // Nobody misses it.
            State::Free | State::Dead => Ok(true),
            State::Pending | State::Live if self.ids.version(*iid) != *version => Ok(false),
            State::Pending | State::Live => self.append(head, *iid, *version, row),
        }
    }

    fn publish_region(
        &self,
        region: &Region,
        members: &[Member],
        planned: Vec<Planned>,
    ) -> Result<Option<Vec<Made>>, StorageError> {
        let mut stripes: Vec<usize> = region.heads.iter().map(|&head| Self::stripe_of(head)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let lock = |stripe: usize| self.posting_locks[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        let _guards: Vec<_> = stripes.into_iter().map(lock).collect();
        let is_same = |(&head, old): (&u32, &Arc<Posting>)| {
            self.postings.open(head).is_some_and(|posting| Arc::ptr_eq(&posting, old))
        };
        if !region.heads.iter().zip(&region.postings).all(is_same) {
            return Ok(None);
        }
        // A vector of the region must be somewhere when the old postings are gone: the plan has it at home, or it is outside already.
        let _new_heads = self.new_heads.lock().unwrap_or_else(PoisonError::into_inner);
        {
            // Another split may have taken a row meanwhile.
            let (index, mut scratch) = (self.heads(), HeadScratch::default());
            let mut is_taken = |plan: &Planned| {
                let found = index.search(&self.space.row_query(&plan.row), 2, &mut scratch);
                found.iter().any(|found| found.distance == 0.0 && !region.heads.contains(&found.head))
            };
            if planned.iter().any(&mut is_taken) {
                return Ok(None);
            }
        }
        let mut new = Vec::with_capacity(planned.len());
        for plan in planned {
            let mut records = Records::default();
            for &(_, _, i) in &plan.records {
                records.push(members[i].iid, members[i].version, &members[i].row);
            }
            let head = self.next_head.fetch_add(1, Ordering::Relaxed);
            new.push((head, self.store(head, &records, 0)?, plan.row, records));
        }
        let mut made: Vec<Made> = Vec::with_capacity(new.len());
        for (head, posting, row, records) in new {
            self.replace(head, posting, &records, &[]);
            made.push((head, row, records));
        }
        let mut heads = self.heads_mut();
        region.heads.iter().for_each(|&head| {
            heads.remove(head);
        });
        made.iter().for_each(|(head, row, _)| heads.insert(*head, row));
        drop(heads);
        for ((&head, posting), records) in region.heads.iter().zip(&region.postings).zip(&region.records) {
            self.postings.retire(head);
            self.epochs.defer(Action::ForgetHead(head));
            self.discard(posting, records);
        }
        let long = made.iter().filter(|(.., records)| records.len() > self.limit);
        long.for_each(|&(head, ..)| self.want(Job::Split(head)));
        Ok(Some(made))
    }
}
