//! Pages written by hand: text, code, formulas, questions.

use parsimon_data::{Document, Extractor, Profile};
use serde_json::Value;

use crate::golden::{rows, str_of};

fn list(value: &Value) -> Vec<&str> {
    value.as_array().map(|items| items.iter().map(str_of).collect()).unwrap_or_default()
}

#[test]
fn cases() {
    parsimon_testkit::golden("parsimon-data", "data/pages", |dir| {
        let rows = rows(&dir.join("cases.jsonl.gz"));
        let mut wrong = Vec::new();
        for row in &rows {
            let defects = check(row);
            if !defects.is_empty() {
                wrong.push(format!("{}: {}", row["name"], defects.join("; ")));
            }
        }
        assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), rows.len());
        rows.len()
    });
}

fn check(row: &Value) -> Vec<String> {
    let page = Document::parse(str_of(&row["html"]).as_bytes(), None);
    let found = Extractor::new(Profile::Balanced).extract(&page);
    let expected = &row["expected"];
    let mut defects = Vec::new();
    for part in list(&expected["contains"]) {
        if !found.text.contains(part) {
            defects.push(format!("lacks {part:?}"));
        }
    }
    for part in list(&expected["absent"]) {
        if found.text.contains(part) {
            defects.push(format!("has {part:?}"));
        }
    }
    let mut compare = |key: &str, found: Value| {
        if expected.get(key).is_some_and(|expected| *expected != found) {
            defects.push(format!("{key}: {found}"));
        }
    };
    compare("code", serde_json::to_value(found.code()).unwrap());
    compare("math", found.formulas().into_iter().map(|formula| formula.latex).collect());
    let pairs = found.qa.iter().map(|pair| serde_json::json!({"question": pair.question, "answer": pair.answer}));
    compare("qa", pairs.collect());
    let choices = found.multiple_choice();
    let choices = choices
        .iter()
        .map(|choice| serde_json::json!({"stem": choice.stem, "options": choice.options, "answer": choice.answer}));
    compare("mcq", choices.collect());
    for span in &found.spans {
        assert!(found.text.get(span.range()).is_some());
    }
    defects
}
