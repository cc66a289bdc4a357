//! Golden attention cases (float64, made by an independent program).
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

use std::path::Path;

use parsimon_attn::{Attention, AttnConfig, HeadMap, KvView, Mask};
use parsimon_core::io::{Checkpoint, read_json};
use parsimon_testkit::{Cases, golden, rel_l2};
use serde_json::Value;

/// Dense cases. ALiBi is not built; its case is counted as skipped.
#[test]
fn dense_goldens() {
    golden("parsimon-attn", "attention", |dir| {
        let index: Value = read_json(&dir.join("index.json")).unwrap();
        let cases = index["cases"].as_array().unwrap();
        let dense = cases.iter().filter(|case| case["kind"] == "dense");
        let (run, skipped): (Vec<_>, Vec<_>) = dense.partition(|case| mask(case).is_some());
        for case in &skipped {
            eprintln!(
                "parsimon-attn: skipped, {} ({}) needs a score modifier that is not built",
                case["id"], case["notes"]
            );
        }
        run.iter().for_each(|case| check(dir, case));
        Cases { run: run.len(), skipped: skipped.len() }
    });
}

/// The mask and the cap of the scores.
fn mask(case: &Value) -> Option<(Mask, Option<f32>)> {
    let side = |key: &str| case["params"]["mask"][key].as_u64().map(|keys| keys as usize);
    let mask = match case["params"]["mask"]["type"].as_str() {
        Some("full") => Mask::Full,
        Some("causal") => Mask::Causal,
        Some("window") => Mask::Window { left: side("left"), right: side("right") },
        _ => return None,
    };
    let modifier = &case["params"]["score_mod"];
    match modifier["type"].as_str() {
        None => Some((mask, None)),
        Some("softcap") => Some((mask, Some(modifier["cap"].as_f64().unwrap() as f32))),
        Some(_) => None,
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
    let (mask, soft_cap) = mask(case).unwrap();
    let attention = Attention::prepare(&AttnConfig { heads, d_qk, d_v, scale, mask, soft_cap }).unwrap();
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
