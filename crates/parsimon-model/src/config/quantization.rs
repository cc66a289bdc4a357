//! `quantization_config`: how the projections of a checkpoint are packed.

mod overrides;

pub(crate) use overrides::gptq_of_layer;
use parsimon_core::quant::gptq::GptqConfig;
use parsimon_core::quant::packed::awq::AwqConfig;
use parsimon_core::quant::packed::bitnet::ScaleRule;
use parsimon_vq::{CheckpointError, CheckpointErrorKind, QuantizationConfig};
use serde_json::{Value, json};

use super::ConfigError;
use super::keys::Keys;

/// How the projections inside the blocks are packed.
#[derive(Clone, PartialEq, Debug)]
pub enum Quantization {
    /// `quant_method` "gptq": 2, 3, 4 or 8 bits, act-order included.
    Gptq(GptqConfig),
    /// `quant_method` "awq", version gemm.
    Awq(AwqConfig),
    /// `quant_method` "bitnet": ternary weights on activations of 8 bits, one scale a token.
    BitNet(BitNetConfig),
    /// `quant_method` "vptq": codebooks, layer by layer.
    Vptq(QuantizationConfig),
}

/// The `quantization_config` of BitNet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitNetConfig {
    /// What `weight_scale` does (`linear_class`).
    pub rule: ScaleRule,
    /// Whether files hold float weights that are made ternary when they are read (`quantization_mode` "online").
    pub online: bool,
}

impl Quantization {
    /// The `quant_method`.
    pub fn method(&self) -> &'static str {
        match self {
            Quantization::Gptq(_) => "gptq",
            Quantization::Awq(_) => "awq",
            Quantization::BitNet(_) => "bitnet",
            Quantization::Vptq(_) => "vptq",
        }
    }
}

pub(super) fn parse(keys: &Keys<'_>) -> Result<Option<Quantization>, ConfigError> {
    const METHODS: &str = "gptq, awq, bitnet or vptq";
    let Some(value) = keys.get("quantization_config") else { return Ok(None) };
    let inner = Keys::new(keys.path, "quantization_config.", value)?;
    let fields = |method: &str, e: serde_json::Error| {
        keys.error("quantization_config", value, format!("the keys of {method} ({e})"))
    };
    Ok(Some(match inner.text("quant_method")? {
        Some("gptq") => {
            let mut config: GptqConfig = serde_json::from_value(value.clone()).map_err(|e| fields("GPTQ", e))?;
            // Some files say their version in the name of the quantizer alone.
            if inner.get("checkpoint_format").is_none() && is_version_2(value) {
                config.checkpoint_format = parsimon_core::quant::gptq::CheckpointFormat::V2;
            }
            let unknown =
                |e| keys.error("quantization_config", value, format!("regular expressions in `dynamic` ({e})"));
            overrides::check(&config).map_err(unknown)?;
            Quantization::Gptq(config)
        }
        Some("awq") => Quantization::Awq(serde_json::from_value(value.clone()).map_err(|e| fields("AWQ", e))?),
        Some("bitnet") => Quantization::BitNet(bitnet(&inner)?),
        Some("vptq") => Quantization::Vptq(
            QuantizationConfig::from_json(value)
                .map_err(|kind| CheckpointError { file: keys.path.to_owned(), kind })?,
        ),
        Some(method) => {
            let kind = CheckpointErrorKind::UnknownMethod { found: method.to_owned(), known: METHODS };
            return Err(CheckpointError { file: keys.path.to_owned(), kind }.into());
        }
        None => return Err(inner.missing("quant_method", METHODS)),
    }))
}

fn is_version_2(value: &Value) -> bool {
    let quantizer = |text: &str| text.starts_with("gptqmodel") && value["meta"]["format"] == "gptq_v2";
    match &value["meta"]["quantizer"] {
        Value::String(text) => quantizer(text),
        Value::Array(all) => all.iter().filter_map(Value::as_str).any(quantizer),
        _ => false,
    }
}

fn bitnet(inner: &Keys<'_>) -> Result<BitNetConfig, ConfigError> {
    let class = inner.text("linear_class")?;
    let rule = ScaleRule::from_linear_class(class)
        .map_err(|_| inner.error("linear_class", &class.unwrap_or_default().into(), "autobitlinear or bitlinear"))?;
    if inner.flag("use_rms_norm")? == Some(true) {
        return Err(inner.error("use_rms_norm", &true.into(), "false (norms inside linear layers are not supported)"));
    }
    match inner.text("quantization_mode")? {
        None | Some("offline") => Ok(BitNetConfig { rule, online: false }),
        Some("online") => Ok(BitNetConfig { rule, online: true }),
        Some(mode) => Err(inner.error("quantization_mode", &mode.into(), "offline or online")),
    }
}

pub(super) fn render(quantization: &Quantization) -> Value {
    match quantization {
        Quantization::Gptq(config) => serde_json::to_value(config).expect("plain fields serialize"),
        Quantization::Awq(config) => {
            let mut json = serde_json::to_value(config).expect("plain fields serialize");
            json["quant_method"] = "awq".into();
            json
        }
        Quantization::BitNet(BitNetConfig { rule, online }) => json!({
            "quant_method": "bitnet",
            "linear_class": if *rule == ScaleRule::Multiply { "autobitlinear" } else { "bitlinear" },
            "quantization_mode": if *online { "online" } else { "offline" },
        }),
        Quantization::Vptq(config) => config.to_json(),
    }
}
