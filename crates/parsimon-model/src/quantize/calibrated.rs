//! From a float model and a calibration text to a VPTQ or GPTQ folder, a layer at a time.
//!
//! A finished layer is written to `.parsimon-vptq/` inside the result, beside and renamed, with hashes of everything that it depends on. A run
//! that was interrupted computes the inputs' moments again and takes every layer whose hashes agree; since a layer depends on nothing else, the
//! folder has the same bytes as if the run had not been interrupted. In the end layers are put together, and the work folder goes.

mod store;

use std::collections::BTreeMap;
use std::path::Path;

use parsimon_core::Control;
use parsimon_core::io::{Checkpoint, SafetensorsWriter, TensorData, TensorSpec, write_json};
use parsimon_core::quant::GroupQuantized;
use parsimon_core::quant::gptq::{self, GptqConfig};
use parsimon_vq::{
    CheckpointError, ColumnOrder, FinetuneConfig, FloatType, Gptq, Layer, LayerConfig, LayerReport, Norm,
    QuantizationConfig, QuantizeError, Quantizer, Rtn, Vptq, VptqConfig, VptqLinear, finetune,
};
use rayon::prelude::*;
use serde_json::Value;
use store::{Entry, LayerStore, Stamp};

use super::Projection;
use crate::calibration::{Hessians, LayerInput};
use crate::float_source::FloatSource;
use crate::{LoadOptions, Model, ModelError};

/// Columns that share a scale in the round-to-nearest that a report compares with.
const RTN_GROUP: usize = 64;

/// What a layer of a shape and a float type is quantized with.
pub type VptqChoice<'a> = dyn Fn((usize, usize), FloatType) -> Result<VptqConfig, QuantizeError> + Sync + 'a;

/// How layers are quantized.
#[derive(Clone, Copy)]
pub enum CalibratedMethod<'a> {
    /// Codebooks of short vectors.
    Vptq {
        /// What each layer takes.
        config: &'a VptqChoice<'a>,
        /// Whether and how codebooks are trained afterwards.
        finetune: Option<FinetuneConfig>,
        /// Whether every layer is also quantized without each of feedback, permutation, norm and refits, for the report alone.
        explain: bool,
    },
    /// Scalar codes with the errors spread, stored as GPTQ version 2.
    Gptq(Gptq),
    /// Scalar codes, stored as GPTQ version 2; for comparison with the same report.
    Rtn(Rtn),
}

/// How a layer came out.
#[derive(Clone, PartialEq, Debug)]
pub struct CalibratedLayer {
    /// The layer.
    pub report: LayerReport,
    /// The relative proxy error of rounding to nearest at as many index bits, where that is possible.
    pub rel_rtn: Option<f64>,
    /// The relative proxy error without a part of the method, by the part's name; empty unless asked for.
    pub ablation: BTreeMap<String, f64>,
}

/// How the layers came out.
#[derive(Clone, PartialEq, Debug)]
pub struct CalibratedReport {
    /// One entry a layer, sorted by name.
    pub layers: Vec<CalibratedLayer>,
    /// Bits a weight over all layers.
    pub bits_per_weight: f64,
    /// Layers that an interrupted run had finished.
    pub resumed: usize,
    /// Entries of an interrupted run that were made with other settings, another text or another model.
    pub stale: usize,
}

/// Quantizes the projections inside the blocks of `model`, a folder or a GGUF file, into the folder `out`; embeddings, norms and the output layer stay.
///
/// # Errors
///
/// [`ModelError`] naming the layer; [`ModelError::AlreadyQuantized`]; [`ModelError::Calibration`] for windows that cannot be used;
/// [`ModelError::Cancelled`], after which the same call goes on.
pub fn quantize_calibrated(
    model: &Path,
    out: &Path,
    windows: &[Vec<u32>],
    method: &CalibratedMethod<'_>,
    control: &Control<'_>,
) -> Result<CalibratedReport, ModelError> {
    let source = FloatSource::open(model)?;
    let config = source.config();
    let projections: Vec<Vec<Projection>> =
        (0..config.num_layers).map(|layer| config.stored_projections(layer)).collect();
    let weights = projections.iter().flatten().map(|(name, ..)| format!("{name}.weight"));
    let weights: Vec<String> = weights.collect();
    source.require(weights.iter().map(String::as_str))?;
    let job = Job { source: &source, method, store: LayerStore::new(out), control };
    for projection in projections.iter().flatten() {
        job.check(projection)?;
    }
    if windows.is_empty() {
        return Err(ModelError::Calibration { reason: "there are no tokens".into() });
    }
    let running = Model::open_with(model, &LoadOptions::default(), control)?;
    let mut layers = Vec::new();
    let (mut resumed, mut stale) = (0, 0);
    running.block_hessians(windows, control, |block, hessians| {
        let done: Result<Vec<_>, ModelError> =
            projections[block].par_iter().map(|projection| job.layer(projection, hessians)).collect();
        for Done { entry, origin } in done? {
            resumed += usize::from(origin == Origin::Resumed);
            stale += usize::from(origin == Origin::Stale);
            layers.push(entry);
        }
        Ok(())
    })?;
    layers.sort_by(|a, b| a.report.name.cmp(&b.report.name));
    job.assemble(out, &weights, &layers)?;
    let layers = layers.into_iter();
    let layers: Vec<_> =
        layers.map(|Entry { report, rel_rtn, ablation, .. }| CalibratedLayer { report, rel_rtn, ablation }).collect();
    let size = |report: &LayerReport| (report.m * report.k) as f64;
    let all: f64 = layers.iter().map(|layer| size(&layer.report)).sum();
    let bits: f64 = layers.iter().map(|layer| layer.report.bits.total() * size(&layer.report)).sum();
    Ok(CalibratedReport { layers, bits_per_weight: bits / all, resumed, stale })
}

struct Job<'a> {
    source: &'a FloatSource,
    method: &'a CalibratedMethod<'a>,
    store: LayerStore,
    control: &'a Control<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Computed,
    /// Computed, where an entry of other settings stood.
    Stale,
    Resumed,
}

/// The tensors of a layer, its report, and its entry in the configuration.
type Quantized = (BTreeMap<String, TensorData>, LayerReport, Option<LayerConfig>);

struct Done {
    entry: Entry,
    origin: Origin,
}

impl Job<'_> {
    /// The type that codebooks are stored in: the weights', half precision for wider ones.
    fn float(&self, weight: &str) -> Result<FloatType, ModelError> {
        Ok(match FloatType::from_dtype(self.source.spec(weight)?.dtype) {
            Some(FloatType::BF16) => FloatType::BF16,
            _ => FloatType::F16,
        })
    }

    /// What can be refused before any work is.
    fn check(&self, (name, m, k): &Projection) -> Result<(), ModelError> {
        let weight = format!("{name}.weight");
        let actual = self.source.spec(&weight)?.shape;
        if actual != [*m, *k] {
            let (file, expected) = (self.source.path().to_owned(), vec![*m, *k]);
            return Err(parsimon_core::io::FormatError::Shape { file, tensor: weight, expected, actual }.into());
        }
        if let CalibratedMethod::Vptq { config, .. } = self.method {
            let config = config((*m, *k), self.float(&weight)?);
            config.map_err(|source| ModelError::Quantize { layer: name.clone(), source })?;
        }
        Ok(())
    }

    fn layer(&self, (name, m, k): &Projection, hessians: &Hessians) -> Result<Done, ModelError> {
        self.control.cancel.check()?;
        let weight = format!("{name}.weight");
        let weights = self.source.values(&weight)?;
        let missing = || ModelError::Calibration { reason: format!("layer `{name}` saw no input") };
        let hessian = LayerInput::of(name).and_then(|input| hessians.get(input)).ok_or_else(missing)?;
        let layer = Layer { name, weights: &weights, m: *m, k: *k, hessian };
        let quantized = |source| match source {
            QuantizeError::Cancelled(cancelled) => ModelError::Cancelled(cancelled),
            source => ModelError::Quantize { layer: name.clone(), source },
        };
        let settings = match self.method {
            CalibratedMethod::Vptq { config, finetune, explain } => {
                let config = config((*m, *k), self.float(&weight)?).map_err(quantized)?;
                format!("vptq {config:?} {finetune:?} {explain}")
            }
            CalibratedMethod::Gptq(gptq) => format!("{gptq:?}"),
            CalibratedMethod::Rtn(rtn) => format!("{rtn:?}"),
        };
        let stamp = Stamp::new(&settings, &weights, hessian);
        let origin = match self.store.get(name, &stamp) {
            Ok(Some(entry)) => return Ok(Done { entry, origin: Origin::Resumed }),
            Ok(None) => Origin::Computed,
            Err(()) => Origin::Stale,
        };
        let (tensors, report, config) = self.quantize(&layer).map_err(quantized)?;
        let rel_rtn = self.rel_rtn(&layer, &report).map_err(quantized)?;
        let ablation = self.ablation(&layer).map_err(quantized)?;
        let entry = Entry { report, rel_rtn, ablation, config: config.map(|config| config.to_json()) };
        let entry = self.store.put(name, &stamp, &tensors, &entry)?;
        Ok(Done { entry, origin })
    }

    fn quantize(&self, layer: &Layer<'_>) -> Result<Quantized, QuantizeError> {
        let scalar = |(matrix, report): (GroupQuantized, LayerReport)| {
            let tensors = gptq::pack(layer.name, &matrix);
            let key = "bits";
            let misfit = |source: parsimon_core::quant::QuantError| QuantizeError::Option {
                key,
                value: source.to_string(),
                expected: "codes that fill the words of GPTQ's layout",
            };
            Ok((tensors.map_err(misfit)?, report, None))
        };
        match self.method {
            CalibratedMethod::Gptq(gptq) => scalar(gptq.quantize(layer, self.control)?),
            CalibratedMethod::Rtn(rtn) => scalar(rtn.quantize(layer, self.control)?),
            CalibratedMethod::Vptq { config, finetune: steps, .. } => {
                let float = self.float(&format!("{}.weight", layer.name)).unwrap_or_default();
                let config = config((layer.m, layer.k), float)?;
                let (mut linear, mut report) = Vptq { config }.quantize(layer, self.control)?;
                if let Some(steps) = steps {
                    let tuned = finetune(&linear, layer, steps, self.control)?;
                    if tuned.rel_after < tuned.rel_before {
                        (linear, report.rel) = (tuned.linear, tuned.rel_after);
                    }
                }
                Ok((linear.to_tensors(layer.name), report, Some(LayerConfig::of(&linear))))
            }
        }
    }

    /// The relative proxy error of rounding to nearest at as many index bits.
    fn rel_rtn(&self, layer: &Layer<'_>, report: &LayerReport) -> Result<Option<f64>, QuantizeError> {
        let bits = report.bits.index.round();
        if !(1.0..=8.0).contains(&bits) {
            return Ok(None);
        }
        let rtn = Rtn { bits: bits as u8, group: RTN_GROUP };
        Ok(Some(rtn.quantize(layer, self.control)?.1.rel))
    }

    /// The relative proxy errors without each part of the method, where they are asked for.
    fn ablation(&self, layer: &Layer<'_>) -> Result<BTreeMap<String, f64>, QuantizeError> {
        let CalibratedMethod::Vptq { config, explain: true, .. } = self.method else { return Ok(BTreeMap::new()) };
        let float = self.float(&format!("{}.weight", layer.name)).unwrap_or_default();
        let full = config((layer.m, layer.k), float)?;
        let without = [
            ("feedback", VptqConfig { feedback: false, ..full.clone() }),
            ("permutation", VptqConfig { order: ColumnOrder::Natural, ..full.clone() }),
            ("norm", VptqConfig { norm: Norm::None, ..full.clone() }),
            ("refits", VptqConfig { em_rounds: 0, ..full }),
        ];
        let rel = |(part, config)| Ok((String::from(part), Vptq { config }.quantize(layer, self.control)?.1.rel));
        without.into_iter().map(rel).collect()
    }

    /// Puts the layers and what stays together; `config.json` comes last, so that an unfinished folder is not taken for a model.
    fn assemble(&self, out: &Path, weights: &[String], layers: &[Entry]) -> Result<(), ModelError> {
        let mut specs: BTreeMap<String, (TensorSpec, Option<&str>)> = BTreeMap::new();
        for name in self.source.names().into_iter().filter(|name| !weights.iter().any(|weight| weight == name)) {
            specs.insert(name.to_owned(), (self.source.spec(name)?, None));
        }
        let mut stored = BTreeMap::new();
        for Entry { report, .. } in layers {
            let checkpoint = self.store.open_layer(&report.name)?;
            for tensor in checkpoint.names() {
                let view = checkpoint.tensor(tensor)?;
                let (name, dtype, shape) = (tensor.to_owned(), view.dtype(), view.shape().to_vec());
                let spec = TensorSpec { name: name.clone(), dtype, shape };
                specs.insert(name, (spec, Some(&report.name)));
            }
            stored.insert(report.name.as_str(), checkpoint);
        }
        let all: Vec<TensorSpec> = specs.values().map(|(spec, _)| spec.clone()).collect();
        let mut writer = SafetensorsWriter::create(&out.join("model.safetensors"), &all)?;
        for (spec, layer) in specs.values() {
            match layer {
                Some(layer) => writer.write(&spec.name, stored[layer].tensor(&spec.name)?.bytes())?,
                None => writer.write(&spec.name, &self.source.bytes(&spec.name, spec.dtype)?)?,
            }
        }
        writer.commit()?;
        let quantization = self.quantization(&stored, layers)?;
        drop(stored);
        self.source.write_companions(out)?;
        let mut json = self.source.config_json()?;
        json["quantization_config"] = quantization;
        write_json(&out.join("config.json"), &json)?;
        self.store.remove()
    }

    /// The `quantization_config`. What was stored is read back before the folder counts as a model.
    fn quantization(&self, stored: &BTreeMap<&str, Checkpoint>, layers: &[Entry]) -> Result<Value, ModelError> {
        let scalar = |bits, group: usize| {
            let config = GptqConfig::new(bits, group as i64);
            Ok(serde_json::to_value(config).expect("plain fields serialize"))
        };
        match self.method {
            CalibratedMethod::Gptq(gptq) => scalar(gptq.bits, gptq.group),
            CalibratedMethod::Rtn(rtn) => scalar(rtn.bits, rtn.group),
            CalibratedMethod::Vptq { .. } => {
                let mut quantization = QuantizationConfig::default();
                for Entry { report, config, .. } in layers {
                    let name = &report.name;
                    let config = config.as_ref().unwrap_or(&Value::Null);
                    let config = LayerConfig::from_json(name, config)
                        .map_err(|kind| CheckpointError { file: stored[name.as_str()].path().to_owned(), kind })?;
                    VptqLinear::read(&stored[name.as_str()], name, &config, (report.m, report.k))?;
                    quantization.per_layer.insert(name.clone(), config);
                }
                Ok(quantization.to_json())
            }
        }
    }
}
