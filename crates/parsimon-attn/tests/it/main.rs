//! Golden attention cases (float64, made by an independent program).
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

use std::path::Path;

use parsimon_attn::{Attention, AttnConfig, HeadMap, KvView, Mask};
use parsimon_core::io::{Checkpoint, read_json};
use parsimon_testkit::{Cases, golden, rel_l2};
use serde_json::Value;

/// Dense cases with a full or causal mask. Windows and score modifiers are not built yet; their cases are counted as skipped.
#[test]
fn dense_goldens() {
    golden("parsimon-attn", "attention", |dir| {
        let index: Value = read_json(&dir.join("index.json")).unwrap();
        let cases = index["cases"].as_array().unwrap();
        let dense = cases.iter().filter(|case| case["kind"] == "dense");
        let (run, skipped): (Vec<_>, Vec<_>) = dense.partition(|case| mask(case).is_some());
        for case in &skipped {
            eprintln!(
                "parsimon-attn: skipped, {} ({}) needs a mask or score modifier that is not built",
                case["id"], case["notes"]
            );
        }
        run.iter().for_each(|case| check(dir, case));
        Cases { run: run.len(), skipped: skipped.len() }
    });
}

fn mask(case: &Value) -> Option<Mask> {
    match case["params"]["mask"]["type"].as_str() {
        _ if !case["params"]["score_mod"].is_null() => None,
        Some("full") => Some(Mask::Full),
        Some("causal") => Some(Mask::Causal),
        _ => None,
    }
}

#[track_caller]
fn check(dir: &Path, case: &Value) {
    let id = case["id"].as_str().unwrap();
    let number = |key: &str| case["params"][key].as_u64().unwrap() as usize;
    let file = case["file"].as_str().unwrap();
    let inputs = Checkpoint::open(&dir.join("inputs").join(file)).unwrap();
    let expected = Checkpoint::open(&dir.join("expected").join(file)).unwrap();
    let input = |name: &str| inputs.tensor(&format!("{id}.{name}")).unwrap().to_f32().unwrap();
    let output = |name: &str| expected.tensor(&format!("{id}.{name}")).unwrap().to_f64().unwrap();

    let heads = HeadMap::try_new(number("n_q"), number("n_k"), number("n_v")).unwrap();
    let (d_qk, d_v, t_k, batch) = (number("d_qk"), number("d_v"), number("t_k"), number("batch"));
    let scale = Some(case["params"]["scale"].as_f64().unwrap() as f32);
    let attention = Attention::prepare(&AttnConfig { heads, d_qk, d_v, scale, mask: mask(case).unwrap() }).unwrap();
    let (q, k, v) = (input("q"), input("k"), input("v"));
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for ((q, k), v) in part(&q, batch).zip(part(&k, batch)).zip(part(&v, batch)) {
        let rows = q.len() / d_qk;
        let (mut part_o, mut part_lse) = (vec![0.0; rows * d_v], vec![0.0; rows]);
        let view = KvView::from_rows(heads, (d_qk, d_v), t_k, k, v).unwrap();
        attention.forward_into(q, view, &mut part_o, Some(&mut part_lse)).unwrap();
        o.extend(part_o);
        lse.extend(part_lse);
    }
    let tolerance = case["tol"]["f32"].as_f64().unwrap();
    let error = rel_l2(&o, &output("o"));
    assert!(error <= tolerance, "{id}: {error} > {tolerance}");
    let expected_lse = output("lse");
    let largest = expected_lse.iter().filter(|lse| lse.is_finite()).fold(0.0f64, |max, lse| max.max(lse.abs()));
    for (a, b) in lse.iter().zip(&expected_lse) {
        let near = (f64::from(*a) - b).abs() <= 2e-5 * (1.0 + largest / 20.0);
        assert!(f64::from(*a) == *b || near, "{id}: lse {a} for {b}");
    }
}

/// The parts of a leading batch axis.
fn part(values: &[f32], batch: usize) -> impl Iterator<Item = &[f32]> {
    values.chunks_exact(values.len() / batch)
}
