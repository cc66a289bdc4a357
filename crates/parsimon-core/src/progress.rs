//! How long work reports its progress and is asked to stop. Libraries see only these; the command line draws the bars.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one step of progress counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things: layers, documents, steps, tokens; the string names them.
    Items(&'static str),
    /// Bytes.
    Bytes,
}

/// A sink for the progress of one task at a time. Calls may come from several threads.
pub trait Progress: Sync {
    /// A task begins; it ends with [`Progress::finish`] or with the next `start`.
    fn start(&self, task: &str, total: Option<u64>, unit: Unit);

    /// `n` more units of the current task are done.
    fn advance(&self, n: u64);

    /// A short state to show beside the bar, such as a loss.
    fn message(&self, text: &str) {
        let _ = text;
    }

    /// The current task is done.
    fn finish(&self) {}
}

/// A sink that ignores everything.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _task: &str, _total: Option<u64>, _unit: Unit) {}
    fn advance(&self, _n: u64) {}
}

/// A flag that asks long work to stop at the next safe point. Clones share the flag.
#[derive(Clone, Default, Debug)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelFlag::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `Err(Cancelled)` once the flag is set, for `?` at safe points.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// The work was asked to stop and did so cleanly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// The two ends of long work: where it reports, and what stops it.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Where progress goes.
    pub progress: &'a dyn Progress,
    /// What asks the work to stop.
    pub cancel: &'a CancelFlag,
}
