//! Split: a posting that grew too long becomes two. PAPER(spfresh §4.2).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Action, Core};
use crate::StorageError;
use crate::cluster::{Parts, split_in_two};
use crate::jobs::Counters;
use crate::posting::Posting;
use crate::storage::chunk::Records;

/// What a split made, for the reassign that follows it.
pub(super) struct Split {
    pub(super) old_row: Vec<u8>,
    /// The heads of the two parts with their rows.
    pub(super) heads: [(u32, Vec<u8>); 2],
    pub(super) parts: [Records; 2],
}

impl Split {
    /// Whether a head is one of the new ones and its part has no record of the id.
    pub(super) fn lacks(&self, head: u32, iid: u32) -> bool {
        let part = self.heads.iter().position(|(new, _)| *new == head);
        part.is_some_and(|part| !self.parts[part].iids.contains(&iid))
    }
}

/// A part and the head that it gets.
struct Part {
    head: u32,
    row: Vec<u8>,
    records: Records,
}

impl Core {
    /// A seed that no other job has.
    pub(super) fn job_seed(&self) -> u64 {
        self.config.seed ^ self.job_number.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// The live records of a posting, one an id: the newest copy.
    pub(super) fn live_records(&self, records: &Records) -> Records {
        let earliest = self.epochs.earliest();
        let mut live = Records::default();
        let mut seen = HashMap::new();
        for (i, (&iid, &version)) in records.iids.iter().zip(&records.versions).enumerate() {
            if self.ids.is_stale(iid, version, earliest) {
                continue;
            }
            match seen.entry(iid) {
                Entry::Vacant(entry) => {
                    entry.insert(live.len());
                    live.push(iid, version, records.row(i, self.space.stride()));
                }
                Entry::Occupied(entry) => {
                    let kept = &mut live.versions[*entry.get()];
                    if crate::ids::is_older(*kept, version) {
                        *kept = version;
                    }
                }
            }
        }
        live
    }

    /// Writes `live` back in the place of all records.
    pub(super) fn write_back(
        &self,
        head: u32,
        old: &Posting,
        records: &Records,
        live: &Records,
        retry_at: u32,
    ) -> Result<(), StorageError> {
        let posting = self.store(head, live, retry_at)?;
        self.replace(head, posting, live, &[(old, records)]);
        Counters::add(&self.counters.collections, 1);
        Ok(())
    }

    /// Splits a posting that has more live records than the limit; one that has not loses its stale records. The caller holds the gate.
    pub(super) fn split(&self, head: u32) -> Result<Option<Split>, StorageError> {
        let _guard = self.lock_posting(head);
        let Some(old) = self.postings.open(head) else { return Ok(None) };
        if old.len() <= self.limit.max(old.retry_at as usize) {
            return Ok(None);
        }
        let records = self.load(head, &old)?;
        let live = self.live_records(&records);
        if live.len() <= self.limit {
            self.write_back(head, &old, &records, &live, 0)?;
            return Ok(None);
        }
        let rows: Vec<&[u8]> = live.rows.chunks_exact(self.space.stride()).collect();
        let parts = split_in_two(&self.space, &rows, self.job_seed());
        let new_heads = self.new_heads.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = parts.and_then(|parts| self.plan(head, &live, &rows, &parts));
        let Some(planned) = planned else {
            // Records are never dropped: the posting stays long, and is looked at again when it has doubled.
            Counters::add(&self.counters.unsplittable, 1);
            self.write_back(head, &old, &records, &live, 2 * live.len() as u32)?;
            return Ok(None);
        };
        let old_row = self.heads().row(head).expect("an open posting has a head").to_vec();
        self.publish_split(head, &old, &records, &planned)?;
        drop(new_heads);
        Counters::add(&self.counters.splits, 1);
        let [a, b] = planned;
        let heads = [(a.head, a.row), (b.head, b.row)];
        Ok(Some(Split { old_row, heads, parts: [a.records, b.records] }))
    }

    /// The heads of both parts: a part's medoid, or where another posting's head is equal to it the next nearest member; `None` where
    /// a part has no head of its own. Both ids are new, also where a medoid is the old head: a search that found the old head reads
    /// the old posting, and would miss the other part in a shortened one.
    fn plan(&self, head: u32, live: &Records, rows: &[&[u8]], parts: &Parts) -> Option<[Part; 2]> {
        let heads = self.heads();
        let mut planned: Vec<Part> = Vec::with_capacity(2);
        for second in [false, true] {
            let members: Vec<usize> = (0..rows.len()).filter(|&i| parts.second[i] == second).collect();
            let medoid = self.space.row_query(rows[parts.medoids[usize::from(second)]]);
            let mut order: Vec<(f32, usize)> =
                members.iter().map(|&i| (self.space.distance(&medoid, rows[i]), i)).collect();
            order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let mut scratch = crate::heads::HeadScratch::default();
            let free = order.iter().find_map(|&(_, i)| {
                let query = self.space.row_query(rows[i]);
                let taken_by_part = planned.iter().any(|part| self.space.distance(&query, &part.row) == 0.0);
                let nearest = heads.search(&query, 2, &mut scratch);
                let taken = nearest.iter().any(|found| found.head != head && found.distance == 0.0);
                (!taken && !taken_by_part).then_some(i)
            });
            let i = free?;
            let mut records = Records::default();
            for &i in &members {
                records.push(live.iids[i], live.versions[i], rows[i]);
            }
            let head = self.next_head.fetch_add(1, Ordering::Relaxed);
            planned.push(Part { head, row: rows[i].to_vec(), records });
        }
        planned.try_into().ok()
    }

    /// New postings are readable before their heads can be found, and the old one until no search has its head.
    fn publish_split(
        &self,
        head: u32,
        old: &Posting,
        records: &Records,
        planned: &[Part; 2],
    ) -> Result<(), StorageError> {
        let stored: Vec<Posting> =
            planned.iter().map(|part| self.store(part.head, &part.records, 0)).collect::<Result<_, _>>()?;
        for (part, posting) in planned.iter().zip(stored) {
            self.replace(part.head, posting, &part.records, &[]);
        }
        let mut heads = self.heads_mut();
        heads.remove(head);
        for part in planned {
            heads.insert(part.head, &part.row);
        }
        drop(heads);
        self.postings.retire(head);
        self.epochs.defer(Action::ForgetHead(head));
        self.discard(old, records);
        Ok(())
    }
}
