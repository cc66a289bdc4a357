//! The known-case tables of the grader, its speed limit on hostile input, and the pairs that must never be equal.

use std::time::{Duration, Instant};

use parsimon_reason::Grader;
use serde_json::Value;

/// Runs a table of {gold, pred, expect}; returns how many agree and the false positives.
fn table(text: &str) -> (usize, usize, usize) {
    let grader = Grader::strict();
    let (mut total, mut agree, mut false_positives) = (0, 0, 0);
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).expect("golden rows are JSON");
        let (gold, pred) = (row["gold"].as_str().expect("gold"), row["pred"].as_str().expect("pred"));
        let expect = row["expect"].as_bool().expect("expect");
        let equal = grader.verify(gold, pred).equal;
        total += 1;
        agree += usize::from(equal == expect);
        false_positives += usize::from(equal && !expect);
        if equal != expect {
            let tail: String = pred.chars().rev().take(160).collect::<Vec<_>>().into_iter().rev().collect();
            eprintln!("{} for gold {gold:?} and pred ...{tail:?}", if expect { "MISSED" } else { "FALSE POSITIVE" });
        }
    }
    (total, agree, false_positives)
}

#[test]
fn known_cases() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let literals = std::fs::read_to_string(dir.join("grader/literals.jsonl")).expect("literals");
        let (total, agree, false_positives) = table(&literals);
        eprintln!("literals: {agree} of {total}, {false_positives} false positives");
        assert!(agree >= 128 && false_positives <= 1, "{agree} of {total}, {false_positives} false positives");
        let meta = std::fs::read_to_string(dir.join("grader/meta.jsonl")).expect("meta");
        let (rows, agree, false_positives) = table(&meta);
        eprintln!("meta: {agree} of {rows}, {false_positives} false positives");
        assert!(agree * 100 >= rows * 98 && false_positives == 0, "{agree} of {rows}, {false_positives} false positives");
        total + rows
    });
}
