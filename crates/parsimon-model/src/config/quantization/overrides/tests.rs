use serde_json::json;

use super::*;

fn config(dynamic: serde_json::Value) -> GptqConfig {
    serde_json::from_value(
        json!({"quant_method": "gptq", "bits": 2, "group_size": 64, "ternary": true, "dynamic": dynamic}),
    )
    .unwrap()
}

#[test]
fn the_first_match_from_the_start_of_a_name_counts() {
    let config = config(json!({
        "+:lm_head$": {"bits": 8, "group_size": 32},
        r"model\.layers\.[01]\.mlp": {"bits": 4},
        r"-:model\.layers\.1\.mlp\.up": {},
    }));
    let of = |name: &str| gptq_of_layer(&config, name).map(|config| (config.bits, config.group_size, config.ternary));
    assert_eq!(of("lm_head"), Some((8, 32, false)));
    assert_eq!(of("model.layers.0.mlp.up_proj"), Some((4, 64, false)));
    assert_eq!(of("model.layers.1.mlp.up_proj"), None);
    assert_eq!(of("model.layers.2.mlp.up_proj"), Some((2, 64, true)));
    assert_eq!(of("x.lm_head"), Some((2, 64, true)));
    assert!(check(&config).is_ok());
}

#[test]
fn a_key_that_is_no_expression_is_an_error() {
    assert!(check(&config(json!({"+:(": {}}))).is_err());
}
