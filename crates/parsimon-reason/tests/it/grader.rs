//! The known-case tables of the grader, its speed limit on hostile input, and the pairs that must never be equal.

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
        assert!(
            agree * 100 >= rows * 98 && false_positives == 0,
            "{agree} of {rows}, {false_positives} false positives"
        );
        total + rows
    });
}

/// Inputs that ask for unbounded work: each must end, in a step budget, and count as not equal.
#[test]
fn hostile_inputs_end() {
    let grader = Grader::strict();
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    let long = "9".repeat(16 << 10);
    let sum = vec!["\\sqrt{2}"; 2000].join("+");
    let list = (0..2000).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let reversed = (0..2000).rev().map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let tower = "2^{".repeat(100) + "2" + &"}".repeat(100);
    for (gold, pred) in [
        ("10^{10^{10}}", "10^{10^{11}}"),
        ("1000000000!", "999999999!"),
        (deep.as_str(), "2"),
        (long.as_str(), "1"),
        (sum.as_str(), "3"),
        (list.as_str(), reversed.as_str()),
        (tower.as_str(), "3"),
        ("\\boxed{", "\\boxed"),
        ("\\frac{\\frac{", "\\begin{pmatrix}"),
        ("|||||||||||1", "1"),
        ("\u{0}\u{1}\u{2}", "a"),
    ] {
        for (gold, pred) in [(gold, pred), (pred, gold)] {
            assert!(!grader.verify(gold, pred).equal, "{:.40} and {:.40}", gold, pred);
        }
    }
}

proptest::proptest! {
    /// No text makes the grader panic, and what it can read equals itself.
    #[test]
    fn any_text_is_graded(text in "[0-9a-z\\\\{}()^_+*/|,.= \\[\\]$!-]{0,60}") {
        let grader = Grader::strict();
        grader.verify(&text, "1");
        let read = parsimon_reason::answer::Parsed::read(&text);
        proptest::prop_assert!(read.text().is_empty() || grader.verify(&text, &text).equal);
    }
}
