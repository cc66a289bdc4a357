use std::collections::BTreeMap;

use parsimon_core::SplitMix64;
use parsimon_testkit::golden;
use serde_json::Value;

use super::*;
use crate::{Element, Metric, VectorId, VerifyLevel, Vfs, reference};

const UUID: [u8; 16] = [3; 16];

/// Small postings, so that a few hundred vectors split, merge and reassign.
fn small() -> IndexConfig {
    IndexConfig { posting_limit: Some(16), ..IndexConfig::default() }
}

fn space(metric: Metric, element: Element, dim: usize) -> Space {
    Space::new(metric, element, dim, (metric == Metric::InnerProduct).then_some(40.0)).expect("a space")
}

fn vector(space: &Space, rng: &mut SplitMix64) -> Vec<u8> {
    let mut around = SplitMix64::new(rng.below(12));
    let values: Vec<f32> = (0..space.dim())
        .map(|_| (8.0 * around.next_normal() + 2.0 * rng.next_normal()).clamp(-90.0, 90.0) as f32 / 4.0)
        .collect();
    match space.element() {
        Element::U8 => values.iter().map(|v| (v * 2.0 + 100.0) as u8).collect(),
        Element::I8 => space.element().encode(&values.iter().map(|v| v * 3.0 + 0.6).collect::<Vec<_>>()),
        _ => space.element().encode(&values),
    }
}

struct Model {
    vfs: Arc<dyn Vfs>,
    index: Option<Index>,
    live: BTreeMap<u64, Vec<u8>>,
    space: Space,
    rng: SplitMix64,
    _dir: tempfile::TempDir,
}

impl Model {
    fn new(space: Space, seed: u64) -> Model {
        let dir = tempfile::tempdir().expect("a folder");
        let vfs: Arc<dyn Vfs> = Arc::new(crate::StdVfs::new(dir.path()));
        create(&vfs, &space, &small(), UUID).expect("an index");
        let index = Index::open_on(Arc::clone(&vfs), Runtime::default()).expect("an index");
        Model { vfs, index: Some(index), live: BTreeMap::new(), space, rng: SplitMix64::new(seed), _dir: dir }
    }

    fn index(&self) -> &Index {
        self.index.as_ref().expect("open")
    }

    fn step(&mut self) {
        let pick = self.rng.below(100);
        let ids: Vec<u64> = (0..1 + self.rng.below(8)).map(|_| self.rng.below(400)).collect();
        match pick {
            0..60 => {
                let vectors: Vec<Vec<u8>> = ids.iter().map(|_| vector(&self.space, &mut self.rng)).collect();
                let names: Vec<VectorId> = ids.iter().map(|&id| VectorId(id)).collect();
                self.index().upsert(&names, &vectors.concat()).expect("an upsert");
                self.live.extend(ids.into_iter().zip(vectors));
            }
            60..90 => {
                let names: Vec<VectorId> = ids.iter().map(|&id| VectorId(id)).collect();
                let known: std::collections::BTreeSet<u64> =
                    ids.iter().copied().filter(|id| self.live.contains_key(id)).collect();
                let report = self.index().delete(&names).expect("a delete");
                assert_eq!(report.applied, known.len() as u64);
                known.iter().for_each(|id| {
                    self.live.remove(id);
                });
            }
            90..94 => {
                self.index().maintain(&Budget::default()).expect("maintenance");
            }
            94..97 => {
                self.index().checkpoint().expect("a checkpoint");
            }
            97..99 => {
                self.index = None;
                self.index = Some(Index::open_on(Arc::clone(&self.vfs), Runtime::default()).expect("an index"));
            }
            _ => {
                let index = self.index.take().expect("open");
                self.index = Some(index.compact().expect("a compact index"));
            }
        }
    }

    /// With every posting read, results are those of looking at everything.
    fn check(&mut self) {
        let query = vector(&self.space, &mut self.rng);
        let mut found = Vec::new();
        let params = SearchParams { k: 20, nprobe: usize::MAX, ..SearchParams::default() };
        self.index().searcher().search_into(&query, &params, &mut found).expect("results");
        let rows = self.live.iter().map(|(&id, row)| (VectorId(id), row.as_slice()));
        let expected = reference::nearest(&self.space, rows, &query, 20).expect("results");
        assert_eq!(found, expected);
    }

    fn verify(&mut self) {
        self.index().checkpoint().expect("a checkpoint");
        let report = Index::verify(&self.vfs, VerifyLevel::Full).expect("a report");
        assert!(report.clean, "{report:?}");
        assert_eq!(report.live, self.live.len() as u64);
    }
}

/// O1: random operations against a map, for every metric and element type.
#[test]
fn random_operations() {
    for (metric, element, dim) in [
        (Metric::L2, Element::U8, 16),
        (Metric::L2, Element::F32, 3),
        (Metric::L2, Element::I8, 1),
        (Metric::L2, Element::F16, 24),
        (Metric::Cosine, Element::F32, 12),
        (Metric::Cosine, Element::U8, 12),
        (Metric::Cosine, Element::I8, 20),
        (Metric::InnerProduct, Element::F32, 8),
        (Metric::InnerProduct, Element::Bf16, 8),
    ] {
        let seed = 17;
        eprintln!("{metric} {element} {dim}, seed {seed}");
        let mut model = Model::new(space(metric, element, dim), seed);
        for step in 0..400 {
            model.step();
            model.check();
            if step % 100 == 99 {
                model.verify();
            }
        }
        let counts = model.index().counts();
        assert!(counts.appended > 0);
    }
}

/// 10 000 equal vectors: none is lost, the posting is known to be unsplittable.
#[test]
fn equal_vectors() {
    let mut model = Model::new(space(Metric::L2, Element::U8, 8), 1);
    let ids: Vec<VectorId> = (0..10_000).map(VectorId).collect();
    for part in ids.chunks(500) {
        model.index().insert(part, &vec![42; 8 * part.len()]).expect("an insert");
        model.live.extend(part.iter().map(|id| (id.0, vec![42; 8])));
    }
    let mut found = Vec::new();
    let params = SearchParams { k: 10_000, ..SearchParams::default() };
    model.index().searcher().search_into(&[42; 8], &params, &mut found).expect("results");
    assert_eq!(found.len(), 10_000);
    assert!(model.index().counts().unsplittable > 0);
    model.verify();
    model.index().delete(&ids).expect("a delete");
    model.live.clear();
    model.index().maintain(&Budget::default()).expect("maintenance");
    model.check();
    model.verify();
    assert_eq!(model.index().stats().expect("stats").records, 0);
}

#[test]
fn extremes() {
    let model = Model::new(space(Metric::L2, Element::U8, 4), 1);
    let index = model.index();
    let mut found = vec![];
    let mut searcher = index.searcher();
    searcher.search_into(&[0; 4], &SearchParams::default(), &mut found).expect("an empty index");
    assert_eq!(found, []);
    let zero = SearchParams { nprobe: 0, ..SearchParams::default() };
    assert!(matches!(searcher.search_into(&[0; 4], &zero, &mut found), Err(crate::AnnError::InvalidParam { .. })));
    assert!(matches!(
        searcher.search_into(&[0; 3], &SearchParams::default(), &mut found),
        Err(crate::AnnError::Shape { .. })
    ));
    index.insert(&[VectorId(u64::MAX)], &[255; 4]).expect("an insert");
    let again = index.insert(&[VectorId(1), VectorId(u64::MAX)], &[1; 8]);
    assert!(matches!(again, Err(crate::AnnError::AlreadyExists { id: u64::MAX })));
    assert!(!index.contains(VectorId(1)), "nothing of a refused batch is applied");
    searcher.search_into(&[0; 4], &SearchParams { k: 100, ..SearchParams::default() }, &mut found).expect("results");
    assert_eq!(found, [crate::Neighbor { id: VectorId(u64::MAX), distance: 4.0 * 255.0 * 255.0 }]);
    index.delete(&[VectorId(u64::MAX)]).expect("a delete");
    searcher.search_into(&[0; 4], &SearchParams::default(), &mut found).expect("results");
    assert_eq!(found, []);
    let twice = index.upsert(&[VectorId(5), VectorId(5)], &[1, 1, 1, 1, 2, 2, 2, 2]).expect("an upsert");
    assert_eq!((twice.applied, twice.repeated), (1, 1));
    assert_eq!(index.get(VectorId(5)).expect("a vector"), Some(vec![2.0; 4]));
}

#[test]
fn bad_vectors() {
    let model = Model::new(space(Metric::Cosine, Element::F32, 2), 1);
    let bytes = |v: [f32; 4]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    for bad in [[1.0, 0.0, f32::NAN, 0.0], [1.0, 0.0, f32::INFINITY, 1.0], [1.0, 0.0, 0.0, 0.0]] {
        let result = model.index().insert(&[VectorId(1), VectorId(2)], &bytes(bad));
        assert!(matches!(result, Err(crate::AnnError::InvalidVector { row: 1, .. })), "{result:?}");
    }
    assert!(model.index().is_empty());
    assert!(Space::new(Metric::InnerProduct, Element::U8, 4, Some(1.0)).is_err());
    assert!(Space::new(Metric::InnerProduct, Element::F32, 4, None).is_err());
    let ip = Model::new(space(Metric::InnerProduct, Element::F32, 2), 1);
    let long = ip.index().insert(&[VectorId(1)], &bytes([50.0, 0.0, 0.0, 0.0])[..8]);
    assert!(matches!(long, Err(crate::AnnError::InvalidVector { row: 0, .. })), "{long:?}");
}

/// A second writer is refused while the first lives, and comes in after it.
#[test]
fn one_writer() {
    let mut model = Model::new(space(Metric::L2, Element::U8, 4), 1);
    let second = Index::open_on(Arc::clone(&model.vfs), Runtime::default());
    assert!(matches!(second, Err(crate::AnnError::Storage(crate::StorageError::Locked))));
    model.index = None;
    Index::open_on(Arc::clone(&model.vfs), Runtime::default()).expect("an index");
}

/// A whole folder of an independent writer: opened, replayed, searched with all postings, checkpointed, verified.
#[test]
fn golden_index() {
    golden("parsimon-ann", "ann/golden", |dir| {
        let text = std::fs::read_to_string(dir.join("index_l2_u8.json")).expect("index_l2_u8.json");
        let json: Value = serde_json::from_str(&text).expect("valid JSON");
        let copy = tempfile::tempdir().expect("a folder");
        copy_folder(&dir.join("index_l2_u8"), copy.path());
        let vfs: Arc<dyn Vfs> = Arc::new(crate::StdVfs::new(copy.path()));
        let before = Index::verify(&vfs, VerifyLevel::Full).expect("a report");
        assert!(before.clean, "{before:?}");
        assert_eq!(Some(before.records), json["records"].as_u64());
        let read_only = Index::open_read_only(Arc::clone(&vfs), Runtime::default()).expect("an index");
        assert_eq!(Some(read_only.len()), json["live_at_generation"].as_u64());
        let stats = read_only.stats().expect("stats");
        assert_eq!(Some(stats.stale), json["stale_records"].as_u64());
        let index = Index::open_on(Arc::clone(&vfs), Runtime::default()).expect("an index");
        assert_eq!(Some(index.len()), json["live_after_open"].as_u64());
        let ids: Vec<String> = index.ids().iter().map(|id| id.0.to_string()).collect();
        let expected: Vec<&str> =
            json["ids"].as_array().expect("ids").iter().map(|id| id.as_str().expect("text")).collect();
        assert_eq!(ids, expected);
        let cases = json["results"].as_array().expect("results");
        for case in cases {
            let query: Vec<u8> =
                case["query"].as_array().expect("a row").iter().map(|v| v.as_u64().expect("a byte") as u8).collect();
            let mut found = Vec::new();
            let params = SearchParams { nprobe: usize::MAX, ..SearchParams::default() };
            index.searcher().search_into(&query, &params, &mut found).expect("results");
            for (i, n) in found.iter().enumerate() {
                assert_eq!(Some(n.id.0.to_string().as_str()), case["ids"][i].as_str());
                assert_eq!(Some(f64::from(n.distance)), case["distances"][i].as_f64());
            }
        }
        index.checkpoint().expect("a checkpoint");
        let after = Index::verify(&vfs, VerifyLevel::Full).expect("a report");
        assert!(after.clean, "{after:?}");
        cases.len()
    });
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
