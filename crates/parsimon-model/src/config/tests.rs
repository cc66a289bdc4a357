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
        &["quant_method", "hqq", "gptq, awq, bitnet or vptq"],
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

#[track_caller]
fn check_family_error(model_type: &str, changes: Value, parts: &[&str]) {
    let mut json = json!({"model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 100});
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let text = parse(&json).expect_err("the configuration is wrong").to_string();
    for part in ["m/config.json"].iter().chain(parts) {
        assert!(text.contains(part), "`{text}` should name `{part}`");
    }
}

#[test]
fn errors_of_the_families_name_key_and_expectation() {
    let check = check_family_error;
    check("llama", json!({"hidden_act": "gelu"}), &["hidden_act", "gelu", "silu", "relu2"]);
    check("gemma", json!({"hidden_act": "silu", "hidden_activation": "erf"}), &["hidden_activation", "erf"]);
    check("qwen2", json!({"attention_bias": true}), &["attention_bias", "qwen2", "no such biases"]);
    check("mistral", json!({"mlp_bias": true}), &["mlp_bias", "mistral"]);
    check("mistral", json!({"sliding_window": 0}), &["sliding_window", "is 0"]);
    check("qwen3", json!({"head_dim": 7}), &["head_dim", "7", "even"]);
    check("gemma2", json!({"final_logit_softcapping": -1}), &["final_logit_softcapping", "-1", "positive"]);
    check("gemma2", json!({"layer_types": ["full_attention"]}), &["layer_types", "2 times"]);
    check(
        "gemma2",
        json!({"layer_types": ["full_attention", "linear"]}),
        &["layer_types", "linear", "sliding_attention"],
    );
    check("phi3", json!({"partial_rotary_factor": 2}), &["partial_rotary_factor", "is 2"]);
    check("phi3", json!({"partial_rotary_factor": 0.2}), &["partial_rotary_factor", "head_dim = 16", "even"]);
    let short = json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}});
    check("phi3", short, &["rope_scaling.short_factor", "8 positive numbers"]);
    check("llama", json!({"rope_scaling": {"rope_type": "yarn", "factor": 0}}), &["rope_scaling.factor", "positive"]);
    check("llama", json!({"rope_scaling": {"rope_type": "dynamic"}}), &["rope_scaling.factor", "missing"]);
    check("llama", json!({"rope_scaling": {"rope_type": "mrope"}}), &["mrope", "dynamic", "yarn", "longrope"]);
    let by_layer = json!({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}});
    check("llama", by_layer, &["rope_parameters.full_attention", "all layers"]);
    let bitnet = |key: &str, value: &str| json!({"quantization_config": {"quant_method": "bitnet", key: value}});
    check("bitnet", bitnet("linear_class", "magic"), &["quantization_config.linear_class", "magic", "autobitlinear"]);
    check("bitnet", bitnet("quantization_mode", "late"), &["quantization_config.quantization_mode", "late", "online"]);
    let awq = json!({"quantization_config": {"quant_method": "awq"}});
    check("llama", awq, &["quantization_config", "AWQ", "bits"]);
    check("llama", json!({"head_dim": 1 << 19}), &["head_dim", "together"]);
}

#[test]
fn windows_follow_the_rule_of_the_family() {
    let check = |model_type: &str, changes: Value, expected: [Option<usize>; 4]| {
        let mut json = json!({"model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
            "num_attention_heads": 4, "vocab_size": 100});
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let config = parse(&json).unwrap();
        assert_eq!([0, 1, 2, 3].map(|layer| config.window(layer)), expected, "{model_type} {changes}");
        assert_eq!(parse(&config.to_json()).unwrap(), config, "{model_type} round trips");
    };
    let some = Some(8);
    check("llama", json!({"sliding_window": 8}), [None; 4]);
    check("mistral", json!({"sliding_window": 8}), [some; 4]);
    check("mistral", json!({"sliding_window": null}), [None; 4]);
    check("mistral", json!({}), [Some(4096); 4]);
    check("phi3", json!({}), [None; 4]);
    check("phi3", json!({"sliding_window": 8}), [some; 4]);
    check("gemma2", json!({"sliding_window": 8}), [some, None, some, None]);
    check("qwen2", json!({"sliding_window": 8, "max_window_layers": 1}), [None; 4]);
    let sliding = json!({"sliding_window": 8, "max_window_layers": 1, "use_sliding_window": true});
    check("qwen2", sliding, [None, some, some, some]);
    let types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
    check(
        "qwen3",
        json!({"sliding_window": 8, "use_sliding_window": true, "layer_types": types}),
        [some, None, None, some],
    );
}

#[test]
fn the_generation_config_has_the_last_word_on_the_end() {
    let dir = tempfile::tempdir().unwrap();
    parsimon_core::io::write_json(&dir.path().join("config.json"), &sigma()).unwrap();
    assert_eq!(ModelConfig::open(dir.path()).unwrap().eos_token_ids, [0]);
    let write = |json: Value| parsimon_core::io::write_json(&dir.path().join("generation_config.json"), &json).unwrap();
    write(json!({"eos_token_id": [5, 7], "temperature": 0.6}));
    assert_eq!(ModelConfig::open(dir.path()).unwrap().eos_token_ids, [5, 7]);
    write(json!({"temperature": 0.6}));
    assert_eq!(ModelConfig::open(dir.path()).unwrap().eos_token_ids, [0]);
    write(json!({"eos_token_id": "none"}));
    let text = ModelConfig::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("generation_config.json") && text.contains("eos_token_id"), "{text}");
}

/// Both say the same; files name the version of GPTQ in either place.
#[test]
fn the_version_of_gptq_may_stand_in_the_name_of_the_quantizer() {
    use parsimon_core::quant::gptq::CheckpointFormat;
    let version = |more: Value| {
        let mut json = sigma();
        let mut quantization = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
        quantization.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json["quantization_config"] = quantization;
        match parse(&json).unwrap().quantization {
            Some(Quantization::Gptq(config)) => config.checkpoint_format,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(version(json!({})), CheckpointFormat::V1);
    assert_eq!(version(json!({"checkpoint_format": "gptq_v2"})), CheckpointFormat::V2);
    let meta = json!({"meta": {"quantizer": ["gptqmodel:1.4.0"], "format": "gptq_v2"}});
    assert_eq!(version(meta), CheckpointFormat::V2);
    assert_eq!(version(json!({"meta": {"quantizer": "gptqmodel:1.4.0"}})), CheckpointFormat::V1);
}

/// Every key of every family with every odd value: an error that names the file, or a configuration whose tables can be made.
#[test]
fn odd_values_are_errors_or_harmless() {
    let odd = [
        Value::Null,
        json!(-1),
        json!(0),
        json!(7),
        json!(1e300),
        json!(1e-300),
        json!(u64::MAX),
        json!("odd"),
        json!([]),
        json!([1, "a"]),
        json!({}),
        json!(true),
    ];
    let base = json!({"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 100, "head_dim": 16, "max_position_embeddings": 64, "sliding_window": 8,
        "use_sliding_window": true, "max_window_layers": 1, "rope_theta": 1e4, "rms_norm_eps": 1e-5, "eos_token_id": 2,
        "layer_types": ["sliding_attention", "full_attention"], "partial_rotary_factor": 0.5, "hidden_act": "silu",
        "query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0, "original_max_position_embeddings": 16,
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}});
    let scalings = [
        json!({"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
            "attention_factor": 1.0, "truncate": true}),
        json!({"rope_type": "longrope", "factor": 4.0, "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4]}),
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16}),
        json!({"rope_type": "dynamic", "factor": 2.0}),
    ];
    let (mut errors, mut harmless) = (0, 0);
    let mut check = |json: &Value| match parse(json) {
        Err(error) => {
            errors += 1;
            assert!(error.to_string().contains("m/config.json"), "{error}");
        }
        Ok(config) => {
            harmless += 1;
            let f = crate::RopeFrequencies::new(&config);
            assert_eq!(f.inv_freq_at(1000).len(), config.rotary_dim() / 2);
            assert!(config.context_length() >= config.max_position_embeddings && config.parameter_count() > 0);
        }
    };
    for (model_type, scaling) in Architecture::model_types().flat_map(|m| scalings.iter().map(move |s| (m, s))) {
        let mut json = base.clone();
        json["model_type"] = model_type.into();
        json["rope_scaling"] = scaling.clone();
        let keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
        let inner: Vec<String> = scaling.as_object().unwrap().keys().cloned().collect();
        for value in &odd {
            for key in &keys {
                let mut json = json.clone();
                json[key] = value.clone();
                check(&json);
            }
            for key in &inner {
                let mut json = json.clone();
                json["rope_scaling"][key] = value.clone();
                check(&json);
            }
        }
    }
    assert!(errors > 1000 && harmless > 1000, "{errors} errors, {harmless} harmless");
}
