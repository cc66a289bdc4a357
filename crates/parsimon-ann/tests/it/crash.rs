//! Power failures at every operation: what was acknowledged is there, what was deleted is not, and the index is sound.

use std::collections::BTreeMap;
use std::sync::Arc;

use parsimon_ann::{
    AnnError, Element, Index, IndexConfig, Metric, Runtime, SearchParams, Space, StorageError, VectorId, VerifyLevel,
    Vfs, create,
};
use parsimon_core::SplitMix64;
use parsimon_testkit::SimDisk;

use crate::disk::DiskVfs;

const DIM: usize = 4;

fn space() -> Space {
    Space::new(Metric::L2, Element::U8, DIM, None).expect("a space")
}

fn config() -> IndexConfig {
    // Tiny postings, so that a short history splits and merges.
    IndexConfig { posting_limit: Some(6), ..IndexConfig::default() }
}

/// What the index may hold after a crash: acknowledged contents, and for the one operation under way either side of it.
#[derive(Clone, Default)]
struct Expected {
    acknowledged: BTreeMap<u64, [u8; DIM]>,
    under_way: Option<(u64, Option<[u8; DIM]>)>,
}

/// Runs a seeded history until it is through or the disk fails.
fn history(vfs: &Arc<dyn Vfs>, seed: u64, steps: usize, expected: &mut Expected) -> Result<(), AnnError> {
    let index = Index::open_on(Arc::clone(vfs), Runtime::default())?;
    let mut rng = SplitMix64::new(seed);
    for _ in 0..steps {
        let id = rng.below(40);
        match rng.below(20) {
            0..13 => {
                let vector: [u8; DIM] = std::array::from_fn(|_| rng.below(256) as u8);
                expected.under_way = Some((id, Some(vector)));
                index.upsert(&[VectorId(id)], &vector)?;
                expected.acknowledged.insert(id, vector);
            }
            13..18 => {
                expected.under_way = Some((id, None));
                index.delete(&[VectorId(id)])?;
                expected.acknowledged.remove(&id);
            }
            18 => {
                expected.under_way = None;
                index.maintain(&parsimon_ann::Budget::default())?;
            }
            _ => {
                expected.under_way = None;
                index.checkpoint()?;
            }
        }
        expected.under_way = None;
    }
    Ok(())
}

/// Everything in the index, by a search that reads all.
fn contents(index: &Index) -> Result<BTreeMap<u64, f32>, AnnError> {
    let mut found = Vec::new();
    let params = SearchParams { k: 10_000, nprobe: usize::MAX, ..SearchParams::default() };
    index.searcher().search_into(&[0; DIM], &params, &mut found)?;
    Ok(found.into_iter().map(|n| (n.id.0, n.distance)).collect())
}

fn distance(vector: &[u8; DIM]) -> f32 {
    vector.iter().map(|&v| f32::from(v) * f32::from(v)).sum()
}

#[track_caller]
fn check(vfs: &Arc<dyn Vfs>, expected: &Expected, what: &str) {
    let index = Index::open_on(Arc::clone(vfs), Runtime::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = contents(&index).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut wanted: BTreeMap<u64, f32> = expected.acknowledged.iter().map(|(&id, v)| (id, distance(v))).collect();
    if found != wanted {
        // The operation that had no answer yet may be there.
        let (id, vector) = expected.under_way.unwrap_or_else(|| panic!("{what}: {found:?} instead of {wanted:?}"));
        match vector {
            Some(vector) => wanted.insert(id, distance(&vector)),
            None => wanted.remove(&id),
        };
        assert_eq!(found, wanted, "{what}");
    }
    index.checkpoint().unwrap_or_else(|e| panic!("{what}: {e}"));
    drop(index);
    let report = Index::verify(vfs, VerifyLevel::Full).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.clean, "{what}: {report:?}");
}

fn fresh() -> SimDisk {
    let disk = SimDisk::new();
    create(&DiskVfs::shared(&disk), &space(), &config(), [9; 16]).expect("an index");
    disk
}

/// A failure at every operation of several histories, each with several outcomes of what was not synchronized; after some of them
/// another failure during the recovery.
#[test]
fn every_operation() {
    let mut points = 0;
    for seed in 0..8 {
        let disk = fresh();
        let begin = disk.operations();
        history(&DiskVfs::shared(&disk), seed, 120, &mut Expected::default()).expect("a whole history");
        let end = disk.operations();
        for at in begin..end {
            let disk = fresh();
            let mut expected = Expected::default();
            disk.fail_at(Some(at));
            let result = history(&DiskVfs::shared(&disk), seed, 120, &mut expected);
            assert!(result.is_err(), "operation {at} of {end} fails");
            for outcome in 0..4 {
                let what = format!("history {seed}, operation {at}, outcome {outcome}");
                let after = disk.after_crash(at * 7 + outcome);
                if outcome == 3 {
                    // The power fails again while the index recovers.
                    let again = after.copy();
                    again.fail_at(Some(at % 5));
                    let _ = Index::open_on(DiskVfs::shared(&again), Runtime::default());
                    check(&DiskVfs::shared(&again.after_crash(at)), &expected, &what);
                }
                check(&DiskVfs::shared(&after), &expected, &what);
                points += 1;
            }
        }
    }
    eprintln!("{points} crash points");
    assert!(points >= 10_000, "{points} crash points");
}

/// A failure while an index is created: creating it again works.
#[test]
fn creation() {
    let whole = fresh().operations();
    for at in 0..whole {
        for outcome in 0..8 {
            let disk = SimDisk::new();
            disk.fail_at(Some(at));
            assert!(create(&DiskVfs::shared(&disk), &space(), &config(), [9; 16]).is_err());
            let after = disk.after_crash(outcome);
            let vfs = DiskVfs::shared(&after);
            match Index::open_on(Arc::clone(&vfs), Runtime::default()) {
                Ok(index) => assert!(index.is_empty()),
                Err(AnnError::Storage(StorageError::NotAnIndex { .. })) => {
                    create(&vfs, &space(), &config(), [9; 16]).expect("an index");
                }
                Err(other) => panic!("operation {at}, outcome {outcome}: {other}"),
            }
        }
    }
}

/// Every single flipped bit of every file gives a typed error or the same answers.
#[test]
fn flipped_bits() {
    let disk = fresh();
    let mut expected = Expected::default();
    history(&DiskVfs::shared(&disk), 3, 60, &mut expected).expect("a history");
    let baseline = contents(&Index::open_on(DiskVfs::shared(&disk.copy()), Runtime::default()).expect("an index"))
        .expect("contents");
    let (mut detected, mut harmless) = (0, 0);
    for (name, length) in disk.files() {
        // Every bit of small files, every 13th of the data file.
        let step = if length > 8192 { 13 } else { 1 };
        for bit in (0..8 * length).step_by(step) {
            let flipped = disk.copy();
            flipped.flip(&name, bit);
            let vfs = DiskVfs::shared(&flipped);
            match Index::open_on(vfs, Runtime::default()).and_then(|index| contents(&index)) {
                Err(AnnError::Storage(_)) => detected += 1,
                Err(other) => panic!("{name} bit {bit}: {other}"),
                Ok(found) if found == baseline => harmless += 1,
                // The last record of the log may be taken for one that was never acknowledged: nothing says that it was.
                Ok(found) if name.starts_with("wal-") && found.len().abs_diff(baseline.len()) <= 1 => harmless += 1,
                Ok(found) => panic!("{name} bit {bit}: {found:?} instead of {baseline:?}"),
            }
        }
    }
    eprintln!("{detected} detected, {harmless} harmless");
    assert!(detected > harmless / 10 && detected > 1000);
}

/// A full disk gives an error and loses nothing; with room again the index opens and holds what was acknowledged.
#[test]
fn full_disk() {
    for room in [0, 100, 5_000, 20_000, 60_000] {
        let disk = fresh();
        let used: usize = disk.files().iter().map(|f| f.1).sum();
        disk.set_capacity(Some(used + room));
        let mut expected = Expected::default();
        let result = history(&DiskVfs::shared(&disk), 5, 2_000, &mut expected);
        match result {
            Err(AnnError::Storage(StorageError::Io { .. } | StorageError::Poisoned { .. })) => {}
            other => panic!("room for {room}: {other:?}"),
        }
        disk.set_capacity(None);
        check(&DiskVfs::shared(&disk), &expected, &format!("room for {room}"));
    }
}
