//! `parsimon inspect`: what a model folder or a file holds.

mod gguf;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use parsimon::model::{ModelConfig, Quantization};
use parsimon::tensor::io::{Checkpoint, NpyArray};
use parsimon::tensor::quant::gptq;
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::failure::BadInput;

/// Show the tensors of a model folder, a safetensors, a GGUF or an `.npy` file, with dtypes, shapes and bits per weight.
#[derive(Args)]
#[command(after_help = "Example: parsimon inspect q2")]
pub(crate) struct Inspect {
    /// A model folder, a `.safetensors`, a `.gguf` or a `.npy` file.
    path: PathBuf,
}

#[derive(Serialize)]
struct Report {
    path: String,
    kind: &'static str,
    /// The configuration of a model folder.
    config: Option<Value>,
    /// The keys of a GGUF file; long values are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    gguf: Option<gguf::Metadata>,
    parameters: Option<u64>,
    tensors: Vec<Tensor>,
    bytes: u64,
    /// Of the quantized projections, scales and zero points counted.
    quantized_bits_per_weight: Option<f64>,
    /// Of all tensors, over the parameters of the configuration.
    bits_per_parameter: Option<f64>,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    /// Null when this version does not know it.
    dtype: Option<String>,
    shape: Vec<usize>,
    bytes: u64,
    /// Of a GGUF file's tensor, scales counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_weight: Option<f64>,
}

impl Inspect {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let report = if self.path.extension().is_some_and(|extension| extension == "npy") {
            inspect_npy(&self.path)?
        } else if self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            gguf::inspect(&self.path)?
        } else {
            inspect_checkpoint(&self.path)?
        };
        cx.report(&report, render)
    }
}

fn inspect_npy(path: &Path) -> anyhow::Result<Report> {
    let array = NpyArray::open(path)?;
    let bytes = path.metadata().context("cannot read the file's length")?.len();
    let tensor = Tensor {
        name: String::new(),
        dtype: Some(array.descr().to_owned()),
        shape: array.shape().to_vec(),
        bytes,
        bits_per_weight: None,
    };
    Ok(Report {
        path: path.display().to_string(),
        kind: "npy",
        config: None,
        gguf: None,
        parameters: None,
        tensors: vec![tensor],
        bytes,
        quantized_bits_per_weight: None,
        bits_per_parameter: None,
    })
}

fn inspect_checkpoint(path: &Path) -> anyhow::Result<Report> {
    if path.is_file() && path.extension().is_none_or(|extension| extension != "safetensors") {
        let message = format!("{}: neither a folder nor a .safetensors, .gguf or .npy file", path.display());
        return Err(BadInput { file: Some(path.to_owned()), message }.into());
    }
    let checkpoint = Checkpoint::open(path)?;
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        tensors.push(match checkpoint.tensor(name) {
            Ok(tensor) => Tensor {
                name: name.to_owned(),
                dtype: Some(tensor.dtype().to_string()),
                shape: tensor.shape().to_vec(),
                bytes: tensor.bytes().len() as u64,
                bits_per_weight: None,
            },
            Err(_) => Tensor { name: name.to_owned(), dtype: None, shape: Vec::new(), bytes: 0, bits_per_weight: None },
        });
    }
    let config = if path.is_dir() { Some(ModelConfig::open(path)?) } else { None };
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    let parameters = config.as_ref().map(ModelConfig::parameter_count);
    Ok(Report {
        path: path.display().to_string(),
        kind: if config.is_some() { "model" } else { "safetensors" },
        quantized_bits_per_weight: config.as_ref().map(|config| quantized_bits(config, &tensors)).unwrap_or_default(),
        config: config.as_ref().map(ModelConfig::to_json),
        gguf: None,
        parameters,
        tensors,
        bytes,
        bits_per_parameter: parameters.map(|parameters| 8.0 * bytes as f64 / parameters as f64),
    })
}

/// Parts of a projection of codebooks.
const VPTQ_SUFFIXES: [&str; 9] = [
    "centroids.weight",
    "res_centroids.weight",
    "indices",
    "res_indices",
    "outlier_centroids.weight",
    "outlier_indices",
    "perm",
    "weight_scale",
    "weight_bias",
];

/// Bits of all parts of the quantized projections over their weights; `g_idx` counts only where it says something.
fn quantized_bits(config: &ModelConfig, tensors: &[Tensor]) -> Option<f64> {
    let quantization = config.quantization.as_ref()?;
    let suffixes = match quantization {
        Quantization::Gptq(config) if config.desc_act => &gptq::SUFFIXES[..],
        Quantization::Gptq(_) | Quantization::Awq(_) => &gptq::SUFFIXES[..3],
        Quantization::BitNet(_) => &["weight", "weight_scale"][..],
        Quantization::Vptq(_) => &VPTQ_SUFFIXES[..],
    };
    let (mut bytes, mut weights) = (0, 0);
    for (name, m, k) in (0..config.num_layers).flat_map(|layer| config.stored_projections(layer)) {
        let part = |suffix: &&str| tensors.iter().find(|tensor| tensor.name == format!("{name}.{suffix}"));
        let parts: Vec<&Tensor> = suffixes.iter().filter_map(part).collect();
        if !parts.is_empty() {
            bytes += parts.iter().map(|tensor| tensor.bytes).sum::<u64>();
            weights += m * k;
        }
    }
    (weights > 0).then(|| 8.0 * bytes as f64 / weights as f64)
}

fn render(report: &Report) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["tensor", "dtype", "shape", "bytes"]);
    for tensor in &report.tensors {
        let dtype = tensor.dtype.as_deref().unwrap_or("unknown");
        table.add_row([&tensor.name, dtype, &format!("{:?}", tensor.shape), &tensor.bytes.to_string()]);
    }
    let mut lines = vec![table.to_string(), format!("{}: {}, {} bytes", report.path, report.kind, report.bytes)];
    lines.extend(report.gguf.as_ref().map(gguf::Metadata::render));
    if let Some(parameters) = report.parameters {
        lines.push(format!("{parameters} parameters, {:.3} bits each", report.bits_per_parameter.unwrap_or_default()));
    }
    if let Some(bits) = report.quantized_bits_per_weight {
        lines.push(format!("quantized projections: {bits:.3} bits a weight with scales and zero points"));
    }
    lines.join("\n")
}
