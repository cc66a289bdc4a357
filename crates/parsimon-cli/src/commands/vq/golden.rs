//! The golden files of codebooks through the public interface: packing, k-means, layers, folders.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use parsimon::tensor::SplitMix64;
use parsimon::tensor::io::{Checkpoint, read_json};
use parsimon::vq::{
    Init, KMeansConfig, LayerConfig, Metric, Numerics, Points, QuantizationConfig, VptqLinear, kmeans, pack,
};
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;

/// Compute the golden cases of a folder and stop at the first that differs.
#[derive(Args)]
#[command(after_help = "Example: parsimon vq golden shared/data/vq")]
pub(super) struct Golden {
    /// The folder with `manifest.json`.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Serialize)]
struct Report {
    cases: Vec<String>,
}

/// Folders of whole models, with what their layers decode to.
const FOLDERS: [&str; 3] = ["tiny_f16", "tiny_bf16_shared", "tiny_unpacked"];

impl Golden {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let manifest: Value = read_json(&self.dir.join("manifest.json"))?;
        let list = |key: &str| manifest[key].as_array().map_or(&[][..], |cases| &cases[..]);
        let mut cases = Vec::new();
        let packed = Checkpoint::open(&self.dir.join("pack.safetensors"))?;
        for case in list("pack") {
            let id = text(case, "id")?;
            packing(&packed, case, id).with_context(|| format!("pack {id}"))?;
            cases.push(format!("pack {id}"));
        }
        let clusters = Checkpoint::open(&self.dir.join("kmeans.safetensors"))?;
        for case in list("kmeans").iter().chain(list("other")) {
            let id = text(case, "id")?;
            if clustering(&clusters, case, id, cx).with_context(|| format!("kmeans {id}"))? {
                cases.push(format!("kmeans {id}"));
            }
        }
        for case in list("layers") {
            let id = text(case, "id")?;
            layer(&self.dir, case, id).with_context(|| format!("layer {id}"))?;
            cases.push(format!("layer {id}"));
        }
        for name in FOLDERS {
            folder(&self.dir.join(name)).with_context(|| format!("folder {name}"))?;
            cases.push(format!("folder {name}"));
        }
        cx.report(&Report { cases }, |report| {
            let lines: Vec<String> = report.cases.iter().map(|case| format!("ok {case}")).collect();
            lines.join("\n")
        })
    }
}

fn text<'a>(case: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    case[key].as_str().with_context(|| format!("the case has no text `{key}`"))
}

fn count(case: &Value, key: &str) -> anyhow::Result<usize> {
    let number = case[key].as_u64().with_context(|| format!("the case has no number `{key}`"))?;
    Ok(usize::try_from(number)?)
}

fn packing(file: &Checkpoint, case: &Value, id: &str) -> anyhow::Result<()> {
    let codes = |part: &str| -> anyhow::Result<Vec<u16>> {
        let codes = file.tensor(&format!("{id}.{part}"))?.to_i64()?;
        Ok(codes.into_iter().map(u16::try_from).collect::<Result<_, _>>()?)
    };
    let (columns, bits) = (count(case, "columns")?, (count(case, "main_bits")?, count(case, "res_bits")?));
    let (main, residual) = (codes("main")?, if bits.1 == 0 { Vec::new() } else { codes("res")? });
    let words = file.tensor(&format!("{id}.words"))?.to_i32()?;
    let words: Vec<u32> = words.into_iter().map(i32::cast_unsigned).collect();
    ensure!(pack::pack(&main, &residual, columns, bits) == words, "the words differ");
    ensure!(pack::unpack(&words, columns, bits) == (main, residual), "the codes do not come back");
    Ok(())
}

/// Whether the case is one of k-means.
fn clustering(file: &Checkpoint, case: &Value, id: &str, cx: &Context) -> anyhow::Result<bool> {
    let metric = match case["metric"].as_str() {
        Some("l1") => Metric::L1,
        Some("linf") => Metric::Chebyshev,
        _ if case["init"].is_string() => Metric::L2,
        _ => return Ok(false),
    };
    let tensor = |name: &str| file.tensor(&format!("{id}.{name}"));
    let points = tensor("x")?;
    let (width, x) = (points.shape()[1], points.to_f64()?);
    let weights = tensor("w").ok().map(|w| w.to_f64()).transpose()?;
    let config = KMeansConfig {
        iters: count(case, "iters_max")?,
        tol: case["tol"].as_f64().context("the case has no number `tol`")?,
        init: match case["init"].as_str() {
            Some("sample") => Init::Sample,
            Some("pp_sample") => Init::PlusPlusSample,
            _ => Init::Auto,
        },
        metric,
        numerics: Numerics::Exact,
        ..KMeansConfig::new(count(case, "k")?)
    };
    let mut rng = SplitMix64::new(count(case, "seed")? as u64);
    let result = kmeans(Points::new(&x, width), weights.as_deref(), &config, &mut rng, &cx.control())?;
    let report = &result.report;
    for (key, value) in [("iters", report.iters), ("used", report.used), ("reseeded", report.reseeded)] {
        if let Some(expected) = case[key].as_u64() {
            ensure!(value as u64 == expected, "{key} is {value}, expected {expected}");
        }
    }
    let expected = tensor("centroids")?.to_f64()?;
    let scale = expected.iter().fold(1.0f64, |max, x| max.max(x.abs()));
    let worst = result.centroids.iter().zip(&expected).fold(0.0f64, |worst, (a, e)| worst.max((a - e).abs()));
    ensure!(result.centroids.len() == expected.len() && worst <= 1e-9 * scale, "the centroids differ by {worst}");
    if let Ok(assign) = tensor("assign") {
        let assign = assign.to_i64()?;
        ensure!(assign.iter().zip(&result.assign).all(|(&e, &a)| e == i64::from(a)), "the assignment differs");
    }
    Ok(true)
}

/// A layer as a file holds it decodes to the golden weights, and is written back with the same bytes.
fn layer(dir: &Path, case: &Value, id: &str) -> anyhow::Result<()> {
    let file = Checkpoint::open(&dir.join(format!("layers/{id}.safetensors")))?;
    let config = match LayerConfig::from_json("file", &case["layer_config"]) {
        Ok(config) => config,
        Err(kind) => bail!("{kind}"),
    };
    let linear = VptqLinear::read(&file, "file", &config, (count(case, "m")?, count(case, "k")?))?;
    let decoded = file.tensor("decoded")?;
    ensure!(linear.float().to_bytes(linear.dequantize()) == decoded.bytes(), "the decoded weights differ");
    for (name, tensor) in linear.to_tensors("file") {
        ensure!(tensor.bytes == file.tensor(&name)?.bytes(), "`{name}` is written otherwise");
    }
    Ok(())
}

fn folder(dir: &Path) -> anyhow::Result<()> {
    let json: Value = read_json(&dir.join("config.json"))?;
    let config = QuantizationConfig::from_config(&json).map_err(|kind| anyhow::anyhow!("{kind}"))?;
    let config = config.context("config.json has no `quantization_config`")?;
    let expected = Checkpoint::open(&dir.join("expected.safetensors"))?;
    let checkpoint = Checkpoint::open(dir)?;
    let mut layers = 0;
    for tensor in expected.names() {
        let Some(name) = tensor.strip_prefix("dense.").and_then(|name| name.strip_suffix(".weight")) else { continue };
        let Some(layer) = config.resolve(name) else { continue };
        let linear = VptqLinear::read(&checkpoint, name, layer, (layer.out_features, layer.in_features))?;
        let bytes = linear.float().to_bytes(linear.dequantize());
        ensure!(bytes == expected.tensor(tensor)?.bytes(), "`{name}` decodes otherwise");
        layers += 1;
    }
    ensure!(layers > 0, "there are no layers");
    Ok(())
}
