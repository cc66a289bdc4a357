//! Any JSON as a `quantization_config` and any bytes as the file of its layers: an error or layers that decode.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_core::io::Checkpoint;
use parsimon_vq::{QuantizationConfig, VptqLinear};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (json, tensors) = input;
    let Ok(json) = serde_json::from_slice(json) else { return };
    let Ok(config) = QuantizationConfig::from_json(&json) else { return };
    let _ = config.to_json();
    parsimon_fuzz::as_file("input.safetensors", tensors, |path| {
        let Ok(checkpoint) = Checkpoint::open(path) else { return };
        for name in ["a", "model.layers.0.self_attn.q_proj"] {
            let Some(layer) = config.resolve(name) else { continue };
            let shape = (layer.out_features, layer.in_features);
            if let Ok(linear) = VptqLinear::read(&checkpoint, name, layer, shape) {
                let _ = linear.dense();
            }
        }
    });
});
