//! Histories of concurrent inserts, upserts, deletes and searches, checked afterwards.
//!
//! Every operation takes a ticket from one counter when it begins and another when it has its answer. Each id has its own far-apart
//! place, so a search for that place finds the id whenever it is live. The rules: an id that was live from before a search began until
//! after it ended is found; one that was dead all that time is not; no id comes twice; a content that is found was valid at some
//! moment of the search.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use parsimon_ann::{
    Budget, Element, Index, IndexConfig, Metric, Rebuild, Runtime, SearchParams, Space, VectorId, VerifyLevel, Vfs,
    create,
};
use parsimon_core::SplitMix64;
use parsimon_testkit::SimDisk;

use crate::disk::DiskVfs;

const IDS: u64 = 48;
const DIM: usize = 3;

/// One operation on an id: `content` is `None` for a delete.
#[derive(Clone, Copy, Debug)]
struct Write {
    begin: u64,
    end: u64,
    content: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    begin: u64,
    end: u64,
    id: u64,
    found: Option<u8>,
}

/// The vector of an id: its place, and a content in the last element.
fn vector(id: u64, content: u8) -> [u8; DIM] {
    [(id % 7 * 36) as u8, (id / 7 * 36) as u8, content]
}

/// Whether the last write that can have counted at some moment of `read` allows what it saw.
fn is_allowed(writes: &[Write], read: &Read) -> bool {
    // A write can be the latest one at a moment of the search unless it began after the search, or another one began after it
    // ended and ended before the search began.
    let candidates = writes
        .iter()
        .filter(|w| w.begin <= read.end && !writes.iter().any(|other| other.begin > w.end && other.end < read.begin));
    let initially_dead = !writes.iter().any(|w| w.end < read.begin);
    candidates.map(|w| w.content).any(|content| content == read.found) || (initially_dead && read.found.is_none())
}

fn run(seed: u64, writers: u64, operations: usize, rebuild: Rebuild) {
    let disk = SimDisk::new();
    let vfs: Arc<dyn Vfs> = DiskVfs::shared(&disk);
    let space = Space::new(Metric::L2, Element::U8, DIM, None).expect("a space");
    let config = IndexConfig { posting_limit: Some(8), merge_threshold: Some(3), ..IndexConfig::default() };
    create(&vfs, &space, &config, [2; 16]).expect("an index");
    let index = Index::open_on(Arc::clone(&vfs), Runtime { rebuild, ..Runtime::default() }).expect("an index");
    let clock = AtomicU64::new(0);
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let done = AtomicBool::new(false);
    // Nobody begins before all threads are there, or a busy machine would run the readers when everything is over.
    let start = Barrier::new(writers as usize + 2);
    let (writes, reads) = std::thread::scope(|scope| {
        let writing: Vec<_> = (0..writers)
            .map(|w| {
                let (index, tick, start) = (&index, &tick, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut rng = SplitMix64::new(seed * 100 + w);
                    let mut log = Vec::new();
                    for step in 0..operations {
                        // Each writer has its own ids, so the order of writes to one id is known.
                        let id = rng.below(IDS / writers) * writers + w;
                        let content = (rng.below(4) > 0).then(|| rng.below(12) as u8);
                        let begin = tick();
                        let report = match content {
                            Some(content) => index.upsert(&[VectorId(id)], &vector(id, content)),
                            None => index.delete(&[VectorId(id)]),
                        };
                        assert!(report.expect("an update").applied <= 1);
                        log.push((id, Write { begin, end: tick(), content }));
                        if step % 64 == 0 {
                            index.maintain(&Budget { jobs: Some(20), stop: None }).expect("maintenance");
                        }
                        if step % 301 == 300 {
                            index.checkpoint().expect("a checkpoint");
                        }
                    }
                    log
                })
            })
            .collect();
        let reading: Vec<_> = (0..2)
            .map(|r| {
                let (index, tick, start, done) = (&index, &tick, &start, &done);
                scope.spawn(move || {
                    start.wait();
                    let mut rng = SplitMix64::new(seed * 1000 + r);
                    let mut searcher = index.searcher();
                    let (mut found, mut log) = (Vec::new(), Vec::new());
                    loop {
                        let id = rng.below(IDS);
                        let params = SearchParams { k: IDS as usize, nprobe: usize::MAX, ..SearchParams::default() };
                        let begin = tick();
                        searcher.search_into(&vector(id, 0), &params, &mut found).expect("results");
                        let end = tick();
                        let mut ids: Vec<u64> = found.iter().map(|n| n.id.0).collect();
                        ids.sort_unstable();
                        assert!(ids.is_sorted_by(|a, b| a < b), "seed {seed}: an id came twice: {ids:?}");
                        let hit = found.iter().find(|n| n.id.0 == id);
                        // The distance from content 0 tells the content.
                        log.push(Read { begin, end, id, found: hit.map(|n| n.distance.sqrt() as u8) });
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    log
                })
            })
            .collect();
        let writes: Vec<(u64, Write)> = writing.into_iter().flat_map(|t| t.join().expect("a writer")).collect();
        done.store(true, Ordering::Relaxed);
        let reads: Vec<Read> = reading.into_iter().flat_map(|t| t.join().expect("a reader")).collect();
        (writes, reads)
    });
    for read in &reads {
        let own: Vec<Write> = writes.iter().filter(|(id, _)| *id == read.id).map(|(_, write)| *write).collect();
        assert!(is_allowed(&own, read), "seed {seed}: {read:?} is not allowed by {own:?}");
    }
    assert!(!reads.is_empty());
    index.checkpoint().expect("a checkpoint");
    drop(index);
    let report = Index::verify(&vfs, VerifyLevel::Full).expect("a report");
    assert!(report.clean, "seed {seed}: {report:?}");
}

#[test]
fn histories_are_linearizable() {
    for seed in 0..6 {
        run(seed, 2, 900, Rebuild::Inline);
        run(seed, 3, 600, Rebuild::Threads(2));
    }
}

/// The checker itself refuses wrong histories.
#[test]
fn the_checker_can_fail() {
    let write = |begin, end, content| Write { begin, end, content };
    let read = |begin, end, found| Read { begin, end, id: 0, found };
    let writes = [write(0, 1, Some(1)), write(4, 7, Some(2)), write(10, 11, None)];
    assert!(is_allowed(&writes, &read(2, 3, Some(1))));
    assert!(!is_allowed(&writes, &read(2, 3, None)), "a live id is invisible");
    assert!(!is_allowed(&writes, &read(2, 3, Some(2))), "from the future");
    assert!(is_allowed(&writes, &read(5, 6, Some(1))) && is_allowed(&writes, &read(5, 6, Some(2))));
    assert!(!is_allowed(&writes, &read(5, 6, None)), "a replaced id is invisible");
    assert!(!is_allowed(&writes, &read(8, 9, Some(1))), "an old content");
    assert!(!is_allowed(&writes, &read(12, 13, Some(2))), "a dead id");
    assert!(is_allowed(&writes, &read(12, 13, None)));
}
