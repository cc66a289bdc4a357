//! Work that rebalances the index, in a bounded queue without duplicates.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait at most; beyond, who makes one does it.
pub(crate) const QUEUE_MAX: usize = 4096;

/// One piece of work on one posting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Job {
    Split(u32),
    Merge(u32),
    Collect(u32),
    /// Choose the heads of the oldest region again; the number makes several differ.
    Regroup(u32),
    /// Look at the posting and decide.
    Sweep(u32),
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    waiting: HashSet<Job>,
    running: usize,
    is_paused: bool,
    is_closed: bool,
}

/// The queue of an index.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Jobs that did not fit.
    overflow: Mutex<Vec<Job>>,
    failure: Mutex<Option<String>>,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job unless it waits already; gives it back when the queue is full.
    pub(crate) fn offer(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.lock();
        if queue.waiting.contains(&job) {
            return Ok(());
        }
        if queue.jobs.len() >= QUEUE_MAX {
            return Err(job);
        }
        queue.waiting.insert(job);
        queue.jobs.push_back(job);
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// Keeps a job that did not fit for who made it.
    pub(crate) fn overflow(&self, job: Job) {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    /// A job that did not fit. The caller reports it as done.
    pub(crate) fn take_overflow(&self) -> Option<Job> {
        let job = self.overflow.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.lock().running += 1;
        Some(job)
    }

    /// The next job for the caller of an update.
    pub(crate) fn take(&self) -> Option<Job> {
        Self::pop(&mut self.lock())
    }

    fn pop(queue: &mut Queue) -> Option<Job> {
        let job = queue.jobs.pop_front()?;
        queue.waiting.remove(&job);
        queue.running += 1;
        Some(job)
    }

    /// The next job for a thread of the index; `None` when the index closes.
    pub(crate) fn wait(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            if !queue.is_paused
                && let Some(job) = Self::pop(&mut queue)
            {
                return Some(job);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn done(&self) {
        self.lock().running -= 1;
        self.changed.notify_all();
    }

    /// Whether nothing waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.lock();
        queue.jobs.is_empty() && queue.running == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.lock().is_paused = is_paused;
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Keeps the reason of a failed job; the index is unchanged by it.
    pub(crate) fn fail(&self, why: String) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What an index has done since it was opened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counts {
            /// What was done since `before`.
            pub fn since(&self, before: &Counts) -> Counts {
                Counts { $($name: self.$name - before.$name,)* }
            }
        }

        impl Counters {
            pub(crate) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Postings cut in two.
    splits,
    /// Postings merged into another.
    merges,
    /// Postings rewritten without their stale records.
    collections,
    /// Vectors that the conditions looked at.
    evaluated,
    /// Vectors that passed a condition.
    candidates,
    /// Vectors that got new copies.
    reassigned,
    /// Heads that were chosen again with their region.
    regrouped,
    /// Postings that could not be split because their vectors are alike.
    unsplittable,
    /// Appends that found their head gone and chose again.
    head_misses,
    /// Jobs that the caller of an update had to do because the queue was full.
    inline_jobs,
    /// Records written to postings, copies included.
    appended,
    /// Jobs that failed and left the index as it was.
    failed_jobs,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}
