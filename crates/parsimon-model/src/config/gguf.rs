//! The metadata of a GGUF file, told in the keys of `config.json`, so that one parser checks both.

use std::path::Path;

use parsimon_core::io::gguf::{Gguf, Value};
use serde_json::{Map, Value as Json, json};

use super::{ConfigError, ModelConfig, raw};

/// `general.architecture`, the family, and the function of the feed-forward network where it is not the family's.
const ARCHITECTURES: [(&str, &str, Option<&str>); 9] = [
    ("llama", "llama", None),
    ("qwen2", "qwen2", None),
    ("qwen3", "qwen3", None),
    ("phi3", "phi3", None),
    ("gemma", "gemma", None),
    ("gemma2", "gemma2", None),
    // The 2024 models, whose runtime in llama.cpp has SiLU; the later ones of bitnet.cpp square.
    ("bitnet", "bitnet", Some("silu")),
    ("bitnet-b1.58", "bitnet", Some("relu2")),
    ("bitnet-25", "bitnet", Some("relu2")),
];

/// Keys below the architecture's name and what `config.json` calls them.
const KEYS: [(&str, &str); 12] = [
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("rope.freq_base", "rope_theta"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
];

impl ModelConfig {
    /// The configuration of a GGUF file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the file, the key as the file has it, the value, and what was expected.
    pub fn from_gguf(file: &Gguf) -> Result<Self, ConfigError> {
        let name = file.str("general.architecture")?;
        let Some(&(arch, model_type, act)) = ARCHITECTURES.iter().find(|known| known.0 == name) else {
            let supported = ARCHITECTURES.map(|known| known.0).join(", ");
            return Err(wrong(file, "general.architecture", name, format!("one of {supported}")));
        };
        let reader = Reader { file, arch };
        let mut json = reader.json(model_type)?;
        if let Some(act) = act {
            json["hidden_act"] = act.into();
        }
        let mut config = raw::parse(&json, file.path()).map_err(|error| reader.renamed(error))?;
        let has = |tensor: &str| file.info(tensor).is_some();
        let block = &mut config.block;
        // The file's norms hold `1 + w`, and its tensors say which biases there are.
        block.norm_plus_one = false;
        block.qkv_bias |= has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
        block.o_bias = has("blk.0.attn_output.bias");
        block.mlp_bias = has("blk.0.ffn_down.bias");
        if let Some(scale) = reader.f64("attention.scale").filter(|&scale| scale.is_finite() && scale > 0.0) {
            block.attn_scale = Some(scale as f32);
        }
        config.tie_word_embeddings = !has("output.weight");
        Ok(config)
    }
}

struct Reader<'a> {
    file: &'a Gguf,
    arch: &'a str,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn f64(&self, name: &str) -> Option<f64> {
        let value = self.file.get(&self.key(name))?;
        value.as_f64().or(value.as_u64().map(|v| v as f64))
    }

    fn u64(&self, name: &str) -> Option<u64> {
        self.file.get(&self.key(name))?.as_u64()
    }

    fn json(&self, model_type: &str) -> Result<Json, ConfigError> {
        let mut json = Map::new();
        json.insert("model_type".into(), model_type.into());
        for (name, key) in KEYS {
            let Some(value) = self.file.get(&self.key(name)) else { continue };
            json.insert(key.into(), number(&value));
        }
        // 0 stands for no window and no cap.
        for key in ["sliding_window", "attn_logit_softcapping", "final_logit_softcapping"] {
            if json.get(key).and_then(Json::as_f64) == Some(0.0) {
                json.insert(key.into(), Json::Null);
            }
        }
        let heads = self.u64("attention.head_count").filter(|&heads| heads > 0);
        if let (None, Some(hidden), Some(heads)) = (json.get("head_dim"), self.u64("embedding_length"), heads) {
            json.insert("head_dim".into(), (hidden / heads).into());
        }
        let head_dim = json.get("head_dim").and_then(Json::as_u64);
        if let (Some(values), Some(keys)) = (self.u64("attention.value_length"), head_dim)
            && values != keys
        {
            let expected = format!("{keys}, the width of keys");
            return Err(wrong(self.file, &self.key("attention.value_length"), values, expected));
        }
        if let (Some(rotary), Some(d)) = (self.u64("rope.dimension_count"), head_dim.filter(|&d| d > 0))
            && rotary != d
        {
            json.insert("partial_rotary_factor".into(), (rotary as f64 / d as f64).into());
        }
        if let Some(scaling) = self.scaling()? {
            json.insert("rope_scaling".into(), scaling);
        }
        if let Some(scalar) = self.query_scalar(model_type, head_dim) {
            json.insert("query_pre_attn_scalar".into(), scalar.into());
        }
        json.insert("vocab_size".into(), self.vocab_size().into());
        let token = |name: &str| self.file.get(&format!("tokenizer.ggml.{name}_token_id")).and_then(|id| id.as_u64());
        json.insert("bos_token_id".into(), token("bos").into());
        let mut ends: Vec<u64> = ["eos", "eot"].into_iter().filter_map(token).collect();
        ends.dedup();
        json.insert("eos_token_id".into(), ends.into());
        Ok(Json::Object(json))
    }

    /// Rows of the embedding table, which are what the logits have.
    fn vocab_size(&self) -> Option<u64> {
        let table = self.file.info("token_embd.weight").and_then(|info| info.shape.first().map(|&rows| rows as u64));
        table.or_else(|| self.u64("vocab_size"))
    }

    /// What scores are divided by the root of, in Gemma 2: the width of a head, but for the model of 46 blocks.
    fn query_scalar(&self, model_type: &str, head_dim: Option<u64>) -> Option<u64> {
        if model_type != "gemma2" {
            return None;
        }
        match (self.u64("block_count"), self.u64("embedding_length"), self.u64("attention.head_count")) {
            (Some(46), Some(hidden), Some(heads)) if heads > 0 => Some(hidden / heads),
            _ => head_dim,
        }
    }

    /// The scaling of the rotation: tensors of divisors, or the keys.
    fn scaling(&self) -> Result<Option<Json>, ConfigError> {
        let original = self.u64("rope.scaling.original_context_length").or_else(|| self.u64("context_length"));
        let attention = self.f64("rope.scaling.yarn_attn_factor").or_else(|| self.f64("rope.scaling.attn_factor"));
        if let Some(divisors) = self.divisors("rope_freqs.weight")? {
            return Ok(Some(json!({
                "rope_type": "longrope",
                "short_factor": divisors,
                "long_factor": divisors,
                "attention_factor": 1.0,
                "original_max_position_embeddings": original,
            })));
        }
        let (short, long) = (self.divisors("rope_factors_short.weight")?, self.divisors("rope_factors_long.weight")?);
        if let (Some(short), Some(long)) = (short, long) {
            return Ok(Some(json!({
                "rope_type": "longrope",
                "short_factor": short,
                "long_factor": long,
                "attention_factor": attention,
                "original_max_position_embeddings": original,
            })));
        }
        let factor = self.f64("rope.scaling.factor").or_else(|| self.f64("rope.scale_linear"));
        let kind = self.file.get(&self.key("rope.scaling.type"));
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or(if factor.is_some() { "linear" } else { "none" });
        match (kind, factor) {
            ("none", _) | ("linear", None) => Ok(None),
            ("linear", Some(factor)) => Ok(Some(json!({"rope_type": "linear", "factor": factor}))),
            ("yarn", Some(factor)) => Ok(Some(json!({
                "rope_type": "yarn",
                "factor": factor,
                "attention_factor": attention.map(|attention| attention * (0.1 * factor.max(1.0).ln() + 1.0)),
                "beta_fast": self.f64("rope.scaling.yarn_beta_fast"),
                "beta_slow": self.f64("rope.scaling.yarn_beta_slow"),
                "original_max_position_embeddings": original,
            }))),
            (kind, _) => {
                let expected = "none, linear or yarn with a factor, or tensors of factors".to_owned();
                Err(wrong(self.file, &self.key("rope.scaling.type"), kind, expected))
            }
        }
    }

    fn divisors(&self, tensor: &str) -> Result<Option<Vec<f32>>, ConfigError> {
        if self.file.info(tensor).is_none() {
            return Ok(None);
        }
        let values = self.file.tensor(tensor)?.to_f32();
        values.map(Some).map_err(|e| wrong(self.file, tensor, "not a vector of floats", e.to_string()))
    }

    /// The same error in the words of the file.
    fn renamed(&self, error: ConfigError) -> ConfigError {
        let name = |key: String| match KEYS.iter().find(|known| known.1 == key) {
            Some((name, _)) => self.key(name),
            None => key,
        };
        match error {
            ConfigError::Missing { file, key, expected } => ConfigError::Missing { file, key: name(key), expected },
            ConfigError::Value { file, key, value, expected } => {
                ConfigError::Value { file, key: name(key), value, expected }
            }
            other => other,
        }
    }
}

/// A number as JSON; anything else as its text, which the parser then names.
fn number(value: &Value<'_>) -> Json {
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => whole.into(),
        // Through the shortest decimal form of an `f32`.
        (None, Some(float)) => (float as f32).to_string().parse::<f64>().map_or(Json::Null, Json::from),
        (None, None) => format!("{:?}", value.value_type()).into(),
    }
}

fn wrong(file: &Gguf, key: &str, value: impl ToString, expected: String) -> ConfigError {
    let file: &Path = file.path();
    ConfigError::Value { file: file.to_owned(), key: key.to_owned(), value: value.to_string(), expected }
}
