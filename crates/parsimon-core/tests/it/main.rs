//! Golden files of the formats that this crate reads.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod blocks;

use std::path::Path;

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::quant::Zeros;
use parsimon_core::quant::gptq::{self, GptqConfig};

/// Runs `cases` on the copy of golden data that is committed with this crate, and on the shared one where it exists.
fn shared_and_committed(place: &str, cases: impl Fn(&Path) -> usize) {
    parsimon_testkit::committed("parsimon-core", env!("CARGO_MANIFEST_DIR"), |dir| cases(&dir.join(place)));
    parsimon_testkit::golden("parsimon-core", place, cases);
}

/// GPTQ matrices of every width, both versions and with act-order: codes, zero points and weights exactly.
#[test]
fn gptq_goldens() {
    shared_and_committed("formats/packed", |dir| {
        let manifest: Vec<serde_json::Value> = read_json(&dir.join("manifest.json")).unwrap();
        let cases: Vec<_> = manifest.iter().filter(|case| case["kind"] == "gptq").collect();
        cases.iter().for_each(|case| check_gptq(dir, case));
        cases.len()
    });
}

fn check_gptq(dir: &Path, case: &serde_json::Value) {
    let file = case["file"].as_str().unwrap();
    let mut config = case.clone();
    config["quant_method"] = "gptq".into();
    let config: GptqConfig = serde_json::from_value(config).unwrap();
    let checkpoint = Checkpoint::open(&dir.join(file)).unwrap();
    let matrix = gptq::unpack(&checkpoint, "", &config).unwrap();

    let codes: Vec<i64> = matrix.codes.iter().map(|&code| i64::from(code)).collect();
    assert_eq!(codes, checkpoint.tensor("expected.codes").unwrap().to_i64().unwrap(), "{file}");
    let Zeros::Points(zero_points) = &matrix.zeros else { panic!("{file}: GPTQ has integer zero points") };
    let zero_points: Vec<i64> = zero_points.iter().map(|&zp| i64::from(zp)).collect();
    assert_eq!(zero_points, checkpoint.tensor("expected.zero_points").unwrap().to_i64().unwrap(), "{file}");
    assert_eq!(matrix.dequantize(), checkpoint.tensor("expected.w").unwrap().to_f32().unwrap(), "{file}");
    assert_eq!(matrix.g_idx.is_some(), config.desc_act, "{file}");
}
