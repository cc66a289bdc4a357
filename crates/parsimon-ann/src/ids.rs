//! Internal ids: what a record in a posting points to.
//!
//! An internal id never changes its vector while any record carries it, so a record can never be torn or outdated: an old copy and a
//! new one are both right. `version` serves garbage collection alone. External ids map to live internal ids in striped tables.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use crate::storage::generation::IdColumns;

const PAGE: usize = 1 << 12;
/// Pages double: page table `t` has `PAGE << t` ids.
const TABLES: usize = 20;
/// Internal ids at most.
pub(crate) const IDS_MAX: u64 = (PAGE as u64) * ((1 << TABLES) - 1);
const STRIPES: usize = 64;

/// What an internal id is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    Free = 0,
    /// Its records are being written.
    Pending = 1,
    Live = 2,
    Dead = 3,
}

#[derive(Debug, Default)]
struct Slot {
    ext: AtomicU64,
    /// LSN of the write that made it; once dead, the epoch of its death.
    born: AtomicU64,
    version: AtomicU16,
    copies: AtomicU16,
    state: AtomicU8,
    /// A reassign of it has not been completed.
    is_moving: AtomicBool,
}

/// The table of internal ids. Reading and writing a slot takes no lock.
#[derive(Debug)]
pub(crate) struct Ids {
    tables: [OnceLock<Box<[Slot]>>; TABLES],
    len: AtomicU32,
    free: Mutex<Vec<u32>>,
    map: Vec<RwLock<HashMap<u64, u32>>>,
    locks: Vec<Mutex<()>>,
}

/// A version older than the current one, on a circle of 2^16.
pub(crate) fn is_older(version: u16, current: u16) -> bool {
    (current.wrapping_sub(version) as i16) > 0
}

fn stripe_of(ext: u64) -> usize {
    (ext.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize
}

impl Ids {
    pub(crate) fn new() -> Self {
        Ids {
            tables: std::array::from_fn(|_| OnceLock::new()),
            len: AtomicU32::new(0),
            free: Mutex::default(),
            map: (0..STRIPES).map(|_| RwLock::default()).collect(),
            locks: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn load(columns: &IdColumns) -> Self {
        let ids = Ids::new();
        for i in 0..columns.ext.len() {
            let iid = ids.extend().expect("a generation is within the limit");
            let slot = ids.slot(iid);
            slot.ext.store(columns.ext[i], Ordering::Relaxed);
            slot.version.store(columns.version[i], Ordering::Relaxed);
            slot.copies.store(columns.copies[i], Ordering::Relaxed);
            slot.state.store(columns.state[i], Ordering::Relaxed);
            match columns.state[i] {
                2 => {
                    slot.born.store(columns.born[i], Ordering::Relaxed);
                    ids.map(columns.ext[i]).write().unwrap_or_else(PoisonError::into_inner).insert(columns.ext[i], iid);
                }
                // Death was before any search of this process.
                3 if columns.copies[i] > 0 => slot.born.store(0, Ordering::Relaxed),
                _ => {
                    slot.state.store(State::Free as u8, Ordering::Relaxed);
                    ids.free.lock().unwrap_or_else(PoisonError::into_inner).push(iid);
                }
            }
        }
        ids
    }

    /// The table by column. The caller keeps writers out.
    pub(crate) fn columns(&self) -> IdColumns {
        let n = self.len();
        let slots = || (0..n).map(|iid| self.slot(iid));
        IdColumns {
            ext: slots().map(|slot| slot.ext.load(Ordering::Relaxed)).collect(),
            born: slots().map(|slot| slot.born.load(Ordering::Relaxed)).collect(),
            version: slots().map(|slot| slot.version.load(Ordering::Relaxed)).collect(),
            copies: slots().map(|slot| slot.copies.load(Ordering::Relaxed)).collect(),
            state: slots().map(|slot| slot.state.load(Ordering::Relaxed)).collect(),
        }
    }

    /// Internal ids ever made.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    fn slot(&self, iid: u32) -> &Slot {
        let page = iid as usize / PAGE + 1;
        let table = page.ilog2() as usize;
        let begin = ((1 << table) - 1) * PAGE;
        &self.tables[table].get().expect("an id that was handed out has a slot")[iid as usize - begin]
    }

    fn extend(&self) -> Option<u32> {
        let iid = self.len.load(Ordering::Relaxed);
        if u64::from(iid) >= IDS_MAX.min(u64::from(u32::MAX - 1)) {
            return None;
        }
        let table = (iid as usize / PAGE + 1).ilog2() as usize;
        self.tables[table].get_or_init(|| (0..PAGE << table).map(|_| Slot::default()).collect());
        self.len.store(iid + 1, Ordering::Release);
        Some(iid)
    }

    /// A new pending id; `None` at the limit.
    pub(crate) fn allocate(&self, ext: u64, born: u64) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let iid = match free.pop() {
            Some(iid) => iid,
            None => self.extend()?,
        };
        drop(free);
        let slot = self.slot(iid);
        slot.ext.store(ext, Ordering::Relaxed);
        slot.born.store(born, Ordering::Relaxed);
        slot.version.store(0, Ordering::Relaxed);
        slot.copies.store(0, Ordering::Relaxed);
        slot.is_moving.store(false, Ordering::Relaxed);
        slot.state.store(State::Pending as u8, Ordering::Release);
        Some(iid)
    }

    /// Makes a dead id without records available again.
    pub(crate) fn release(&self, iid: u32) {
        let slot = self.slot(iid);
        let was = slot.state.swap(State::Free as u8, Ordering::AcqRel);
        assert_ne!(was, State::Free as u8, "id {iid} was free already");
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(iid);
    }

    pub(crate) fn state(&self, iid: u32) -> State {
        match self.slot(iid).state.load(Ordering::Acquire) {
            0 => State::Free,
            1 => State::Pending,
            2 => State::Live,
            _ => State::Dead,
        }
    }

    pub(crate) fn set_live(&self, iid: u32) {
        self.slot(iid).state.store(State::Live as u8, Ordering::Release);
    }

    /// Marks an id as dead at a time of the epochs' clock.
    pub(crate) fn set_dead(&self, iid: u32, time: u64) {
        let slot = self.slot(iid);
        slot.born.store(time, Ordering::Release);
        slot.state.store(State::Dead as u8, Ordering::Release);
    }

    /// Whether a search that began at `start` may return the id: it is live, or died later than that.
    pub(crate) fn is_visible(&self, iid: u32, start: u64) -> bool {
        let slot = self.slot(iid);
        match slot.state.load(Ordering::Acquire) {
            2 => true,
            3 => slot.born.load(Ordering::Acquire) >= start,
            _ => false,
        }
    }

    /// Whether a record has no use: its id died before the earliest running search began, or a newer copy replaced it.
    pub(crate) fn is_stale(&self, iid: u32, version: u16, earliest: u64) -> bool {
        let slot = self.slot(iid);
        match slot.state.load(Ordering::Acquire) {
            0 => true,
            3 => slot.born.load(Ordering::Acquire) < earliest,
            _ => is_older(version, slot.version.load(Ordering::Acquire)),
        }
    }

    pub(crate) fn ext(&self, iid: u32) -> u64 {
        self.slot(iid).ext.load(Ordering::Relaxed)
    }

    pub(crate) fn version(&self, iid: u32) -> u16 {
        self.slot(iid).version.load(Ordering::Acquire)
    }

    /// Completes a move: older copies are garbage from now on.
    pub(crate) fn finish_move(&self, iid: u32, version: Option<u16>) {
        let slot = self.slot(iid);
        if let Some(version) = version {
            slot.version.store(version, Ordering::Release);
        }
        slot.is_moving.store(false, Ordering::Release);
    }

    /// Begins a move; false where another is under way.
    pub(crate) fn try_move(&self, iid: u32) -> bool {
        self.slot(iid).is_moving.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn add_copy(&self, iid: u32) {
        self.slot(iid).copies.fetch_add(1, Ordering::AcqRel);
    }

    /// One record less; true when it was the last one of a dead id.
    pub(crate) fn drop_copy(&self, iid: u32) -> bool {
        let before = self.slot(iid).copies.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "id {iid} had no copies");
        before == 1 && self.state(iid) == State::Dead
    }

    fn map(&self, ext: u64) -> &RwLock<HashMap<u64, u32>> {
        &self.map[stripe_of(ext)]
    }

    /// The live internal id of an external one.
    pub(crate) fn get(&self, ext: u64) -> Option<u32> {
        self.map(ext).read().unwrap_or_else(PoisonError::into_inner).get(&ext).copied()
    }

    pub(crate) fn insert(&self, ext: u64, iid: u32) -> Option<u32> {
        self.map(ext).write().unwrap_or_else(PoisonError::into_inner).insert(ext, iid)
    }

    pub(crate) fn remove(&self, ext: u64) -> Option<u32> {
        self.map(ext).write().unwrap_or_else(PoisonError::into_inner).remove(&ext)
    }

    pub(crate) fn live(&self) -> u64 {
        self.map.iter().map(|map| map.read().unwrap_or_else(PoisonError::into_inner).len() as u64).sum()
    }

    /// Live external ids in ascending order.
    pub(crate) fn live_ids(&self) -> Vec<u64> {
        let all = self
            .map
            .iter()
            .flat_map(|map| map.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect::<Vec<_>>());
        let mut ids: Vec<u64> = all.collect();
        ids.sort_unstable();
        ids
    }

    /// Keeps other writers of these external ids out, in one order for all.
    pub(crate) fn lock(&self, exts: impl Iterator<Item = u64>) -> Vec<MutexGuard<'_, ()>> {
        let mut stripes: Vec<usize> = exts.map(stripe_of).collect();
        stripes.sort_unstable();
        stripes.dedup();
        stripes.into_iter().map(|stripe| self.locks[stripe].lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Bytes in memory: slots and maps.
    pub(crate) fn ram_bytes(&self) -> u64 {
        let slots: usize = self.tables.iter().filter_map(OnceLock::get).map(|table| table.len()).sum();
        let maps: usize =
            self.map.iter().map(|map| map.read().unwrap_or_else(PoisonError::into_inner).capacity() * 17 * 8 / 7).sum();
        (slots * size_of::<Slot>() + maps) as u64
    }
}
