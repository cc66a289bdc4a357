//! Whole folders: those that must load decode as the golden weights, those that must not give the named error.

use std::path::Path;

use parsimon_core::Diagnose;
use parsimon_core::io::{Checkpoint, read_json};
use parsimon_testkit::golden;
use parsimon_vq::{CheckpointError, QuantizationConfig, VptqLinear};
use serde_json::Value;

/// The projections of a Llama folder with their shapes.
fn projections(config: &Value) -> Vec<(String, usize, usize)> {
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let (d, inner) = (number("hidden_size"), number("intermediate_size"));
    let kv = d / number("num_attention_heads") * number("num_key_value_heads");
    let mut all = Vec::new();
    for layer in 0..number("num_hidden_layers") {
        for (name, m, k) in [
            ("self_attn.q_proj", d, d),
            ("self_attn.k_proj", kv, d),
            ("self_attn.v_proj", kv, d),
            ("self_attn.o_proj", d, d),
            ("mlp.gate_proj", inner, d),
            ("mlp.up_proj", inner, d),
            ("mlp.down_proj", d, inner),
        ] {
            all.push((format!("model.layers.{layer}.{name}"), m, k));
        }
    }
    all
}

/// Every quantized layer of a folder.
fn layers(dir: &Path) -> Result<Vec<(String, VptqLinear)>, CheckpointError> {
    let json: Value = read_json(&dir.join("config.json")).unwrap();
    let at = |kind| CheckpointError { file: dir.join("config.json"), kind };
    let config = QuantizationConfig::from_config(&json).map_err(at)?.unwrap();
    let projections = projections(&json);
    config.check_layers(|name| projections.iter().any(|(known, ..)| known == name)).map_err(at)?;
    let checkpoint = Checkpoint::open(dir).unwrap();
    let quantized = projections.into_iter().filter_map(|(name, m, k)| Some((config.resolve(&name)?, name, m, k)));
    quantized
        .map(|(config, name, m, k)| Ok((name.clone(), VptqLinear::read(&checkpoint, &name, config, (m, k))?)))
        .collect()
}

#[test]
fn bad_folders() {
    golden("parsimon-vq", "vq/bad", |dir| {
        let index: Value = read_json(&dir.join("index.json")).unwrap();
        let cases = index.as_array().unwrap();
        for case in cases {
            let (id, expected) = (case["id"].as_str().unwrap(), case["error"].as_str().unwrap());
            match layers(&dir.join(id)) {
                Ok(layers) => {
                    assert_eq!(expected, "Ok", "{id}");
                    assert!(!layers.is_empty(), "{id}");
                }
                Err(error) => {
                    assert_eq!(error.variant(), expected, "{id}: {error}");
                    assert!(error.to_string().contains(case["must_name"].as_str().unwrap()), "{id}: {error}");
                    assert!(error.is_bad_input() && error.file().is_some() && error.place().is_some(), "{id}");
                }
            }
        }
        assert_eq!(cases.len(), 39);
        cases.len()
    });
}

#[test]
fn good_folders() {
    golden("parsimon-vq", "vq", |dir| {
        let mut n = 0;
        for folder in ["tiny_f16", "tiny_bf16_shared", "tiny_unpacked"] {
            let dir = dir.join(folder);
            let expected = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
            let checkpoint = Checkpoint::open(&dir).unwrap();
            for (name, linear) in layers(&dir).unwrap() {
                let dense = expected.tensor(&format!("dense.{name}.weight")).unwrap();
                assert!(linear.float().to_bytes(linear.dequantize()) == dense.bytes(), "{folder}: {name}");
                if let Ok(bias) = expected.tensor(&format!("dense.{name}.bias")) {
                    assert_eq!(linear.bias().unwrap(), bias.to_f32().unwrap(), "{folder}: {name}");
                }
                for (tensor, data) in linear.to_tensors(&name) {
                    let stored = checkpoint.tensor(&tensor).unwrap();
                    let actual = (data.dtype, &data.shape[..]);
                    assert_eq!(actual, (stored.dtype(), stored.shape()), "{folder}: {tensor}");
                    assert!(data.bytes == stored.bytes(), "{folder}: {tensor} does not come back");
                }
                n += 1;
            }
        }
        n
    });
}
