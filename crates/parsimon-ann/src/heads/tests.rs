use parsimon_core::SplitMix64;
use parsimon_testkit::golden;
use proptest::prelude::*;

use super::*;
use crate::io::VectorFile;
use crate::{Element, Metric};

fn space(element: Element, dim: usize) -> Space {
    Space::new(Metric::L2, element, dim, None).expect("a space")
}

fn random_row(space: &Space, rng: &mut SplitMix64, clusters: u64) -> Vec<u8> {
    let mut around = SplitMix64::new(rng.below(clusters));
    let mut row: Vec<u8> =
        (0..space.dim()).map(|_| (60.0 + around.next_f64() * 120.0 + 20.0 * rng.next_normal()) as u8).collect();
    row.resize(space.stride(), 0);
    row
}

/// Inserts and removals in any order leave exactly the heads of a plain map, and a search for all is exact.
fn check_model(kind: HeadIndexKind, operations: &[(u8, u16)]) {
    let space = space(Element::U8, 4);
    let mut heads = Heads::new(space.clone(), kind);
    let mut model = std::collections::BTreeMap::new();
    let mut rng = SplitMix64::new(1);
    let mut next = 0;
    for &(operation, pick) in operations {
        if operation < 3 || model.is_empty() {
            let row = random_row(&space, &mut rng, 8);
            heads.insert(next, &row);
            model.insert(next, row);
            next += 1;
        } else {
            let id = *model.keys().nth(usize::from(pick) % model.len()).expect("not empty");
            assert!(heads.remove(id));
            model.remove(&id);
            assert!(!heads.remove(id));
        }
    }
    assert_eq!(heads.ids(), model.keys().copied().collect::<Vec<_>>());
    assert_eq!(heads.len(), model.len());
    let query = space.row_query(&random_row(&space, &mut rng, 8));
    let mut scratch = HeadScratch::default();
    let found = heads.search(&query, model.len(), &mut scratch).to_vec();
    let mut expected: Vec<Found> =
        model.iter().map(|(&head, row)| Found { distance: space.distance(&query, row), head }).collect();
    expected.sort_by(by_distance);
    assert_eq!(found, expected);
    for (id, row) in &model {
        assert_eq!(heads.row(*id), Some(row.as_slice()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn model(operations in prop::collection::vec((0u8..4, any::<u16>()), 0..400)) {
        check_model(HeadIndexKind::Exact, &operations);
        check_model(HeadIndexKind::TwoLevel, &operations);
    }
}

/// The two-level index finds 98 % of the true 64 nearest of real vectors, also after heads were inserted and removed.
#[test]
fn two_level_recall() {
    golden("parsimon-ann", "ann", |dir| {
        let base = VectorFile::open(&dir.join("kodaksift_20k.u8bin")).expect("vectors");
        let queries = VectorFile::open(&dir.join("kodaksift_query_500.u8bin")).expect("vectors");
        let space = space(Element::U8, 128);
        let mut heads = Heads::new(space.clone(), HeadIndexKind::TwoLevel);
        let mut exact = Heads::new(space.clone(), HeadIndexKind::Exact);
        for id in 0..base.len() as u32 {
            heads.insert(id, base.row(id as usize));
            exact.insert(id, base.row(id as usize));
            if id.is_multiple_of(3) && id > 100 {
                heads.remove(id - 100);
                exact.remove(id - 100);
            }
        }
        let (mut a, mut b) = (HeadScratch::default(), HeadScratch::default());
        let (mut hits, mut all) = (0, 0);
        for i in 0..queries.len() {
            let query = space.row_query(queries.row(i));
            let truth = exact.search(&query, 64, &mut b);
            let found = heads.search(&query, 64, &mut a);
            hits += truth.iter().filter(|t| found.contains(t)).count();
            all += truth.len();
        }
        let recall = hits as f64 / all as f64;
        assert!(recall >= 0.98, "recall of the 64 nearest of {} heads: {recall}", heads.len());
        queries.len()
    });
}
