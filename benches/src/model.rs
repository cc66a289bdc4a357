//! Decoding with a whole model, `f32` beside every width, and batches of sequences, on a random model of the demo's size.

mod batch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use parsimon_core::quant::rtn::Levels;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{
    LoadOptions, Model, ModelConfig, ModelError, QuantizeOptions, quantize_folder, write_random_folder,
};
use parsimon_simd::Level;
use serde_json::json;

use crate::Effort;
use crate::measure::{Times, time};
use crate::probe::read_bandwidth;
use crate::record::{Record, Sink};

const VOCAB: usize = 8192;

const CASE: &str = "decode sigma-tiny";

/// Positions in the cache while a token is decoded.
const CONTEXT: usize = 64;

/// Distance of low-bit logits from `f32` logits of the same model that still counts as the same computation, by code bits: quantization
/// of random weights loses this much.
const LOGIT_DISTANCE_MAX: [(Levels, f64); 4] =
    [(Levels::Bits(4), 0.4), (Levels::Bits(3), 0.8), (Levels::Bits(2), 1.3), (Levels::Ternary, 1.4)];

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    let wants = |case| {
        let mut variants = LOGIT_DISTANCE_MAX.iter().map(|&(levels, _)| variant(levels));
        sink.wants(case, "f32") || variants.any(|variant| sink.wants(case, &variant))
    };
    let (decodes, batches) = (wants(CASE), wants(batch::CASE));
    if !decodes && !batches {
        return Ok(());
    }
    let config = ModelConfig::sigma_tiny(if effort == Effort::Smoke { 512 } else { VOCAB });
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("f32");
    synthesize(&source, &config)?;
    let large = dir.path().join("large");
    if batches {
        synthesize(&large.join("f32"), &if effort == Effort::Smoke { config } else { batch::config() })?;
    }
    let threads = rayon::current_num_threads();
    let budget = Duration::from_millis(if effort == Effort::Smoke { 50 } else { 1000 });
    for threads in if threads > 1 { vec![1, threads] } else { vec![1] } {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        if decodes {
            pool.install(|| decode(&source, dir.path(), threads, budget, sink))?;
        }
        if batches {
            pool.install(|| batch(&large, threads, budget, sink))?;
        }
    }
    Ok(())
}

fn decode(source: &Path, dir: &Path, threads: usize, budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let mut wanted = LOGIT_DISTANCE_MAX.to_vec();
    wanted.retain(|&(levels, _)| sink.wants(CASE, &variant(levels)));
    let model = Model::open(source, &LoadOptions::default())?;
    let (dense, expected) = measure(&model, budget)?;
    let mut push = |variant: &str, model: &Model, times: Times| {
        let limit = read_bandwidth(model.bytes_per_token()) / model.bytes_per_token() as f64;
        sink.push(Record {
            area: "model",
            case: CASE.into(),
            variant: variant.into(),
            params: BTreeMap::from([
                ("context", json!(CONTEXT)),
                ("parameters", json!(model.config().parameter_count())),
            ]),
            isa: Level::best().name(),
            threads,
            metric: "decode",
            unit: "tokens/s",
            median: 1.0 / times.median,
            min: 1.0 / times.max,
            max: 1.0 / times.min,
            runs: times.runs,
            limit: Some(limit),
            pct_of_limit: Some(100.0 / times.median / limit),
            baseline: Some("f32".into()),
            ratio_to_baseline: Some(dense.median / times.median),
            checked: true,
        });
    };
    push("f32", &model, dense);
    for (levels, distance_max) in wanted {
        let variant = variant(levels);
        let model = Model::open(&quantized(source, dir, levels)?, &LoadOptions::default())?;
        let (times, logits) = measure(&model, budget)?;
        let error: f64 = logits.iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let energy: f64 = expected.iter().map(|&b| f64::from(b).powi(2)).sum();
        let distance = (error / energy).sqrt();
        ensure!(distance <= distance_max, "{CASE} {variant}: logits are {distance} away from f32");
        push(&variant, &model, times);
    }
    Ok(())
}

/// `f32` and 4 bits, with growing numbers of sequences.
fn batch(dir: &Path, threads: usize, budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let (source, levels) = (dir.join("f32"), Levels::Bits(4));
    let folder = quantized(&source, dir, levels)?;
    for (weights, folder) in [("f32", &source), (&variant(levels), &folder)] {
        if sink.wants(batch::CASE, weights) {
            let model = Arc::new(Model::open(folder, &LoadOptions::default())?);
            batch::run(weights, &model, threads, budget, sink)?;
        }
    }
    Ok(())
}

/// The folder of the quantized model, which is made when it is not there.
fn quantized(source: &Path, dir: &Path, levels: Levels) -> anyhow::Result<PathBuf> {
    let folder = dir.join(variant(levels));
    if !folder.exists() {
        let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
        quantize_folder(source, &folder, &QuantizeOptions::new(levels, 64), &control)?;
    }
    Ok(folder)
}

fn variant(levels: Levels) -> String {
    match levels {
        Levels::Bits(bits) => format!("{bits}bit"),
        Levels::Ternary => "ternary".to_owned(),
    }
}

/// Times of one decoding step at a fixed context, and its logits.
fn measure(model: &Model, budget: Duration) -> anyhow::Result<(Times, Vec<f32>)> {
    let prompt: Vec<u32> = (0..CONTEXT as u32).map(|i| i * 7 % model.config().vocab_size as u32).collect();
    let mut state = model.new_state();
    model.last_logits(&prompt, &mut state)?;
    let mut logits = Ok(Vec::new());
    let times = time(budget, |_| {
        state.truncate(CONTEXT);
        logits = model.last_logits(&[1], &mut state);
    });
    Ok((times, logits?))
}

fn synthesize(folder: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    write_random_folder(folder, config, 3, &Control { progress: &NoProgress, cancel: &CancelFlag::new() })
}
