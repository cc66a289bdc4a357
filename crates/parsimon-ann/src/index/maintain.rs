//! Running jobs, and the sweep that finds work nobody asked for.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::regroup::{REGION, REGROUP_EVERY};
use super::{Core, Index};
use crate::config::Rebuild;
use crate::jobs::{Counters, Counts, Job};
use crate::{AnnError, StorageError};

/// A full sweep comes with this many updates a live vector.
const SWEEP_EVERY: u64 = 10;

/// How much [`Index::maintain`] may do.
#[derive(Clone, Copy, Default)]
pub struct Budget<'a> {
    /// Jobs at most; `None` is as many as there are.
    pub jobs: Option<u64>,
    /// Asked before every job: true ends the work.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

/// What [`Index::maintain`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MaintainReport {
    /// Jobs that ran.
    pub jobs: u64,
    /// What they did.
    pub counts: Counts,
    /// Nothing is left to do.
    pub complete: bool,
}

impl Core {
    /// Runs one job with everything that follows from it directly.
    fn run(&self, job: Job) -> Result<(), StorageError> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let compat = self.runtime.compat;
        if compat.append_only {
            return Ok(());
        }
        // A job carries vectors under their internal ids from the posting that it read to others: none may be used again meanwhile.
        let pin = self.epochs.register();
        let pinned = self.epochs.pin(&pin);
        let result = match job {
            Job::Split(head) => self.split_job(head, compat.no_reassign),
            Job::Merge(head) => self.merge_job(head, compat.no_reassign),
            Job::Collect(head) => self.collect(head),
            Job::Regroup(_) => self.regroup(),
            Job::Sweep(head) => self.sweep(head),
        };
        drop(pinned);
        self.settle();
        result
    }

    /// Splits by new choice, or where that makes no progress by cutting the records in two.
    fn split_job(&self, head: u32, no_reassign: bool) -> Result<(), StorageError> {
        let is_long = self.postings.open(head).is_some_and(|posting| posting.len() > self.limit);
        let anew = if no_reassign || !is_long { None } else { self.split_anew(head)? };
        match anew.map_or_else(|| self.split(head), |split| Ok(Some(split)))? {
            Some(split) if !no_reassign => self.reassign_after_split(&split),
            _ => Ok(()),
        }
    }

    fn merge_job(&self, head: u32, no_reassign: bool) -> Result<(), StorageError> {
        if !no_reassign && self.dissolve(head)? {
            return Ok(());
        }
        match self.merge(head)? {
            Some(merge) if !no_reassign => self.reassign_after_merge(&merge),
            _ => Ok(()),
        }
    }

    /// Decides what a posting needs.
    fn sweep(&self, head: u32) -> Result<(), StorageError> {
        let Some(posting) = self.postings.open(head) else { return Ok(()) };
        let records = self.load(head, &posting)?;
        let earliest = self.epochs.earliest();
        let pairs = records.iids.iter().zip(&records.versions);
        let live = pairs.filter(|(iid, version)| !self.ids.is_stale(**iid, **version, earliest)).count();
        let compat = self.runtime.compat;
        if live > self.limit.max(posting.retry_at as usize) {
            self.want(Job::Split(head));
        } else if live <= self.merge_threshold && self.heads().len() > 1 {
            self.want(Job::Merge(head));
        } else if self.is_worth_collecting(records.len(), live) && !compat.gc_at_overflow_only {
            self.want(Job::Collect(head));
        }
        Ok(())
    }

    /// Runs a job; a failure is counted and kept, for the index is as it was.
    pub(super) fn run_counted(&self, job: Job) {
        if let Err(e) = self.run(job) {
            Counters::add(&self.counters.failed_jobs, 1);
            self.jobs.fail(e.to_string());
        }
        self.jobs.done();
    }

    /// What an update does after its locks are released.
    pub(super) fn after_update(&self, updates: usize) {
        while let Some(job) = self.jobs.take_overflow() {
            Counters::add(&self.counters.inline_jobs, 1);
            self.run_counted(job);
        }
        self.schedule_sweep(updates as u64);
        self.schedule_regroup(updates as u64);
        if self.runtime.rebuild == Rebuild::Inline {
            self.drain();
        }
        self.settle();
    }

    fn drain(&self) {
        while let Some(job) = self.jobs.take_overflow().or_else(|| self.jobs.take()) {
            self.run_counted(job);
        }
    }

    /// Queues as many regroupings as the updates are worth.
    fn schedule_regroup(&self, updates: u64) {
        let compat = self.runtime.compat;
        if compat.append_only || compat.no_reassign || compat.gc_at_overflow_only {
            return;
        }
        // In hundredths of a head and live vector.
        let worth = REGION as u64 * REGROUP_EVERY * self.ids.live().max(1);
        let more = 100 * updates * self.heads().len() as u64;
        let credit = self.regroup_credit.fetch_add(more, Ordering::Relaxed) + more;
        let due = credit / worth;
        self.regroup_credit.fetch_sub(due * worth, Ordering::Relaxed);
        for number in 0..due {
            // A full queue has enough to do without this.
            let _ = self.jobs.offer(Job::Regroup((credit / worth - number) as u32));
        }
    }

    /// Queues as many sweeps as the updates are worth.
    fn schedule_sweep(&self, updates: u64) {
        if self.runtime.compat.append_only {
            return;
        }
        let heads = self.next_head.load(Ordering::Relaxed);
        let live = u64::from(self.ids.len()).max(1);
        // In units of 1 / (SWEEP_EVERY live) of a sweep.
        let credit =
            self.sweep_credit.fetch_add(updates * u64::from(heads), Ordering::Relaxed) + updates * u64::from(heads);
        let due = credit / (SWEEP_EVERY * live);
        if due == 0 {
            return;
        }
        self.sweep_credit.fetch_sub(due * SWEEP_EVERY * live, Ordering::Relaxed);
        for _ in 0..due.min(u64::from(heads)) {
            let head = self.sweep_cursor.fetch_add(1, Ordering::Relaxed) % heads;
            if self.postings.open(head).is_some() {
                // A full queue has enough to do without a sweep.
                let _ = self.jobs.offer(Job::Sweep(head));
            }
        }
    }
}

impl Index {
    /// Does all rebalancing work that there is, or as much as the budget allows: what is queued first, then a sweep over every posting.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when a job fails; the index is then as it was before that job.
    pub fn maintain(&self, budget: &Budget<'_>) -> Result<MaintainReport, AnnError> {
        let core = &self.core;
        let before = core.counters.counts();
        let mut sweep = core.heads().ids().into_iter();
        let mut jobs = 0;
        let mut complete = false;
        while budget.jobs.is_none_or(|limit| jobs < limit) && !budget.stop.is_some_and(|stop| stop()) {
            let (job, is_queued) = match core.jobs.take_overflow().or_else(|| core.jobs.take()) {
                Some(job) => (job, true),
                None => match sweep.next() {
                    Some(head) => (Job::Sweep(head), false),
                    None => {
                        complete = true;
                        break;
                    }
                },
            };
            let result = core.run(job);
            if is_queued {
                core.jobs.done();
            }
            result?;
            jobs += 1;
        }
        core.settle();
        Ok(MaintainReport { jobs, counts: core.counters.counts().since(&before), complete })
    }

    /// Splits the postings that are too long, and nothing else.
    pub(crate) fn split_long(&self) -> Result<(), AnnError> {
        let core = &self.core;
        // The guard of the heads must not outlive this line: a split takes the lock.
        let heads = core.heads().ids();
        for head in heads {
            if core.postings.open(head).is_some_and(|posting| posting.len() > core.limit) {
                core.run(Job::Split(head))?;
            }
        }
        core.drain();
        Ok(())
    }

    /// Stops the index's threads after their present jobs, until [`Index::resume`].
    pub fn pause(&self) {
        self.core.jobs.set_paused(true);
    }

    /// Lets the index's threads work again.
    pub fn resume(&self) {
        self.core.jobs.set_paused(false);
    }

    /// Jobs that wait or run.
    pub fn is_idle(&self) -> bool {
        self.core.jobs.is_idle()
    }
}
