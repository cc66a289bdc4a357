//! What a GGUF file holds.

use std::path::Path;

use parsimon::model::ModelConfig;
use parsimon::tensor::io::gguf::{Gguf, OpenOptions, Value};
use parsimon::tensor::quant::BlockType;
use serde::Serialize;

use super::{Report, Tensor};

/// Characters of a value that are shown.
const VALUE_CHARS: usize = 80;

#[derive(Serialize)]
pub(super) struct Metadata {
    version: u32,
    architecture: Option<String>,
    /// Files of the model.
    files: u64,
    /// Another dialect that fits the file better, with the reason.
    dialect_suggestion: Option<String>,
    tokenizer: Option<String>,
    has_chat_template: bool,
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    key: String,
    value: String,
}

impl Metadata {
    pub(super) fn render(&self) -> String {
        let mut lines: Vec<String> = self.keys.iter().map(|key| format!("{} = {}", key.key, key.value)).collect();
        lines.push(format!("GGUF {}, {} file(s)", self.version, self.files));
        lines.extend(self.dialect_suggestion.as_ref().map(|text| format!("other type numbers fit better: {text}")));
        lines.join("\n")
    }
}

pub(super) fn inspect(path: &Path) -> anyhow::Result<Report> {
    let file = Gguf::open(path, &OpenOptions::default())?;
    let tensors: Vec<Tensor> = file
        .tensors()
        .map(|info| Tensor {
            name: info.name.to_string(),
            dtype: BlockType::from_id(info.type_id).ok().map(|known| known.name().to_owned()),
            shape: info.shape.to_vec(),
            bytes: info.bytes,
            bits_per_weight: Some(8.0 * info.bytes as f64 / info.elements() as f64),
        })
        .collect();
    let text = |key: &str| file.get(key).and_then(|value| value.as_str().map(str::to_owned));
    let pre = text("tokenizer.ggml.pre").map(|pre| format!(" ({pre})")).unwrap_or_default();
    let metadata = Metadata {
        version: file.version(),
        architecture: text("general.architecture"),
        files: file.get("split.count").and_then(|count| count.as_u64()).unwrap_or(1).max(1),
        dialect_suggestion: file.suggestion().map(|found| format!("{:?}: {}", found.dialect, found.evidence)),
        tokenizer: text("tokenizer.ggml.model").map(|model| format!("{model}{pre}")),
        has_chat_template: file.get("tokenizer.chat_template").is_some(),
        keys: file.metadata().map(|(key, value)| Key { key: key.to_owned(), value: shortened(&value) }).collect(),
    };
    // A file of a family that is not run here is shown all the same.
    let config = ModelConfig::from_gguf(&file).ok();
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    let parameters = file.tensors().map(|info| info.elements()).sum::<u64>();
    Ok(Report {
        path: path.display().to_string(),
        kind: "gguf",
        config: config.as_ref().map(ModelConfig::to_json),
        gguf: Some(metadata),
        parameters: Some(parameters),
        tensors,
        bytes,
        quantized_bits_per_weight: None,
        bits_per_parameter: (parameters > 0).then(|| 8.0 * bytes as f64 / parameters as f64),
    })
}

/// A value on one short line.
fn shortened(value: &Value<'_>) -> String {
    let text = match value {
        Value::Array(array) => return format!("{} values", array.len()),
        Value::String(bytes) => String::from_utf8_lossy(bytes).replace('\n', " "),
        Value::Bool(value) => value.to_string(),
        value => match (value.as_i64(), value.as_u64(), value.as_f64()) {
            (Some(value), ..) => value.to_string(),
            (None, Some(value), _) => value.to_string(),
            (.., Some(value)) => (value as f32).to_string(),
            _ => String::new(),
        },
    };
    if text.chars().count() <= VALUE_CHARS {
        return text;
    }
    text.chars().take(VALUE_CHARS).chain("...".chars()).collect()
}
