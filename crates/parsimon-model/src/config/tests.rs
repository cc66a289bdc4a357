use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn sigma() -> Value {
    ModelConfig::sigma_tiny(8192).to_json()
}

fn parse(json: &Value) -> Result<ModelConfig, ConfigError> {
    ModelConfig::from_json(json, Path::new("m/config.json"))
}

#[track_caller]
fn check_error(change: impl FnOnce(&mut Value), parts: &[&str]) {
    let mut json = sigma();
    change(&mut json);
    let text = parse(&json).expect_err("the configuration is wrong").to_string();
    for part in ["m/config.json"].iter().chain(parts) {
        assert!(text.contains(part), "`{text}` should name `{part}`");
    }
}

#[test]
fn a_configuration_round_trips() {
    let mut config = ModelConfig::sigma_tiny(8192);
    assert_eq!(parse(&config.to_json()).unwrap(), config);
    config.rope_scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 128.0,
    };
    config.eos_token_ids = vec![1, 2];
    config.bos_token_id = Some(3);
    assert_eq!(parse(&config.to_json()).unwrap(), config);
}

#[test]
fn errors_name_file_key_value_and_expectation() {
    check_error(|c| c["model_type"] = "mamba".into(), &["model_type", "mamba", "llama", "bitnet"]);
    check_error(|c| c["num_attention_heads"] = 0.into(), &["num_attention_heads", "is 0"]);
    check_error(|c| c["num_key_heads"] = 3.into(), &["n_q = 4, n_k = 3, n_v = 2"]);
    check_error(|c| c["num_key_value_heads"] = 8.into(), &["num_key_value_heads", "is 8", "= 1", "= 2"]);
    check_error(|c| c["num_hidden_layers"] = 5000.into(), &["5000", "4096"]);
    check_error(|c| c["vocab_size"] = "many".into(), &["vocab_size", "many"]);
    check_error(|c| c["vocab_size"] = Value::Null, &["vocab_size", "missing"]);
    check_error(|c| c["hidden_act"] = "gelu".into(), &["hidden_act", "gelu", "silu"]);
    check_error(|c| c["rope_scaling"] = json!({"type": "magic"}), &["rope_scaling.rope_type", "magic"]);
    check_error(|c| c["rope_scaling"] = json!({"type": "linear"}), &["rope_scaling.factor", "missing"]);
    check_error(
        |c| c["quantization_config"] = json!({"quant_method": "hqq"}),
        &["quant_method", "hqq", "gptq, awq or bitnet"],
    );
    check_error(|c| c["quantization_config"] = json!({"quant_method": "gptq"}), &["quantization_config", "bits"]);
    check_error(|c| c["rms_norm_eps"] = (-1.0).into(), &["rms_norm_eps", "-1.0"]);
    assert!(parse(&json!([])).is_err());
}

#[test]
fn the_newer_rope_parameters_win() {
    let mut json = sigma();
    json["rope_parameters"] = json!({"rope_type": "linear", "rope_theta": 77.0, "factor": 2.0});
    let config = parse(&json).unwrap();
    assert_eq!((config.rope_theta, config.rope_scaling), (77.0, RopeScaling::Linear { factor: 2.0 }));
}

/// PAPER(sigma Table 14), parameter counts derived from it.
#[test]
fn sigma_parameter_counts_are_exact() {
    let sizes = |hidden_size, intermediate_size, aug_q_size, num_layers, head_dim| ModelConfig {
        hidden_size,
        intermediate_size,
        aug_q_size,
        num_layers,
        head_dim,
        heads: HeadMap::try_new(32, 4, 16).unwrap(),
        vocab_size: 128_256,
        tie_word_embeddings: true,
        ..ModelConfig::sigma_tiny(0)
    };
    let small = sizes(2048, 6144, 3072, 26, 64);
    assert_eq!(small.parameter_count(), 1_758_570_496 + 262_668_288);
    let large = sizes(4096, 14336, 6144, 32, 128);
    assert_eq!(large.parameter_count(), 9_462_616_064 + 525_336_576);
    assert_eq!(ModelConfig { tie_word_embeddings: false, ..small }.parameter_count(), 1_758_570_496 + 2 * 262_668_288);
}
