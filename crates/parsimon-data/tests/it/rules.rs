//! Golden decisions of the published rules.

use parsimon_data::rules::{LINE_RULES, Metrics, RulePreset, Rules, check_lines};
use parsimon_data::text;
use parsimon_data::warc::sha1_hex;
use serde_json::Value;

use crate::golden::{corpus, rows, str_of};

#[test]
fn sentences() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let corpus = corpus(dir);
        let rows = rows(&dir.join("sentences.jsonl.gz"));
        let mut wrong = Vec::new();
        for row in &rows {
            let sentences = text::sentences(&corpus[str_of(&row["id"])]);
            if sha1_hex(sentences.join("\n").as_bytes()) != str_of(&row["sha1"]) {
                let lengths: Vec<u64> = sentences.iter().map(|s| s.chars().count() as u64).collect();
                let expected: Vec<u64> = serde_json::from_value(row["sents"].clone()).unwrap();
                let at = lengths.iter().zip(&expected).position(|(a, b)| a != b);
                wrong.push(format!("{}: {at:?} {:?}", row["id"], at.map(|at| (&sentences[at], expected[at]))));
            }
        }
        assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), rows.len(), &wrong[..wrong.len().min(8)]);
        rows.len()
    });
}

/// Every fraction within 1e-12, every violation, the edited text.
#[test]
fn redstone() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let corpus = corpus(dir);
        let rows = rows(&dir.join("redstone_rules.jsonl.gz"));
        let mut wrong = Vec::new();
        for row in &rows {
            let id = str_of(&row["id"]);
            let defects = redstone_row(&corpus[id], row);
            if !defects.is_empty() {
                wrong.push(format!("{id}: {}", defects.join("; ")));
            }
        }
        assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), rows.len(), &wrong[..wrong.len().min(12)]);
        rows.len()
    });
}

fn redstone_row(text: &str, row: &Value) -> Vec<String> {
    let mut defects = Vec::new();
    let verdict = RulePreset::Redstone.judge(text, &[]);
    if !row["error"].is_null() {
        if verdict.reason() != Some("empty") {
            defects.push(format!("expected empty, {:?}", verdict.reason()));
        }
        return defects;
    }
    let metrics = Metrics::compute(text, &[]);
    let words = row["n_words"].as_f64().unwrap();
    let mut expect = |name: &str, expected: f64| {
        let value = metrics.get(name).unwrap();
        if (value - expected).abs() > 1e-12 {
            defects.push(format!("{name} {value} != {expected}"));
        }
    };
    expect("doc_word_count", words);
    expect("doc_mean_word_len", row["mean_word_len"].as_f64().unwrap());
    expect("doc_gopher_symbol_to_word", row["symbols"].as_f64().unwrap() / words);
    expect("doc_alpha_word_rate", row["alpha"].as_f64().unwrap() / words);
    expect("doc_gopher_stopword_count", row["stop"].as_f64().unwrap());
    for (key, name) in [("top", "rr_ngram_top_"), ("dup", "rr_ngram_dup_")] {
        for (n, value) in row[key].as_object().unwrap() {
            expect(&format!("{name}{n}"), value.as_f64().unwrap());
        }
    }
    for (key, name) in [("para", "rr_para"), ("sent", "rr_sent")] {
        expect(&format!("{name}_frac"), row[key][0].as_f64().unwrap());
        expect(&format!("{name}_char_frac"), row[key][1].as_f64().unwrap());
    }
    let sentences = text::sentences(text);
    let lines = check_lines(&sentences);
    let rules = Rules::redstone();
    let mut violations: Vec<&str> = rules.violations(&metrics).collect();
    if !lines.decision.keep {
        violations.push("line_document_discarded");
    }
    violations.sort_unstable();
    let mut expected: Vec<&str> = row["doc_violations"].as_array().unwrap().iter().map(str_of).collect();
    expected.sort_unstable();
    if violations != expected {
        defects.push(format!("violations {violations:?} != {expected:?}"));
    }
    for (rule, found) in LINE_RULES.iter().zip(&lines.violations) {
        let expected: Vec<usize> = serde_json::from_value(row["line_violations"][rule].clone()).unwrap();
        if *found != expected {
            defects.push(format!("{rule}: {found:?} != {expected:?}"));
        }
    }
    let kept = row["kept"].as_bool().unwrap();
    if verdict.keep != kept {
        defects.push(format!("keep {}", verdict.keep));
    } else if kept && sha1_hex(verdict.edited.unwrap().as_bytes()) != str_of(&row["filtered_sha1"]) {
        defects.push("the edited text differs".to_owned());
    }
    defects
}

/// Gopher, C4, FineWeb: decisions, reasons and edited texts.
#[test]
fn fineweb_family() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let corpus = corpus(dir);
        let rows = rows(&dir.join("datatrove_filters.jsonl.gz"));
        let (mut wrong, mut n) = (Vec::new(), 0);
        for row in &rows {
            let id = str_of(&row["id"]);
            let text = &corpus[id];
            for (key, preset) in [
                ("gopher_rep", RulePreset::GopherRepetition),
                ("gopher_quality", RulePreset::GopherQuality),
                ("c4", RulePreset::C4),
                ("c4_strict", RulePreset::C4Strict),
                ("fineweb", RulePreset::FinewebQuality),
            ] {
                let expected = &row["web"][key];
                if expected["r"].is_string() {
                    continue;
                }
                n += 1;
                let verdict = preset.judge(text, &[]);
                let same_text = expected["text_sha1"].as_str().is_none_or(|sha1| {
                    verdict.edited.as_ref().is_some_and(|edited| sha1_hex(edited.as_bytes()) == sha1)
                });
                let expected_keep = expected["keep"].as_bool().unwrap();
                if verdict.keep != expected_keep || verdict.reason() != expected["reason"].as_str() || !same_text {
                    wrong.push(format!("{id} {key}: {:?} {same_text} != {expected}", verdict.decisions));
                }
            }
            n += 1;
            if let Some(sha1) = row["simplified_sha1"].as_str()
                && sha1_hex(text::simplify(text).as_bytes()) != sha1
            {
                wrong.push(format!("{id} simplify"));
            }
        }
        assert!(wrong.is_empty(), "{} of {n}: {:#?}", wrong.len(), &wrong[..wrong.len().min(12)]);
        n
    });
}

#[test]
fn preprocess() {
    parsimon_testkit::golden("parsimon-data", "data/golden", |dir| {
        let rows = rows(&dir.join("simple_preprocess.jsonl.gz"));
        for row in &rows {
            let expected: Vec<String> = serde_json::from_value(row["tokens"].clone()).unwrap();
            assert_eq!(text::preprocess(str_of(&row["text"])), expected);
        }
        rows.len()
    });
}
