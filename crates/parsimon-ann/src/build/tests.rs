use parsimon_core::{CancelFlag, NoProgress};

use super::*;
use crate::io::VectorWriter;
use crate::{Element, SearchParams, VerifyLevel};

const CONTROL_CONFIG: IndexConfig = IndexConfig {
    head_ratio: 0.12,
    posting_limit: Some(24),
    replicas: 8,
    candidates: 64,
    closure: 10.0,
    rng_factor: 1.0,
    reassign_range: 64,
    merge_threshold: None,
    gc_ratio: 0.1,
    seed: 4,
};

fn file(dir: &Path, rows: &[Vec<u8>]) -> VectorFile {
    let path = dir.join("base.u8bin");
    let mut writer = VectorWriter::create(&path, Element::U8, rows[0].len()).expect("a file");
    rows.iter().for_each(|row| writer.push(row).expect("a row"));
    writer.finish().expect("a file");
    VectorFile::open(&path).expect("a file")
}

fn built(dir: &Path, rows: &[Vec<u8>]) -> Index {
    let space = Space::new(Metric::L2, Element::U8, rows[0].len(), None).expect("a space");
    let cancel = CancelFlag::new();
    let control = Control { progress: &NoProgress, cancel: &cancel };
    let at = dir.join("index");
    Index::build(&at, &space, &CONTROL_CONFIG, [1; 16], &file(dir, rows), None, &control)
        .unwrap_or_else(|e| panic!("{e}"));
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs::new(&at));
    let report = Index::verify(&vfs, VerifyLevel::Full).expect("a report");
    assert!(report.clean, "{report:?}");
    Index::open(&at, Runtime::default()).expect("an index")
}

/// Every vector is found by itself, whatever the data: none loses its last copy.
#[track_caller]
fn check_complete(rows: &[Vec<u8>]) {
    let dir = tempfile::tempdir().expect("a folder");
    let index = built(dir.path(), rows);
    assert_eq!(index.len(), rows.len() as u64);
    let mut searcher = index.searcher();
    let mut found = Vec::new();
    let params = SearchParams { k: rows.len(), nprobe: usize::MAX, ..SearchParams::default() };
    searcher.search_into(&rows[0], &params, &mut found).expect("results");
    let mut ids: Vec<u64> = found.iter().map(|n| n.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..rows.len() as u64).collect::<Vec<_>>());
}

#[test]
fn no_vector_is_lost() {
    let mut rng = SplitMix64::new(2);
    let random: Vec<Vec<u8>> = (0..3000).map(|_| (0..16).map(|_| rng.next_u64() as u8).collect()).collect();
    check_complete(&random);
    let line: Vec<Vec<u8>> = (0..500).map(|i| vec![(i / 2) as u8; 3]).collect();
    check_complete(&line);
    check_complete(&vec![vec![7; 5]; 2000]);
    check_complete(&[vec![1, 2, 3]]);
    // Half of the vectors are alike, the others are not.
    let half: Vec<Vec<u8>> = (0..1000).map(|i| if i % 2 == 0 { vec![9; 16] } else { random[i].clone() }).collect();
    check_complete(&half);
}

#[test]
fn same_seed_same_bytes() {
    let mut rng = SplitMix64::new(8);
    let rows: Vec<Vec<u8>> = (0..1500).map(|_| (0..16).map(|_| rng.next_u64() as u8).collect()).collect();
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    drop((built(a.path(), &rows), built(b.path(), &rows)));
    let posts = |dir: &Path| std::fs::read(dir.join("index/gen-00000000000000000002/posts.bin")).expect("posts.bin");
    assert_eq!(posts(a.path()), posts(b.path()));
}
