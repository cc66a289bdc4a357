//! What searches, and jobs that carry vectors from one posting to another, may still see.
//!
//! A logical clock counts deaths and retirements. A search *pins* the clock's value at its start; whatever was retired later must stay
//! readable until it ends: a posting whose head is gone, an id that would be used again, a version that would make old copies
//! garbage. Such an action waits with its time until no pinned value is at or below it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Nobody is pinned.
const IDLE: u64 = u64::MAX;

/// The clock, the searches and what waits for them.
#[derive(Debug)]
pub(crate) struct Epochs<A> {
    clock: AtomicU64,
    pins: Mutex<Vec<Weak<AtomicU64>>>,
    waiting: Mutex<VecDeque<(u64, A)>>,
}

/// The place where one searcher pins.
#[derive(Debug)]
pub(crate) struct Pin(Arc<AtomicU64>);

/// A search in progress; dropping it unpins.
#[derive(Debug)]
pub(crate) struct Pinned {
    pin: Arc<AtomicU64>,
    /// When the search began.
    pub(crate) start: u64,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.pin.store(IDLE, Ordering::SeqCst);
    }
}

impl<A> Epochs<A> {
    pub(crate) fn new() -> Self {
        Epochs { clock: AtomicU64::new(1), pins: Mutex::default(), waiting: Mutex::default() }
    }

    pub(crate) fn register(&self) -> Pin {
        let pin = Arc::new(AtomicU64::new(IDLE));
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.strong_count() > 0);
        pins.push(Arc::downgrade(&pin));
        Pin(pin)
    }

    /// Begins a search.
    ///
    /// The value is stored before anything of the index is read. Between its load and its store others may tick and look for pins:
    /// what they then release was gone from every list before this search reads one.
    pub(crate) fn pin(&self, pin: &Pin) -> Pinned {
        let start = self.clock.load(Ordering::SeqCst);
        pin.0.store(start, Ordering::SeqCst);
        Pinned { pin: Arc::clone(&pin.0), start }
    }

    /// A time of its own: every search that began before has a start at or below it, every later one a start above.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// The earliest start of a running search; the clock's end where there is none.
    pub(crate) fn earliest(&self) -> u64 {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.iter().filter_map(Weak::upgrade).map(|pin| pin.load(Ordering::SeqCst)).min().unwrap_or(IDLE)
    }

    /// Lets `action` wait until every search that is running now has ended.
    pub(crate) fn defer(&self, action: A) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let time = self.tick();
        waiting.push_back((time, action));
    }

    /// Does the actions that nothing waits for any more, in their order whatever threads call this: an id that was released before its move
    /// was completed would be completed under its next name.
    pub(crate) fn settle(&self, act: impl FnMut(A)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return;
        }
        let earliest = self.earliest();
        let n = waiting.iter().take_while(|(time, _)| *time < earliest).count();
        waiting.drain(..n).map(|(_, action)| action).for_each(act);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_wait_for_the_searches_before_them() {
        let epochs = Epochs::new();
        let (a, b) = (epochs.register(), epochs.register());
        let due = || {
            let mut due = Vec::new();
            epochs.settle(|action| due.push(action));
            due
        };
        epochs.defer(1);
        assert_eq!(due(), [1]);
        let first = epochs.pin(&a);
        epochs.defer(2);
        let second = epochs.pin(&b);
        epochs.defer(3);
        assert_eq!(due(), [] as [i32; 0]);
        drop(first);
        assert_eq!(due(), [2]);
        drop(second);
        assert_eq!(due(), [3]);
    }
}
