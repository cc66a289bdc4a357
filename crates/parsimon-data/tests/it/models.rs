//! Golden predictions and signatures of other tools.

use parsimon_data::dedup::{MinHashParams, Signer};
use parsimon_data::fasttext::FastText;
use parsimon_data::warc::sha1_hex;
use parsimon_data::{code, math, qa, text};
use serde_json::Value;

use crate::golden::{corpus, rows, str_of, text as read_text};

/// Labels equal, probabilities within 1e-4: the C++ sums in another order.
#[test]
fn fasttext_predictions() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let expected: Value = serde_json::from_str(&read_text(&dir.join("fasttext_predictions.json.gz"))).unwrap();
        let mut n = 0;
        for (file, cases) in expected.as_object().unwrap() {
            let model = FastText::open(&dir.join(file)).unwrap();
            for case in cases.as_array().unwrap() {
                let found = model.predict(str_of(&case["text"]), 3);
                let labels: Vec<&str> = found.iter().map(|found| found.label).collect();
                let expected: Vec<&str> = case["labels"].as_array().unwrap().iter().map(str_of).collect();
                assert_eq!(labels[0], expected[0], "{file}: {}", case["text"]);
                for (found, p) in found.iter().zip(case["probs"].as_array().unwrap()) {
                    let p = p.as_f64().unwrap();
                    assert!((f64::from(found.probability) - p).abs() < 1e-4, "{file}: {} {found:?} {p}", case["text"]);
                }
                n += 1;
            }
        }
        n
    });
}

/// Bit for bit.
#[test]
fn minhash_signatures() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let corpus = corpus(dir);
        let rows = rows(&dir.join("minhash.jsonl.gz"));
        for row in &rows {
            let text = &corpus[str_of(&row["id"])];
            assert_eq!(sha1_hex(text::slim(text).as_bytes()), str_of(&row["slim_sha1"]), "{}", row["id"]);
            for (key, name) in [
                ("sha1_64", "fineweb-sha1"),
                ("xxh64", "fineweb-xxh64"),
                ("sha1_32", "fineweb-sha1-32"),
                ("redstone_256", "redstone"),
            ] {
                let signature = Signer::new(MinHashParams::from_name(name).unwrap()).sign(text);
                let expected: Option<Vec<u64>> = match &row[key] {
                    Value::Null => None,
                    Value::Array(bands) if bands[0].is_array() => Some(
                        bands.iter().flat_map(|band| band.as_array().unwrap()).map(|v| v.as_u64().unwrap()).collect(),
                    ),
                    values => Some(serde_json::from_value(values.clone()).unwrap()),
                };
                assert_eq!(signature, expected, "{} {name}", row["id"]);
            }
        }
        rows.len() * 4
    });
}

#[test]
fn question_and_math_candidates() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let rows = rows(&dir.join("redstone_qa_math.jsonl.gz"));
        for row in &rows {
            let text = str_of(&row["text"]);
            let found = qa::qa_candidate(text);
            let expected = (
                row["mcq_rule"].as_bool().unwrap(),
                row["q_hits"].as_u64().unwrap() as usize,
                row["a_hits"].as_u64().unwrap() as usize,
                row["quality"].as_bool().unwrap(),
                row["fill_in"].as_bool().unwrap(),
            );
            assert_eq!((found.mcq_rule, found.q_hits, found.a_hits, found.quality, found.fill_in), expected, "{text}");
            let found = math::math_candidate(text);
            assert_eq!(found.commands as u64, row["math_p0"].as_u64().unwrap(), "{text}");
            let mut known: Vec<&str> = row["math_s1"].as_array().unwrap().iter().map(str_of).collect();
            known.sort_unstable();
            assert_eq!(found.known, known, "{text}");
            assert_eq!(found.has_operator, row["math_s2_any"].as_bool().unwrap(), "{text}");
        }
        rows.len()
    });
}

#[test]
fn code_patterns_and_gutters() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let cases: Value = serde_json::from_str(&read_text(&dir.join("redstone_code.json.gz"))).unwrap();
        let (detect, gutter) = (cases["detect"].as_array().unwrap(), cases["gutter"].as_array().unwrap());
        for case in detect {
            assert_eq!(code::is_code(str_of(&case["text"])), case["is_code"].as_bool().unwrap(), "{}", case["text"]);
        }
        for case in gutter {
            assert_eq!(code::remove_gutters(str_of(&case["in"])), str_of(&case["out"]));
        }
        detect.len() + gutter.len()
    });
}

/// At least nine of ten formulas, after taking away what TeX does not see.
#[test]
fn mathml() {
    parsimon_testkit::golden("parsimon-data", "data/math", |dir| {
        let rows = rows(&dir.join("mathml_cases.jsonl"));
        let mut wrong = Vec::new();
        for row in &rows {
            let found = math::mathml_fragment(str_of(&row["mathml"])).unwrap_or_default();
            let (found, expected) = (plain(&found), plain(str_of(&row["latex"])));
            if found != expected {
                wrong.push(format!("{found}  !=  {expected}"));
            }
        }
        let n = rows.len();
        assert!(wrong.len() * 10 <= n, "{} of {n}: {wrong:#?}", wrong.len());
        n
    });
}

fn plain(latex: &str) -> String {
    let mut plain = latex.replace("\\displaystyle", "").replace("\\n ", " ").replace("\\n\\", "\\");
    for fence in ["\\left.", "\\right.", "\\left", "\\right"] {
        plain = plain.replace(fence, "");
    }
    plain.chars().filter(|c| !c.is_whitespace() && !matches!(c, '{' | '}')).collect()
}

/// Every sentence of the training file was seen but for each tenth of a language, on which the bundled model is measured.
#[test]
fn languages() {
    const LEAST: f64 = 0.95;
    parsimon_testkit::golden("parsimon-data", "data/lid", |dir| {
        let text = read_text(&dir.join("train.tsv.gz"));
        let lid = parsimon_data::lid::Lid::builtin();
        let (mut seen, mut n, mut right) = (std::collections::HashMap::new(), 0, 0);
        for (language, sentence) in text.lines().filter_map(|line| line.split_once('\t')) {
            let count = seen.entry(language).or_insert(0);
            *count += 1;
            if *count % 10 == 0 {
                n += 1;
                right += usize::from(lid.detect(sentence).is_some_and(|found| found.code == language));
            }
        }
        let share = right as f64 / n as f64;
        println!("LID {share:.4} of {n} sentences in {} languages", seen.len());
        assert!(share >= LEAST, "{share:.4}");
        n
    });
}
