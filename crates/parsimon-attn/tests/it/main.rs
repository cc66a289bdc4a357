//! Golden attention cases (float64, made by an independent program), at every instruction-set level and with one thread and three.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod case;
mod decode;
mod gates;
mod prefill;
mod variants;

use parsimon_attn::{Attention, AttnConfig};
use parsimon_core::io::read_json;
use parsimon_simd::Level;
use parsimon_testkit::golden;
use serde_json::Value;

use crate::case::Case;

/// Runs every case of a kind.
fn each_case(kind: &str, check: impl Fn(&Case)) {
    golden("parsimon-attn", "attention", |dir| {
        let index: Value = read_json(&dir.join("index.json")).unwrap();
        let cases: Vec<_> = index["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == kind).collect();
        cases.iter().for_each(|case| check(&Case::open(dir, case)));
        cases.len()
    });
}

/// The attention at every level, on a pool of one thread and of three.
fn each_backend(config: &AttnConfig, run: impl Fn(&Attention) + Send + Sync) {
    for level in Level::available() {
        let attention = Attention::prepare(config).unwrap().at_level(level).unwrap();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&attention));
        }
    }
}
