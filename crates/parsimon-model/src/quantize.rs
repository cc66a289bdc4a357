//! From a model to a low-bit folder: round-to-nearest of the projections inside the blocks.

mod calibrated;

use std::collections::BTreeMap;
use std::path::Path;

pub use calibrated::{CalibratedLayer, CalibratedMethod, CalibratedReport, VptqChoice, quantize_calibrated};
use parsimon_core::io::{FormatError, SafetensorsWriter, TensorData, TensorSpec, write_json};
use parsimon_core::quant::gptq::{self, GptqConfig, GptqOverride};
use parsimon_core::quant::rtn::{self, Levels};
use parsimon_core::{Control, Unit};
use rayon::prelude::*;

use crate::ModelError;
use crate::float_source::FloatSource;

/// What to quantize to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuantizeOptions {
    /// Levels of a weight.
    pub levels: Levels,
    /// Inputs that share a scale.
    pub group: usize,
    /// Levels of the output layer, where it is quantized too: every token reads all of it.
    pub output_layer: Option<Levels>,
}

impl QuantizeOptions {
    /// The projections inside the blocks alone.
    pub fn new(levels: Levels, group: usize) -> Self {
        QuantizeOptions { levels, group, output_layer: None }
    }

    /// The output layer as well.
    pub fn with_output_layer(self, levels: Levels) -> Self {
        QuantizeOptions { output_layer: Some(levels), ..self }
    }

    fn levels_of(&self, name: &str) -> Levels {
        self.output_layer.filter(|_| name == OUTPUT_LAYER).unwrap_or(self.levels)
    }
}

/// The name of the output layer.
const OUTPUT_LAYER: &str = "lm_head";

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

impl QuantizeReport {
    pub(crate) fn of(layers: Vec<LayerReport>) -> Self {
        let weights: f64 = layers.iter().map(|layer| (layer.m * layer.k) as f64).sum();
        let bits: f64 = layers.iter().map(|layer| layer.bits_per_weight * (layer.m * layer.k) as f64).sum();
        QuantizeReport { layers, bits_per_weight: bits / weights }
    }
}

/// Quantizes the projections inside the blocks of `model`, a folder or a GGUF file, into the folder `out` as GPTQ version 2; embeddings
/// and norms stay, and the output layer unless [`QuantizeOptions::output_layer`] asks for it.
///
/// Ternary weights are stored as 2-bit codes `t + 1` with zero point 1 and `ternary: true` in the `quantization_config`. The blocks of a
/// GGUF file are decoded first. The tokenizer's files are copied, or made of the vocabulary; `config.json` is written last, so that an
/// unfinished folder is not taken for a model.
///
/// # Errors
///
/// [`ModelError`] naming the layer; [`ModelError::AlreadyQuantized`] for an input that is; [`ModelError::TiedOutputLayer`] where the output
/// layer is asked for and is the embedding table.
pub fn quantize_folder(
    model: &Path,
    out: &Path,
    options: &QuantizeOptions,
    control: &Control<'_>,
) -> Result<QuantizeReport, ModelError> {
    let source = FloatSource::open(model)?;
    let config = source.config();
    let mut json = source.config_json()?;
    let mut projections: Vec<_> = (0..config.num_layers).flat_map(|layer| config.stored_projections(layer)).collect();
    if options.output_layer.is_some() {
        if config.tie_word_embeddings {
            return Err(ModelError::TiedOutputLayer);
        }
        projections.push((OUTPUT_LAYER.into(), config.vocab_size, config.hidden_size));
    }
    let weight_names: Vec<String> = projections.iter().map(|(name, ..)| format!("{name}.weight")).collect();
    source.require(weight_names.iter().map(String::as_str))?;
    let kept: Vec<&str> =
        source.names().into_iter().filter(|name| !weight_names.iter().any(|weight| weight == name)).collect();

    let layers = write_quantized(&source, out, &kept, &projections, options, control)?;
    source.write_companions(out)?;
    let quantization = GptqConfig {
        ternary: options.levels == Levels::Ternary,
        lm_head: options.output_layer.is_some(),
        dynamic: options.output_layer.map(|levels| {
            let bits = GptqOverride { bits: Some(levels.code_bits()), ..GptqOverride::default() };
            BTreeMap::from([(format!("+:^{OUTPUT_LAYER}$"), bits)])
        }),
        ..GptqConfig::new(options.levels.code_bits(), options.group as i64)
    };
    json["quantization_config"] = serde_json::to_value(quantization).expect("plain fields serialize");
    write_json(&out.join("config.json"), &json)?;

    Ok(QuantizeReport::of(layers))
}

/// A projection: name, outputs, inputs.
type Projection = (String, usize, usize);

/// Writes `model.safetensors`: the `kept` tensors as they are, the projections quantized, as many at a time as there are threads.
fn write_quantized(
    source: &FloatSource,
    out: &Path,
    kept: &[&str],
    projections: &[Projection],
    options: &QuantizeOptions,
    control: &Control<'_>,
) -> Result<Vec<LayerReport>, ModelError> {
    let specs = specs(source, kept, projections, options)?;
    let mut writer = SafetensorsWriter::create(&out.join("model.safetensors"), &specs)?;
    for name in kept {
        writer.write(name, &source.bytes(name, source.spec(name)?.dtype)?)?;
    }
    control.progress.start("quantize", Some(projections.len() as u64), Unit::Items("layers"));
    let mut layers = Vec::with_capacity(projections.len());
    for some in projections.chunks(rayon::current_num_threads()) {
        let quantized: Result<Vec<_>, ModelError> = some
            .par_iter()
            .map(|projection| {
                control.cancel.check()?;
                let result = quantize_layer(source, projection, options);
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
    source: &FloatSource,
    kept: &[&str],
    projections: &[Projection],
    options: &QuantizeOptions,
) -> Result<Vec<TensorSpec>, ModelError> {
    let mut specs = Vec::new();
    for &name in kept {
        specs.push(source.spec(name)?);
    }
    for (name, m, k) in projections {
        let quantized = gptq::specs(name, (*m, *k), options.levels_of(name).code_bits(), options.group);
        specs.extend(quantized.map_err(|source| ModelError::Quant { layer: name.clone(), source })?);
    }
    Ok(specs)
}

fn quantize_layer(
    source: &FloatSource,
    (name, m, k): &Projection,
    options: &QuantizeOptions,
) -> Result<(BTreeMap<String, TensorData>, LayerReport), ModelError> {
    let (m, k) = (*m, *k);
    let weight = format!("{name}.weight");
    let actual = source.spec(&weight)?.shape;
    if actual != [m, k] {
        let file = source.path().to_owned();
        return Err(FormatError::Shape { file, tensor: weight, expected: vec![m, k], actual }.into());
    }
    let weights = source.values(&weight)?;
    let named = |source| ModelError::Quant { layer: name.clone(), source };
    let matrix = rtn::quantize(&weights, m, k, options.levels_of(name), options.group).map_err(named)?;
    let tensors = gptq::pack(name, &matrix).map_err(named)?;
    let error: f64 = weights.iter().zip(matrix.dequantize()).map(|(&w, q)| f64::from(w - q).powi(2)).sum();
    let energy: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    let rel = if error == 0.0 { 0.0 } else { error / energy };
    Ok((tensors, LayerReport { name: name.clone(), m, k, rel, bits_per_weight: matrix.bits_per_weight() }))
}
