//! Attention from outside: gates of a model, and the kernels on an index of cases.

use std::path::Path;

use parsimon::tensor::DType;
use parsimon::tensor::io::Checkpoint;
use parsimon_testkit::golden;
use serde_json::Value;

use super::{json, parsimon};

const TOKENS: &str =
    "5,9,2,6,5,3,5,8,9,7,9,3,2,3,8,4,6,2,6,4,3,3,8,3,2,7,9,5,0,2,8,8,4,1,9,7,1,6,9,3,9,9,3,7,5,1,0,5,8,2";

#[test]
fn gates_choose_blocks_and_are_never_left_out_in_silence() {
    golden("parsimon-cli", "attention/seer_tiny", |dir| {
        let [base, gate] = ["base", "gate"].map(|name| dir.join(name).to_str().unwrap().to_owned());
        let run = |words: &[&str]| {
            let all = ["generate", "--model", &base, "--prompt-tokens", TOKENS, "-n", "2", "--json"];
            parsimon(&[&all[..], words].concat())
        };
        let gated = json(&run(&["--attention", "seer", "--gate", &gate, "--nz-ratio", "0.5"]));
        let density = gated["density"].as_f64().unwrap();
        assert!(density > 0.0 && density < 1.0, "{gated}");
        assert!(json(&run(&[]))["density"].is_null());

        let alone = run(&["--gate", &gate]);
        let message = json(&alone)["error"]["message"].as_str().unwrap().to_owned();
        assert!(alone.status.code() == Some(2) && message.contains("--attention seer"), "{message}");
        let missing = run(&["--attention", "seer", "--gate", "nowhere"]);
        assert_eq!(missing.status.code(), Some(2));
        1
    });
}

/// Every output that was written is the expected one, in every type; what is skipped is known.
#[test]
fn an_index_of_cases_is_computed() {
    golden("parsimon-cli", "attention/index.json", |path| {
        let index: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut compared = 0;
        for (dtype, skipped) in [("f32", 1), ("bf16", 1), ("f64", 29)] {
            let out = tempfile::tempdir().unwrap();
            let folder = out.path().to_str().unwrap();
            let words =
                ["attn", "eval", "--index", path.to_str().unwrap(), "--out", folder, "--dtype", dtype, "--json"];
            let report = json(&parsimon(&words));
            assert_eq!(report["skipped"].as_array().unwrap().len(), skipped, "{report}");
            for case in index["cases"].as_array().unwrap() {
                if !report["skipped"].as_array().unwrap().contains(&case["id"]) && case["tol"][dtype].is_f64() {
                    compared += compare(case, &path.with_file_name("expected"), out.path(), dtype);
                }
            }
        }
        compared
    });
    let refused = parsimon(&["attn", "eval", "--index", "Cargo.toml", "--out", "nowhere", "--json"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// The outputs of a case, which are as many as the index names.
fn compare(case: &Value, expected: &Path, actual: &Path, dtype: &str) -> usize {
    let [id, file] = ["id", "file"].map(|key| case[key].as_str().unwrap());
    let [expected, actual] = [expected, actual].map(|dir| Checkpoint::open(&dir.join(file)).unwrap());
    let outputs = case["out"].as_array().unwrap();
    for name in outputs {
        let name = name.as_str().unwrap();
        let tensors = [&expected, &actual].map(|file| file.tensor(&format!("{id}.{name}")).unwrap());
        assert_eq!(tensors[0].shape(), tensors[1].shape(), "{id} {name}");
        if tensors[0].dtype() == DType::U32 {
            assert_eq!(tensors[0].bytes(), tensors[1].bytes(), "{id} {name}");
            continue;
        }
        let [expected, actual] = tensors.map(|tensor| tensor.to_f64().unwrap());
        let pairs = || expected.iter().zip(&actual);
        assert!(pairs().all(|(e, a)| e.is_finite() || e == a), "{id} {name}");
        let finite = || pairs().filter(|(e, _)| e.is_finite());
        let (error, tolerance) = if name.ends_with("lse") {
            let largest = finite().fold(0.0f64, |max, (e, _)| max.max(e.abs()));
            let limit =
                [("f64", 1e-11), ("f32", 2e-5), ("bf16", 3e-2)].iter().find(|(name, _)| *name == dtype).unwrap().1;
            (finite().fold(0.0f64, |max, (e, a)| max.max((e - a).abs())), limit * (1.0 + largest / 20.0))
        } else {
            let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let energy = square(&mut finite().map(|(e, _)| *e));
            let error = square(&mut finite().map(|(e, a)| e - a));
            (if error == 0.0 { 0.0 } else { error / energy }, case["tol"][dtype].as_f64().unwrap().max(1e-12))
        };
        assert!(error <= tolerance, "{dtype} {id} {name}: {error} > {tolerance}");
    }
    outputs.len()
}
