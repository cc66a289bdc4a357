//! The keys of `config.json`, their defaults, and their checks.

use std::collections::HashSet;
use std::path::Path;

use parsimon_attn::HeadMap;
use parsimon_vq::CheckpointError;
use serde_json::{Value, json};

use super::family::Family;
use super::keys::Keys;
use super::scaling::{Rotation, rotary_dim};
use super::{Activation, Architecture, BlockTraits, ConfigError, ModelConfig, Quantization, quantization, scaling};

const LAYERS_MAX: u64 = 4096;
const VOCAB_MAX: u64 = 1 << 24;
const WIDTH_MAX: u64 = 1 << 20;
const HEADS_MAX: u64 = 4096;
pub(super) const CONTEXT_MAX: u64 = 1 << 31;

pub(super) fn parse(json: &Value, path: &Path) -> Result<ModelConfig, ConfigError> {
    let keys = Keys::new(path, "", json)?;
    let family = parse_family(&keys)?;
    let hidden_size = keys.required_count("hidden_size", WIDTH_MAX)?;
    let heads = parse_heads(&keys)?;
    let head_dim = parse_head_dim(&keys, family, hidden_size, heads)?;
    let max_position_embeddings = keys.count("max_position_embeddings", CONTEXT_MAX)?.unwrap_or(2048);
    let num_layers = keys.required_count("num_hidden_layers", LAYERS_MAX)?;
    let rotation = Rotation {
        architecture: family.architecture,
        theta_default: family.rope_theta,
        head_dim,
        max_position_embeddings,
        keys: &keys,
    };
    let rope = rotation.parse()?;
    let mut block = parse_block(&keys, family, hidden_size, num_layers)?;
    block.partial_rotary_factor = rope.partial_rotary_factor;
    if let Some(value) = keys.get("k_head_dim") {
        return Err(keys.error("k_head_dim", value, "no key (K compression is not supported)"));
    }
    let config = ModelConfig {
        architecture: family.architecture,
        vocab_size: keys.required_count("vocab_size", VOCAB_MAX)?,
        hidden_size,
        intermediate_size: keys.required_count("intermediate_size", WIDTH_MAX)?,
        num_layers,
        heads,
        head_dim,
        aug_q_size: parse_aug_q(&keys, family.architecture)?,
        rms_norm_eps: keys.positive("rms_norm_eps")?.unwrap_or(family.rms_norm_eps) as f32,
        rope_theta: rope.theta,
        rope_scaling: rope.scaling,
        max_position_embeddings,
        tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(family.tied),
        bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
        eos_token_ids: keys.tokens("eos_token_id")?,
        quantization: quantization::parse(&keys)?,
        block,
    };
    check_quantized_layers(&config, path)?;
    Ok(config)
}

/// Whether every layer that a quantization names is one of the model's.
fn check_quantized_layers(config: &ModelConfig, path: &Path) -> Result<(), ConfigError> {
    let Some(Quantization::Vptq(quantization)) = &config.quantization else { return Ok(()) };
    let known: HashSet<String> = (0..config.num_layers)
        .flat_map(|layer| config.stored_projections(layer))
        .map(|(name, ..)| name)
        .chain(["lm_head".to_owned()])
        .collect();
    let checked = quantization.check_layers(|name| known.contains(name));
    Ok(checked.map_err(|kind| CheckpointError { file: path.to_owned(), kind })?)
}

fn parse_family(keys: &Keys<'_>) -> Result<&'static Family, ConfigError> {
    let Some(model_type) = keys.text("model_type")? else {
        return Err(keys.missing("model_type", "the name of a family such as llama"));
    };
    Architecture::from_model_type(model_type).ok_or_else(|| {
        let supported: Vec<&str> = Architecture::model_types().collect();
        keys.error("model_type", &model_type.into(), format!("one of {}", supported.join(", ")))
    })
}

fn parse_head_dim(keys: &Keys<'_>, family: &Family, hidden: usize, heads: HeadMap) -> Result<usize, ConfigError> {
    let head_dim = match keys.count("head_dim", WIDTH_MAX)?.or(family.head_dim) {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads.n_q()) => hidden / heads.n_q(),
        None => {
            let expected = format!("a divisor of hidden_size = {hidden}, or a `head_dim`");
            return Err(keys.error("num_attention_heads", &heads.n_q().into(), expected));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(keys.error("head_dim", &head_dim.into(), "an even number (rotary halves)"));
    }
    // Together they bound the size of a projection.
    if head_dim.saturating_mul(heads.n_q()) as u64 > WIDTH_MAX {
        return Err(keys.error("head_dim", &head_dim.into(), format!("heads of at most {WIDTH_MAX} together")));
    }
    Ok(head_dim)
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

/// What the family and its keys say of the blocks, but for the rotation.
fn parse_block(keys: &Keys<'_>, family: &Family, hidden: usize, layers: usize) -> Result<BlockTraits, ConfigError> {
    use Architecture::*;
    let bias = |key: &str, known: bool| match keys.flag(key)? {
        Some(true) if !known => {
            let expected = format!("false (a {} model has no such biases)", family.model_type);
            Err(keys.error(key, &true.into(), expected))
        }
        flag => Ok(flag.unwrap_or(false)),
    };
    let attention_bias = bias("attention_bias", family.attention_bias)?;
    let gemma = matches!(family.architecture, Gemma | Gemma2);
    let caps = family.architecture == Gemma2;
    let cap = |key: &str, absent: f64| match keys.object.get(key) {
        None if caps => Ok(Some(absent as f32)),
        _ if !caps => Ok(None),
        _ => Ok::<_, ConfigError>(keys.positive(key)?.map(|cap| cap as f32)),
    };
    let scalar = if caps { Some(keys.positive("query_pre_attn_scalar")?.unwrap_or(256.0)) } else { None };
    Ok(BlockTraits {
        act: parse_act(keys, family, gemma)?,
        qkv_bias: attention_bias || family.architecture == Qwen2,
        o_bias: attention_bias,
        mlp_bias: bias("mlp_bias", family.architecture == Llama)?,
        qk_norm: family.architecture == Qwen3,
        post_norms: family.architecture == Gemma2,
        sub_norms: family.architecture == BitNet,
        norm_plus_one: gemma,
        fused: family.architecture == Phi3,
        embed_scale: gemma.then(|| (hidden as f32).sqrt()),
        attn_scale: scalar.map(|scalar| scalar.powf(-0.5) as f32),
        attn_soft_cap: cap("attn_logit_softcapping", 50.0)?,
        logit_soft_cap: cap("final_logit_softcapping", 30.0)?,
        partial_rotary_factor: 1.0,
        windows: parse_windows(keys, family, layers)?,
    })
}

/// `hidden_activation` wins over `hidden_act`; Gemma's "gelu" means the tangent form.
fn parse_act(keys: &Keys<'_>, family: &Family, gemma: bool) -> Result<Activation, ConfigError> {
    for key in ["hidden_activation", "hidden_act"] {
        let Some(name) = keys.text(key)? else { continue };
        let known = Activation::from_name(if gemma && name == "gelu" { "gelu_pytorch_tanh" } else { name });
        return known.ok_or_else(|| keys.error(key, &name.into(), format!("one of {}", Activation::names())));
    }
    Ok(family.act)
}

/// `layer_types` where it is there, else the rule of the family.
fn parse_windows(keys: &Keys<'_>, family: &Family, layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
    use Architecture::*;
    let mut size = match keys.object.get("sliding_window") {
        None => family.sliding_window,
        Some(_) => keys.count("sliding_window", CONTEXT_MAX)?,
    };
    // The first layer that slides, and every how many.
    let (first, step) = match family.architecture {
        Mistral | Phi3 => (0, 1),
        Gemma2 => (0, 2),
        Qwen2 | Qwen3 => {
            let first = match keys.get("max_window_layers") {
                Some(value) if value.as_u64() == Some(0) => 0,
                _ => keys.count("max_window_layers", LAYERS_MAX)?.unwrap_or(28),
            };
            if keys.flag("use_sliding_window")? != Some(true) {
                size = None;
            }
            (first, 1)
        }
        Llama | Sigma | Gemma | BitNet => return Ok(Vec::new()),
    };
    let Some(size) = size else { return Ok(Vec::new()) };
    let slides: Vec<bool> = match keys.get("layer_types") {
        None => (0..layers).map(|layer| layer >= first && (layer - first).is_multiple_of(step)).collect(),
        Some(value) => {
            let one = |value: &Value| match value.as_str() {
                Some("full_attention") => Some(false),
                Some("sliding_attention") => Some(true),
                _ => None,
            };
            let types = value.as_array().filter(|types| types.len() == layers);
            let types = types.and_then(|types| types.iter().map(one).collect());
            let expected = || format!("{layers} times full_attention or sliding_attention");
            types.ok_or_else(|| keys.error("layer_types", value, expected()))?
        }
    };
    if !slides.contains(&true) {
        return Ok(Vec::new());
    }
    Ok(slides.into_iter().map(|slides| slides.then_some(size)).collect())
}

pub(super) fn render(config: &ModelConfig) -> Value {
    let family = config.architecture.family();
    let mut json = json!({
        "architectures": [family.class],
        "model_type": family.model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.heads.n_q(),
        "head_dim": config.head_dim,
        "hidden_act": config.block.act.name(),
        "rms_norm_eps": decimal(config.rms_norm_eps),
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": "float32",
    });
    if config.architecture == Architecture::Sigma {
        json["num_key_heads"] = config.heads.n_k().into();
        json["num_value_heads"] = config.heads.n_v().into();
        json["aug_q_size"] = config.aug_q_size.into();
    } else {
        json["num_key_value_heads"] = config.heads.n_k().into();
    }
    render_block(config, family, &mut json);
    if let Some(value) = scaling::render(&config.rope_scaling) {
        json["rope_scaling"] = value;
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
        json["quantization_config"] = quantization::render(quantization);
    }
    json
}

fn render_block(config: &ModelConfig, family: &Family, json: &mut Value) {
    let block = &config.block;
    if family.attention_bias && block.o_bias {
        json["attention_bias"] = true.into();
    }
    if block.mlp_bias {
        json["mlp_bias"] = true.into();
    }
    if rotary_dim(config.head_dim, block.partial_rotary_factor) != config.head_dim {
        json["partial_rotary_factor"] = block.partial_rotary_factor.into();
    }
    if config.architecture == Architecture::Gemma2 {
        // Null is no cap; without the key there is one.
        json["attn_logit_softcapping"] = block.attn_soft_cap.map(decimal).into();
        json["final_logit_softcapping"] = block.logit_soft_cap.map(decimal).into();
        let scalar = block.attn_scale.map(|scale| f64::from(scale).powi(-2));
        // The scalar is a whole number of heads' widths in every file; the root and its inverse only blur it.
        json["query_pre_attn_scalar"] = scalar.map(|scalar| (scalar * 1e3).round() / 1e3).into();
    }
    if family.sliding_window.is_some() || !block.windows.is_empty() {
        let size = block.windows.iter().flatten().next();
        json["sliding_window"] = size.copied().into();
        if let Some(size) = size {
            json["use_sliding_window"] = true.into();
            json["sliding_window"] = (*size).into();
            let name = |window: &Option<usize>| if window.is_some() { "sliding_attention" } else { "full_attention" };
            json["layer_types"] = block.windows.iter().map(name).collect::<Vec<_>>().into();
        }
    }
}

/// Through the shortest decimal form, so that 1e-5 does not become 9.99999974e-6.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a float's text is a number")
}
