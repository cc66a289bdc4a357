//! Any JSON as `config.json`: an error, or a configuration whose sizes can be computed.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use parsimon_model::ModelConfig;

fuzz_target!(|data: &[u8]| {
    let Ok(json) = serde_json::from_slice(data) else { return };
    if let Ok(config) = ModelConfig::from_json(&json, Path::new("config.json")) {
        let _ = (config.parameter_count(), config.to_json());
    }
});
