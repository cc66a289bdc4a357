//! Extraction and equality as the released evaluators compute them, and the closed forms of scores, losses and intervals.

use parsimon_reason::compat;
use parsimon_reason::solution::{pass_at_k, wilson95};
use parsimon_reason::tree::{Rule, Schedule};

use crate::{items, json, number, size, text};

#[test]
fn the_released_evaluators() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/evaluators.json");
        let mut cases = 0;
        for row in items(&golden["gsm8k_completion"]) {
            assert_eq!(compat::gsm8k_answer(text(&row[0])).as_deref(), row[1].as_str(), "{row}");
            cases += 1;
        }
        for row in items(&golden["gsm8k_equal"]) {
            assert_eq!(compat::gsm8k_equal(text(&row[0]), text(&row[1])), row[2].as_bool().expect("bool"), "{row}");
            cases += 1;
        }
        for row in items(&golden["confidence"]) {
            let completions: Vec<&str> = items(&row["completions"]).iter().map(text).collect();
            let found = compat::gsm8k_confidence(&completions).expect("completions are not empty");
            assert_eq!(found.answer.as_deref(), row["answer"].as_str(), "{row}");
            assert_eq!((found.index, found.share), (size(&row["id"]), number(&row["confidence"])), "{row}");
            cases += 1;
        }
        cases
    });
}

#[test]
fn closed_forms() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/closed_forms.json");
        let mut cases = 0;
        let mut check = |actual: f64, expected: f64, what: &str| {
            // One rounding more or less than the program that made the table.
            assert!((actual - expected).abs() <= 4e-16 * expected.abs().max(1.0), "{what}: {actual} for {expected}");
            cases += 1;
        };
        for row in items(&golden["uct"]) {
            let (q, n) = (number(&row["q_sum"]), number(&row["n"]));
            check(
                Rule::Standard.score(q / n, n, number(&row["n_parent"]), 1.0, number(&row["c"])),
                number(&row["value"]),
                "uct",
            );
        }
        for row in items(&golden["puct_prior"]) {
            let score = Rule::Puct.score(
                number(&row["q_mean"]),
                number(&row["n"]),
                number(&row["n_parent"]),
                number(&row["prior"]),
                number(&row["c"]),
            );
            check(score, number(&row["value"]), "puct");
        }
        for row in items(&golden["openr"]) {
            let score = Rule::OpenR.score(
                number(&row["q_mean"]),
                number(&row["n"]),
                number(&row["n_parent"]),
                number(&row["prior"]),
                0.0,
            );
            check(score, number(&row["value"]), "openr");
        }
        for row in items(&golden["schedule"]) {
            let schedule = match text(&row["kind"]) {
                "const" => Schedule::Constant,
                "lin" | "linear" => Schedule::Linear,
                _ => Schedule::Exponential,
            };
            check(
                schedule.weight(number(&row["c"]), size(&row["k"]), size(&row["K"])),
                number(&row["value"]),
                "schedule",
            );
        }
        for row in items(&golden["pass_at_k"]) {
            check(
                pass_at_k(size(&row["n"]) as u64, size(&row["c"]) as u64, size(&row["k"]) as u64),
                number(&row["value"]),
                "pass@k",
            );
        }
        for row in items(&golden["wilson95"]) {
            let (lo, hi) = wilson95(size(&row["successes"]) as u64, size(&row["n"]) as u64);
            check(lo, number(&row["lo"]), "wilson");
            check(hi, number(&row["hi"]), "wilson");
        }
        cases
    });
}
