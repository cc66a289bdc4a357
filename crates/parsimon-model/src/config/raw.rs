//! The keys of `config.json`, their defaults, and their checks.

use std::path::Path;

use parsimon_attn::HeadMap;
use serde_json::{Map, Value, json};

use super::{Architecture, ConfigError, ModelConfig, RopeScaling};

const LAYERS_MAX: u64 = 4096;
const VOCAB_MAX: u64 = 1 << 24;
const WIDTH_MAX: u64 = 1 << 20;
const HEADS_MAX: u64 = 4096;
const CONTEXT_MAX: u64 = 1 << 31;

/// A JSON object with the path that messages name.
struct Keys<'a> {
    path: &'a Path,
    prefix: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    fn new(path: &'a Path, prefix: &'a str, value: &'a Value) -> Result<Self, ConfigError> {
        let object = value.as_object().ok_or_else(|| ConfigError::Value {
            file: path.to_owned(),
            key: prefix.trim_end_matches('.').to_owned(),
            value: shown(value),
            expected: "an object".into(),
        })?;
        Ok(Keys { path, prefix, object })
    }

    /// The value of a key; null counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn error(&self, key: &str, value: &Value, expected: impl Into<String>) -> ConfigError {
        let key = format!("{}{key}", self.prefix);
        ConfigError::Value { file: self.path.to_owned(), key, value: shown(value), expected: expected.into() }
    }

    fn missing(&self, key: &str, expected: &'static str) -> ConfigError {
        ConfigError::Missing { file: self.path.to_owned(), key: format!("{}{key}", self.prefix), expected }
    }

    fn count(&self, key: &str, limit: u64) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (1..=limit).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.error(key, value, format!("a whole number in 1..={limit}"))),
        }
    }

    fn required_count(&self, key: &str, limit: u64) -> Result<usize, ConfigError> {
        self.count(key, limit)?.ok_or_else(|| self.missing(key, "a positive whole number"))
    }

    fn positive(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            _ => Err(self.error(key, value, "a positive number")),
        }
    }

    fn required_positive(&self, key: &str) -> Result<f64, ConfigError> {
        self.positive(key)?.ok_or_else(|| self.missing(key, "a positive number"))
    }

    fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.error(key, value, "true or false")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.error(key, value, "a string")),
        }
    }

    /// Token ids: one number or a list.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match value {
            Value::Array(ids) => ids.iter().map(one).collect::<Option<Vec<u32>>>(),
            value => one(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.error(key, value, "a token id or a list of token ids"))
    }
}

/// A value for a message, cut to a readable length.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(77).chain("...".chars()).collect() }
}

pub(super) fn parse(json: &Value, path: &Path) -> Result<ModelConfig, ConfigError> {
    let keys = Keys::new(path, "", json)?;
    let architecture = match keys.text("model_type")?.ok_or_else(|| keys.missing("model_type", "llama or sigma"))? {
        "llama" => Architecture::Llama,
        "sigma" => Architecture::Sigma,
        _ => return Err(keys.error("model_type", &keys.object["model_type"], "llama or sigma")),
    };
    if let Some(act) = keys.text("hidden_act")?.filter(|&act| act != "silu") {
        return Err(keys.error("hidden_act", &act.into(), "silu"));
    }
    for key in ["attention_bias", "mlp_bias"] {
        if keys.flag(key)? {
            return Err(keys.error(key, &Value::Bool(true), "false (biases are not supported)"));
        }
    }
    if let Some(value) = keys.get("k_head_dim") {
        return Err(keys.error("k_head_dim", value, "no key (K compression is not supported)"));
    }
    let hidden_size = keys.required_count("hidden_size", WIDTH_MAX)?;
    let heads = parse_heads(&keys)?;
    let head_dim = match keys.count("head_dim", WIDTH_MAX)? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(heads.n_q()) => hidden_size / heads.n_q(),
        None => {
            let expected = format!("a divisor of hidden_size = {hidden_size}, or a `head_dim`");
            return Err(keys.error("num_attention_heads", &heads.n_q().into(), expected));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(keys.error("head_dim", &head_dim.into(), "an even number (rotary halves)"));
    }
    let (rope_theta, rope_scaling) = parse_rope(&keys)?;
    Ok(ModelConfig {
        architecture,
        vocab_size: keys.required_count("vocab_size", VOCAB_MAX)?,
        hidden_size,
        intermediate_size: keys.required_count("intermediate_size", WIDTH_MAX)?,
        num_layers: keys.required_count("num_hidden_layers", LAYERS_MAX)?,
        heads,
        head_dim,
        aug_q_size: parse_aug_q(&keys, architecture)?,
        rms_norm_eps: keys.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope_theta,
        rope_scaling,
        max_position_embeddings: keys.count("max_position_embeddings", CONTEXT_MAX)?.unwrap_or(2048),
        tie_word_embeddings: keys.flag("tie_word_embeddings")?,
        bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
        eos_token_ids: keys.tokens("eos_token_id")?,
        quantization: parse_quantization(&keys)?,
    })
}

/// `num_key_value_heads` sets both counts; Sigma's own keys set them apart.
fn parse_heads(keys: &Keys<'_>) -> Result<HeadMap, ConfigError> {
    let n_q = keys.required_count("num_attention_heads", HEADS_MAX)?;
    let shared = keys.count("num_key_value_heads", HEADS_MAX)?;
    let n_k = keys.count("num_key_heads", HEADS_MAX)?;
    let n_v = keys.count("num_value_heads", HEADS_MAX)?;
    if let (Some(kv), Some(own)) = (shared, n_k.into_iter().chain(n_v).find(|&own| Some(own) != shared)) {
        let (k, v) = (n_k.unwrap_or(kv), n_v.unwrap_or(kv));
        let expected = format!("no contradiction: num_key_heads = {k}, num_value_heads = {v} ({own} differs)");
        return Err(keys.error("num_key_value_heads", &kv.into(), expected));
    }
    let (n_k, n_v) = (n_k.or(shared).unwrap_or(n_q), n_v.or(shared).unwrap_or(n_q));
    HeadMap::try_new(n_q, n_k, n_v).map_err(|e| keys.error("num_attention_heads", &n_q.into(), e.to_string()))
}

fn parse_aug_q(keys: &Keys<'_>, architecture: Architecture) -> Result<usize, ConfigError> {
    match keys.get("aug_q_size") {
        None => Ok(0),
        Some(value) if value.as_u64() == Some(0) => Ok(0),
        Some(value) if architecture != Architecture::Sigma => Err(keys.error("aug_q_size", value, "model_type sigma")),
        Some(_) => Ok(keys.count("aug_q_size", WIDTH_MAX)?.unwrap_or(0)),
    }
}

/// `rope_theta` and `rope_scaling`, or the newer `rope_parameters` that holds both.
fn parse_rope(keys: &Keys<'_>) -> Result<(f64, RopeScaling), ConfigError> {
    const THETA_DEFAULT: f64 = 10_000.0;
    let theta = keys.positive("rope_theta")?;
    let (prefix, value) = match (keys.get("rope_parameters"), keys.get("rope_scaling")) {
        (Some(value), _) => ("rope_parameters.", value),
        (None, Some(value)) => ("rope_scaling.", value),
        (None, None) => return Ok((theta.unwrap_or(THETA_DEFAULT), RopeScaling::Default)),
    };
    let scaling = Keys::new(keys.path, prefix, value)?;
    let theta = scaling.positive("rope_theta")?.or(theta).unwrap_or(THETA_DEFAULT);
    let kind = scaling.text("rope_type")?.or(scaling.text("type")?).unwrap_or("default");
    let scaling = match kind {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor: scaling.required_positive("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: scaling.required_positive("factor")?,
            low_freq_factor: scaling.required_positive("low_freq_factor")?,
            high_freq_factor: scaling.required_positive("high_freq_factor")?,
            original_max_position_embeddings: scaling.required_positive("original_max_position_embeddings")?,
        },
        kind => return Err(scaling.error("rope_type", &kind.into(), "default, linear or llama3")),
    };
    Ok((theta, scaling))
}

fn parse_quantization(keys: &Keys<'_>) -> Result<Option<parsimon_core::quant::gptq::GptqConfig>, ConfigError> {
    let Some(value) = keys.get("quantization_config") else { return Ok(None) };
    let inner = Keys::new(keys.path, "quantization_config.", value)?;
    match inner.text("quant_method")? {
        Some("gptq") => {}
        Some(method) => return Err(inner.error("quant_method", &method.into(), "gptq")),
        None => return Err(inner.missing("quant_method", "gptq")),
    }
    let config = serde_json::from_value(value.clone())
        .map_err(|e| keys.error("quantization_config", value, format!("GPTQ's keys ({e})")))?;
    Ok(Some(config))
}

pub(super) fn render(config: &ModelConfig) -> Value {
    let class = match config.architecture {
        Architecture::Llama => "LlamaForCausalLM",
        Architecture::Sigma => "SigmaForCausalLM",
    };
    let mut json = json!({
        "architectures": [class],
        "model_type": config.architecture.model_type(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.heads.n_q(),
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        // Through the shortest decimal form, so that 1e-5 does not become 9.99999974e-6.
        "rms_norm_eps": config.rms_norm_eps.to_string().parse::<f64>().expect("a float's text is a number"),
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": "float32",
    });
    match config.architecture {
        Architecture::Llama => json["num_key_value_heads"] = config.heads.n_k().into(),
        Architecture::Sigma => {
            json["num_key_heads"] = config.heads.n_k().into();
            json["num_value_heads"] = config.heads.n_v().into();
            json["aug_q_size"] = config.aug_q_size.into();
        }
    }
    match config.rope_scaling {
        RopeScaling::Default => {}
        RopeScaling::Linear { factor } => json["rope_scaling"] = json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            json["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            });
        }
    }
    if let Some(bos) = config.bos_token_id {
        json["bos_token_id"] = bos.into();
    }
    match config.eos_token_ids.as_slice() {
        [] => {}
        [eos] => json["eos_token_id"] = (*eos).into(),
        many => json["eos_token_id"] = many.into(),
    }
    if let Some(quantization) = &config.quantization {
        json["quantization_config"] = serde_json::to_value(quantization).expect("plain fields serialize");
    }
    json
}
