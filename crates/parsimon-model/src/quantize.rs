//! From a float checkpoint to a low-bit one: round-to-nearest of the projections inside the blocks.

use std::collections::BTreeMap;
use std::path::Path;

use parsimon_core::io::{Checkpoint, SafetensorsWriter, TensorData, TensorSpec, copy_file, read_json, write_json};
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
    let kept: Vec<&str> = checkpoint.names().filter(|name| !weight_names.iter().any(|weight| weight == name)).collect();

    let layers = write_quantized(&checkpoint, out, &kept, &projections, options, control)?;
    for name in COMPANIONS.iter().filter(|name| folder.join(name).exists()) {
        copy_file(&folder.join(name), &out.join(name))?;
    }
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

/// A projection: name, outputs, inputs.
type Projection = (String, usize, usize);

/// Writes `model.safetensors`: the `kept` tensors as they are, the projections quantized, as many at a time as there are threads.
fn write_quantized(
    checkpoint: &Checkpoint,
    out: &Path,
    kept: &[&str],
    projections: &[Projection],
    options: &QuantizeOptions,
    control: &Control<'_>,
) -> Result<Vec<LayerReport>, ModelError> {
    let specs = specs(checkpoint, kept, projections, options)?;
    let mut writer = SafetensorsWriter::create(&out.join("model.safetensors"), &specs)?;
    for name in kept {
        writer.write(name, checkpoint.tensor(name)?.bytes())?;
    }
    control.progress.start("quantize", Some(projections.len() as u64), Unit::Items("layers"));
    let mut layers = Vec::with_capacity(projections.len());
    for some in projections.chunks(rayon::current_num_threads()) {
        let quantized: Result<Vec<_>, ModelError> = some
            .par_iter()
            .map(|projection| {
                control.cancel.check()?;
                let result = quantize_layer(checkpoint, projection, options);
                control.progress.advance(1);
                result
            })
            .collect();
        for (tensors, layer) in quantized? {
            for (name, tensor) in &tensors {
                writer.write(name, &tensor.bytes)?;
            }
            layers.push(layer);
        }
    }
    control.progress.finish();
    writer.commit()?;
    Ok(layers)
}

/// The tensors of the file that [`write_quantized`] writes, in its order.
fn specs(
    checkpoint: &Checkpoint,
    kept: &[&str],
    projections: &[Projection],
    options: &QuantizeOptions,
) -> Result<Vec<TensorSpec>, ModelError> {
    let mut specs = Vec::new();
    for &name in kept {
        let tensor = checkpoint.tensor(name)?;
        specs.push(TensorSpec { name: name.to_owned(), dtype: tensor.dtype(), shape: tensor.shape().to_vec() });
    }
    for (name, m, k) in projections {
        let quantized = gptq::specs(name, (*m, *k), options.levels.code_bits(), options.group);
        specs.extend(quantized.map_err(|source| ModelError::Quant { layer: name.clone(), source })?);
    }
    Ok(specs)
}

fn quantize_layer(
    checkpoint: &Checkpoint,
    (name, m, k): &Projection,
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
