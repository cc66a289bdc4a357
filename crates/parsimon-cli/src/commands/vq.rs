//! `parsimon vq`: codebooks without a model around them.

mod golden;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use parsimon::tensor::SplitMix64;
use parsimon::tensor::io::{Checkpoint, FormatError, NpyArray, TensorData, read_json, write_safetensors};
use parsimon::tensor::{DType, TensorView};
use parsimon::vq::{
    CheckpointError, KMeansConfig, KMeansReport, Numerics, Points, QuantizationConfig, VptqLinear, kmeans,
};
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::failure::BadInput;

/// Work with codebooks: decode folders, cluster points, check golden files.
#[derive(Args)]
pub(crate) struct Vq {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Dequantize(Dequantize),
    Kmeans(Kmeans),
    Golden(golden::Golden),
}

impl Vq {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Dequantize(args) => args.run(cx),
            What::Kmeans(args) => args.run(cx),
            What::Golden(args) => args.run(cx),
        }
    }
}

/// Write the weights that a VPTQ folder stands for as one safetensors file: `P.weight` in the type of the codebooks, everything else as it is.
#[derive(Args)]
#[command(after_help = "Example: parsimon vq dequantize llama-vptq dense.safetensors")]
struct Dequantize {
    /// The folder.
    #[arg(value_name = "DIR")]
    input: PathBuf,
    /// The file to write.
    #[arg(value_name = "OUT.safetensors")]
    output: PathBuf,
}

#[derive(Serialize)]
struct DequantizeReport {
    layers: usize,
    copied: usize,
    bytes: usize,
}

/// What marks a layer of codebooks.
const MARK: &str = ".centroids.weight";

impl Dequantize {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let file = self.input.join("config.json");
        let json: Value = read_json(&file)?;
        let at = |kind| CheckpointError { file: file.clone(), kind };
        let config = QuantizationConfig::from_config(&json).map_err(at)?;
        let config = config.ok_or_else(|| BadInput::in_file(&file, "there is no `quantization_config`"))?;
        let checkpoint = Checkpoint::open(&self.input)?;
        let marked = checkpoint.names().filter_map(|name| name.strip_suffix(MARK));
        // The codebooks of residuals and outliers are marked as well: they are not described.
        let layers: Vec<&str> = marked.filter(|name| config.resolve(name).is_some()).collect();
        config.check_layers(|name| layers.contains(&name)).map_err(at)?;
        let mut tensors = BTreeMap::new();
        for name in &layers {
            cx.control().cancel.check()?;
            let layer = config.resolve(name).expect("only described layers are kept");
            let (m, k) = (layer.out_features, layer.in_features);
            let linear = VptqLinear::read(&checkpoint, name, layer, (m, k))?;
            let (dtype, bytes) = (linear.float().dtype(), linear.float().to_bytes(linear.dequantize()));
            tensors.insert(format!("{name}.weight"), TensorData { dtype, shape: vec![m, k], bytes });
        }
        let owner =
            |tensor: &str| layers.iter().any(|layer| tensor.strip_prefix(layer).is_some_and(|t| t.starts_with('.')));
        let mut copied = 0;
        for name in checkpoint.names().filter(|name| !owner(name) || name.ends_with(".bias")) {
            let view: TensorView<'_> = checkpoint.tensor(name)?;
            let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.bytes().to_vec());
            tensors.insert(name.to_owned(), TensorData { dtype, shape, bytes });
            copied += 1;
        }
        write_safetensors(&self.output, &tensors, None)?;
        let bytes = tensors.values().map(|tensor| tensor.bytes.len()).sum();
        let report = DequantizeReport { layers: layers.len(), copied, bytes };
        cx.report(&report, |r| format!("{} layers decoded, {} tensors copied, {} bytes", r.layers, r.copied, r.bytes))
    }
}

/// Cluster the rows of an array. The same seed gives the same centroids on every machine and with any number of threads.
#[derive(Args)]
#[command(after_help = "Example: parsimon vq kmeans points.npy --k 256 --seed 1 --out book.safetensors")]
struct Kmeans {
    /// Points, `[n, v]` of f32 or f64.
    #[arg(value_name = "X.npy")]
    points: PathBuf,
    /// Centroids.
    #[arg(long)]
    k: usize,
    /// Of the random numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Weights of the points, `[n]`.
    #[arg(long, value_name = "W.npy")]
    weights: Option<PathBuf>,
    /// Rounds at most.
    #[arg(long, default_value_t = 100)]
    iters: usize,
    /// Scores in f32: faster, and not exactly the reference.
    #[arg(long)]
    fast: bool,
    /// The file to write: `centroids` in f64 and `assign` in 32-bit integers.
    #[arg(long, value_name = "F.safetensors")]
    out: PathBuf,
}

#[derive(Serialize)]
struct KmeansOutcome {
    points: usize,
    width: usize,
    #[serde(flatten)]
    report: KMeansReport,
}

/// Numbers of an array in `f64`, and its shape.
fn numbers(path: &Path) -> Result<(Vec<f64>, Vec<usize>), FormatError> {
    let array = NpyArray::open(path)?;
    let wide = array.descr().ends_with("f8");
    let values =
        if wide { array.to_vec::<f64>()? } else { array.to_vec::<f32>()?.into_iter().map(f64::from).collect() };
    Ok((values, array.shape().to_vec()))
}

impl Kmeans {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (x, shape) = numbers(&self.points)?;
        let &[n, v] = &shape[..] else {
            return Err(BadInput::in_file(&self.points, format!("shape {shape:?}, expected two dimensions")).into());
        };
        let weights = self.weights.as_deref().map(numbers).transpose()?;
        if let Some((_, shape)) = weights.as_ref().filter(|(weights, _)| weights.len() != n) {
            let file = self.weights.as_deref().unwrap_or(&self.points);
            return Err(BadInput::in_file(file, format!("shape {shape:?}, expected [{n}]")).into());
        }
        let numerics = if self.fast { Numerics::Fast } else { Numerics::Exact };
        let config = KMeansConfig { iters: self.iters, numerics, ..KMeansConfig::new(self.k) };
        let weights = weights.as_ref().map(|(weights, _)| &weights[..]);
        let mut rng = SplitMix64::new(self.seed);
        let result = kmeans(Points::new(&x, v), weights, &config, &mut rng, &cx.control())?;
        let tensor = |dtype, shape: &[usize], bytes| TensorData { dtype, shape: shape.to_vec(), bytes };
        let centroids = result.centroids.iter().flat_map(|x| x.to_le_bytes()).collect();
        let assign = result.assign.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensors = BTreeMap::from([
            ("centroids".to_owned(), tensor(DType::F64, &[self.k, v], centroids)),
            ("assign".to_owned(), tensor(DType::U32, &[n], assign)),
        ]);
        write_safetensors(&self.out, &tensors, None)?;
        let outcome = KmeansOutcome { points: n, width: v, report: result.report };
        cx.report(&outcome, |o| {
            let KMeansReport { iters, inertia, used, .. } = o.report;
            format!(
                "{} points of {} numbers: {used} centroids after {iters} rounds, inertia {inertia:.6}",
                o.points, o.width
            )
        })
    }
}
