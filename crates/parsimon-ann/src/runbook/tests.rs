use std::collections::BTreeMap;

use parsimon_testkit::golden;
use serde_json::Value;

use super::*;
use crate::io::VectorFile;
use crate::{Metric, Space, VectorId, reference};

/// The rows behind the tags after each search step, against an independent evaluation of a runbook on real vectors.
#[test]
fn golden_runbook() {
    golden("parsimon-ann", "ann", |dir| {
        let read = |name: &str| std::fs::read_to_string(dir.join("golden").join(name)).expect("a file");
        let runbook = Runbook::parse(&read("runbook.yaml")).expect("a runbook");
        let json: Value = serde_json::from_str(&read("runbook.json")).expect("valid JSON");
        let base = VectorFile::open(&dir.join("kodaksift_20k.u8bin")).expect("vectors");
        let queries = VectorFile::open(&dir.join("kodaksift_query_500.u8bin")).expect("vectors");
        runbook.check(base.len() as u64).expect("a sound runbook");
        assert_eq!(Runbook::parse(&runbook.to_yaml()).expect("a runbook"), runbook);
        let space = Space::new(Metric::L2, base.element(), base.dim(), None).expect("a space");
        let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
        let mut cases = 0;
        for (i, operation) in runbook.steps.iter().enumerate() {
            match operation {
                Operation::Insert(range) => rows.extend(range.clone().map(|id| (id, id))),
                Operation::Delete(range) => range.clone().for_each(|tag| {
                    rows.remove(&tag);
                }),
                Operation::Replace { tags, ids } => rows.extend(tags.clone().zip(ids.clone())),
                Operation::Search => {
                    let expected = &json["steps"][&(i + 1).to_string()];
                    assert_eq!(Some(rows.len() as u64), expected["live"].as_u64());
                    for (q, tags) in expected["tags"].as_array().expect("queries").iter().enumerate() {
                        let all = rows.iter().map(|(&tag, &row)| (VectorId(tag), base.row(row as usize)));
                        let found = reference::nearest(&space, all, queries.row(q), 10).expect("results");
                        let found: Vec<Value> = found.iter().map(|n| n.id.0.into()).collect();
                        assert_eq!(&found, tags.as_array().expect("tags"));
                        cases += 1;
                    }
                }
            }
        }
        cases
    });
}

#[track_caller]
fn check_error(text: &str, rows: u64, step: usize) {
    let result = Runbook::parse(text).and_then(|runbook| runbook.check(rows));
    assert!(matches!(result, Err(AnnError::Runbook { step: at, .. }) if at == step), "{result:?}");
}

#[test]
fn bad_runbooks() {
    let insert = "x:\n  1:\n    operation: insert\n    start: 0\n    end: 5\n";
    check_error("", 9, 0);
    check_error("x:\n  1:\n    operation: search\n", 9, 1);
    check_error(insert, 4, 1);
    check_error(&format!("{insert}  3:\n    operation: search\n"), 9, 2);
    check_error(&format!("{insert}  2:\n    operation: insert\n    start: 4\n    end: 6\n"), 9, 2);
    check_error(&format!("{insert}  2:\n    operation: delete\n    start: 4\n    end: 4\n"), 9, 2);
    check_error(&format!("{insert}  2:\n    operation: fly\n"), 9, 2);
    let replace = "    tags_start: 4\n    tags_end: 6\n    ids_start: 6\n    ids_end: 8\n";
    check_error(&format!("{insert}  2:\n    operation: replace\n{replace}"), 9, 2);
}

#[test]
fn generated_runbooks_are_sound() {
    for runbook in [Runbook::churn("a", 1000, 20, 30, 7), Runbook::sliding("b", 500, 10, 50)] {
        runbook.check(2000).expect("a sound runbook");
        assert_eq!(Runbook::parse(&runbook.to_yaml()).expect("a runbook"), runbook);
    }
}
