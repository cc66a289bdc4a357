//! How well the main content of real pages is found. The bars are what the extractor reaches; a change that loses some fails.

use std::collections::HashMap;
use std::path::Path;

use parsimon_data::{Document, Extractor, Profile};
use serde_json::Value;

use crate::golden::{rows, str_of, text};

/// F1 of multisets of 4-token shingles over the pages of news and blogs: of the means of precision and recall.
const AEB_MIN: f64 = 0.97;

/// Mean F1 of multisets of words over pages of seven kinds.
const WCXB_MIN: f64 = 0.81;

fn tokens(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|token| !token.is_empty()).collect()
}

fn counts<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> (HashMap<T, usize>, usize) {
    let (mut counts, mut n) = (HashMap::new(), 0);
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
        n += 1;
    }
    (counts, n)
}

fn common<T: std::hash::Hash + Eq>(a: &HashMap<T, usize>, b: &HashMap<T, usize>) -> usize {
    a.iter().map(|(item, count)| b.get(item).map_or(0, |other| *count.min(other))).sum()
}

fn shingles(text: &str) -> (HashMap<Vec<&str>, usize>, usize) {
    let tokens = tokens(text);
    match tokens.len() {
        0 => (HashMap::new(), 0),
        1..=3 => (HashMap::from([(tokens, 1)]), 1),
        _ => counts(tokens.windows(4).map(<[&str]>::to_vec)),
    }
}

fn page(path: &Path) -> Vec<u8> {
    let mut html = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()), &mut html)
        .unwrap();
    html
}

#[test]
fn articles() {
    parsimon_testkit::golden("parsimon-data", "data/html/aeb", |dir| {
        let truth: Value = serde_json::from_str(&text(&dir.join("ground-truth.json"))).unwrap();
        let truth = truth.as_object().unwrap();
        let (mut precision, mut recall) = (Vec::new(), Vec::new());
        for (id, expected) in truth {
            let html = page(&dir.join(format!("{id}.html.gz")));
            let found = Extractor::new(Profile::Article).extract(&Document::parse(&html, None));
            let ((ours, n), (theirs, m)) = (shingles(&found.text), shingles(str_of(&expected["articleBody"])));
            let hits = common(&ours, &theirs) as f64;
            if n > 0 {
                precision.push(hits / n as f64);
            }
            if m > 0 {
                recall.push(hits / m as f64);
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (p, r) = (mean(&precision), mean(&recall));
        let f1 = 2.0 * p * r / (p + r);
        println!("AEB precision {p:.4} recall {r:.4} F1 {f1:.4}");
        assert!(f1 >= AEB_MIN, "precision {p:.4} recall {r:.4} F1 {f1:.4}");
        truth.len()
    });
}

#[test]
fn seven_kinds_of_pages() {
    parsimon_testkit::golden("parsimon-data", "data/html/wcxb", |dir| {
        let rows = rows(&dir.join("ground-truth.jsonl.gz"));
        let mut by_type: HashMap<&str, Vec<f64>> = HashMap::new();
        for row in &rows {
            let html = page(&dir.join(format!("{}.html.gz", str_of(&row["id"]))));
            let found = Extractor::new(Profile::Balanced).extract(&Document::parse(&html, None));
            let (ours, theirs) =
                (found.text.to_lowercase(), str_of(&row["ground_truth"]["main_content"]).to_lowercase());
            let ((ours, n), (theirs, m)) = (counts(tokens(&ours).into_iter()), counts(tokens(&theirs).into_iter()));
            let hits = common(&ours, &theirs);
            let f1 = if n + m == 0 { 1.0 } else { 2.0 * hits as f64 / (n + m) as f64 };
            by_type.entry(str_of(&row["page_type"])).or_default().push(f1);
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let all = mean(&by_type.values().flatten().copied().collect::<Vec<_>>());
        let mut types: Vec<String> =
            by_type.iter().map(|(kind, values)| format!("{kind} {:.3}", mean(values))).collect();
        types.sort();
        println!("WCXB {all:.4}: {}", types.join(", "));
        assert!(all >= WCXB_MIN, "{all:.4}: {}", types.join(", "));
        rows.len()
    });
}
