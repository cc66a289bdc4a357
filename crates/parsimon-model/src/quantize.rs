//! From a float checkpoint to a low-bit one: round-to-nearest of the projections inside the blocks.

use std::collections::BTreeMap;
use std::path::Path;

use parsimon_core::io::{Checkpoint, TensorData, copy_file, read_json, write_json, write_safetensors};
use parsimon_core::quant::gptq::{self, CheckpointFormat, GptqConfig};
use parsimon_core::quant::rtn::{self, Levels};
use parsimon_core::{Control, Unit};
use rayon::prelude::*;

use crate::{ModelConfig, ModelError};

/// Files that a tokenizer and a generator need beside the weights.
const COMPANIONS: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"];

/// What to quantize to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuantizeOptions {
    /// Levels of a weight.
    pub levels: Levels,
    /// Inputs that share a scale.
    pub group: usize,
}

/// How one layer came out.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerReport {
    /// The tensor's name without `.weight`.
    pub name: String,
    /// Output features.
    pub m: usize,
    /// Input features.
    pub k: usize,
    /// Relative error `|W - W'|^2 / |W|^2`.
    pub rel: f64,
    /// Bits a weight, scales and zero points counted.
    pub bits_per_weight: f64,
}

/// How all layers came out.
#[derive(Clone, PartialEq, Debug)]
pub struct QuantizeReport {
    /// One entry a layer, in the order of the blocks.
    pub layers: Vec<LayerReport>,
    /// Bits a weight over all quantized layers.
    pub bits_per_weight: f64,
}

/// Quantizes the projections inside the blocks of `folder` into `out` as GPTQ version 2; embeddings, norms and the output layer stay.
///
/// Ternary weights are stored as 2-bit codes `t + 1` with zero point 1 and `ternary: true` in the `quantization_config`. The tokenizer's
/// files are copied; `config.json` is written last, so that an unfinished folder is not taken for a model.
///
/// # Errors
///
/// [`ModelError`] naming the layer; [`ModelError::AlreadyQuantized`] for an input that is.
pub fn quantize_folder(
    folder: &Path,
    out: &Path,
    options: &QuantizeOptions,
    control: &Control<'_>,
) -> Result<QuantizeReport, ModelError> {
    let config = ModelConfig::open(folder)?;
    if config.quantization.is_some() {
        return Err(ModelError::AlreadyQuantized);
    }
    let checkpoint = Checkpoint::open(folder)?;
    let projections: Vec<_> = (0..config.num_layers).flat_map(|layer| config.stored_projections(layer)).collect();
    let weight_names: Vec<String> = projections.iter().map(|(name, ..)| format!("{name}.weight")).collect();
    checkpoint.require(weight_names.iter().map(String::as_str))?;

    control.progress.start("quantize", Some(projections.len() as u64), Unit::Items("layers"));
    let quantized: Result<Vec<_>, ModelError> = projections
        .par_iter()
        .map(|projection| {
            control.cancel.check()?;
            let result = quantize_layer(&checkpoint, projection, options);
            control.progress.advance(1);
            result
        })
        .collect();
    control.progress.finish();
    let (tensors, layers): (Vec<_>, Vec<_>) = quantized?.into_iter().unzip();

    let mut tensors: BTreeMap<String, TensorData> = tensors.into_iter().flatten().collect();
    for name in checkpoint.names().filter(|name| !weight_names.iter().any(|weight| weight == name)) {
        let tensor = checkpoint.tensor(name)?;
        let (dtype, shape, bytes) = (tensor.dtype(), tensor.shape().to_vec(), tensor.bytes().to_vec());
        tensors.insert(name.to_owned(), TensorData { dtype, shape, bytes });
    }
    for name in COMPANIONS.iter().filter(|name| folder.join(name).exists()) {
        copy_file(&folder.join(name), &out.join(name))?;
    }
    write_safetensors(&out.join("model.safetensors"), &tensors, None)?;
    let quantization = GptqConfig {
        quant_method: "gptq".into(),
        checkpoint_format: CheckpointFormat::V2,
        bits: options.levels.code_bits(),
        group_size: options.group as i64,
        desc_act: false,
        sym: false,
        ternary: options.levels == Levels::Ternary,
    };
    // What this crate does not read of the configuration stays in it.
    let mut json: serde_json::Value = read_json(&folder.join("config.json"))?;
    json["quantization_config"] = serde_json::to_value(quantization).expect("plain fields serialize");
    write_json(&out.join("config.json"), &json)?;

    let weights: f64 = layers.iter().map(|layer| (layer.m * layer.k) as f64).sum();
    let bits: f64 = layers.iter().map(|layer| layer.bits_per_weight * (layer.m * layer.k) as f64).sum();
    Ok(QuantizeReport { layers, bits_per_weight: bits / weights })
}

fn quantize_layer(
    checkpoint: &Checkpoint,
    (name, m, k): &(String, usize, usize),
    options: &QuantizeOptions,
) -> Result<(BTreeMap<String, TensorData>, LayerReport), ModelError> {
    let (m, k) = (*m, *k);
    let weights = checkpoint.tensor(&format!("{name}.weight"))?.expect_shape(&[m, k])?.to_f32()?;
    let named = |source| ModelError::Quant { layer: name.clone(), source };
    let matrix = rtn::quantize(&weights, m, k, options.levels, options.group).map_err(named)?;
    let tensors = gptq::pack(name, &matrix).map_err(named)?;
    let error: f64 = weights.iter().zip(matrix.dequantize()).map(|(&w, q)| f64::from(w - q).powi(2)).sum();
    let energy: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    let rel = if error == 0.0 { 0.0 } else { error / energy };
    Ok((tensors, LayerReport { name: name.clone(), m, k, rel, bits_per_weight: matrix.bits_per_weight() }))
}
