//! The methods of `parsimon quantize` that look at what a text makes of the layers' inputs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use parsimon::model::{CalibratedLayer, CalibratedMethod, Tokenizer, calibration_windows, quantize_calibrated};
use parsimon::tensor::io::write_json;
use parsimon::train::Corpus;
use parsimon::vq::{
    Bits as LayerBits, ColumnOrder, FinetuneConfig, FloatType, Gptq, KMeansReport, LayerReport, Norm, OutlierConfig,
    Outliers, QuantizeError, VptqConfig,
};
use serde::Serialize;

use super::{Form, Method, Quantize};
use crate::context::Context;
use crate::failure::BadInput;

/// Methods with a calibration text.
#[derive(Args)]
#[command(next_help_heading = "Calibrated methods")]
pub(super) struct CalibratedArgs {
    /// A text that is like what the model will read, or the folder of a curated corpus whose tokenizer is the model's.
    #[arg(long, value_name = "FILE")]
    calib: Option<PathBuf>,
    /// Tokens of it that are run, in windows spread evenly.
    #[arg(long, value_name = "N", default_value_t = 65536)]
    calib_tokens: usize,
    /// Tokens of a window; the default is the model's context, at most 2048.
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
    /// Of the random numbers.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// `gptq`: columns of large inputs first.
    #[arg(long)]
    act_order: bool,
    /// Damping in parts of the mean of the Hessian's diagonal.
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    percdamp: f64,
    /// Outputs in a vector.
    #[arg(long, value_name = "V")]
    vector_len: Option<usize>,
    /// Centroids of the main codebook.
    #[arg(long, value_name = "K")]
    centroids: Option<usize>,
    /// Centroids of the residual codebook, 0 for none.
    #[arg(long, value_name = "KR")]
    residual: Option<usize>,
    /// Main codes that are tried with the residual codebook.
    #[arg(long, value_name = "B")]
    beam: Option<usize>,
    /// Columns with a codebook of their own, in percent.
    #[arg(long, value_name = "PCT")]
    outliers: Option<f64>,
    /// Outputs in a vector of these columns.
    #[arg(long, value_name = "V0", default_value_t = 4, requires = "outliers")]
    outlier_vector_len: usize,
    /// Centroids of these columns.
    #[arg(long, value_name = "K0", default_value_t = 256, requires = "outliers")]
    outlier_centroids: usize,
    /// Column groups with codebooks of their own.
    #[arg(long, value_name = "G")]
    groups: Option<usize>,
    /// How columns are normalised.
    #[arg(long, value_enum, default_value_t = NormArg::Std)]
    norm: NormArg,
    /// Quantize columns in their order.
    #[arg(long)]
    no_perm: bool,
    /// Rounds of refitting the codebooks.
    #[arg(long, value_name = "N")]
    em: Option<usize>,
    /// Rounds of k-means at most.
    #[arg(long, value_name = "N")]
    iters: Option<usize>,
    /// Train codebooks and norms of every layer afterwards.
    #[arg(long)]
    finetune: bool,
    /// `vptq`: report for every layer what each part of the method gives, which takes five times as long.
    #[arg(long)]
    explain: bool,
    /// Which other programs must be able to load the result.
    #[arg(long, value_enum, default_value_t = CompatArg::Upstream)]
    compat: CompatArg,
    /// Change settings that they could not load, and say so, rather than fail.
    #[arg(long)]
    auto: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NormArg {
    Std,
    Minmax,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompatArg {
    Upstream,
    None,
}

#[derive(Serialize)]
struct Report {
    method: &'static str,
    bits: Option<f64>,
    calib_tokens: usize,
    bits_per_weight: f64,
    layers: Vec<LayerEntry>,
    changes: Vec<String>,
    /// Only on standard output: the folder does not depend on how long it took, or how often it was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
}

#[derive(Clone, Copy, Serialize)]
struct Run {
    seconds: f64,
    resumed: usize,
    stale: usize,
}

#[derive(Serialize)]
struct LayerEntry {
    name: String,
    m: usize,
    k: usize,
    rel: f64,
    rel_rtn: Option<f64>,
    /// With `--explain`: the error without a part of the method.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ablation: BTreeMap<String, f64>,
    obj: Vec<f64>,
    bits: BitsEntry,
    percdamp: Option<f64>,
    kmeans: Vec<KMeansReport>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct BitsEntry {
    #[serde(flatten)]
    parts: LayerBits,
    total: f64,
}

impl LayerEntry {
    fn new(CalibratedLayer { report, rel_rtn, ablation }: CalibratedLayer) -> Self {
        let bits = BitsEntry { parts: report.bits, total: report.bits.total() };
        let LayerReport { name, m, k, rel, percdamp, obj, kmeans, warnings, .. } = report;
        LayerEntry { name, m, k, rel, rel_rtn, ablation, obj, bits, percdamp, kmeans, warnings }
    }
}

impl CalibratedArgs {
    /// Rounding to nearest takes none of these.
    pub(super) fn refuse(&self) -> Result<(), BadInput> {
        let is_set =
            self.calib.is_some() || self.finetune || self.explain || self.act_order || self.vector_len.is_some();
        match is_set {
            true => Err(BadInput::new("`--calib` and what goes with it are of the methods vptq and gptq")),
            false => Ok(()),
        }
    }

    /// The configuration of a layer; what had to be changed for other programs.
    fn vptq(
        &self,
        bits: f64,
        shape: (usize, usize),
        float: FloatType,
    ) -> Result<(VptqConfig, Vec<String>), QuantizeError> {
        let preset = VptqConfig::preset(bits, shape, float).ok_or(QuantizeError::Option {
            key: "bits",
            value: bits.to_string(),
            expected: "2, 2.3, 3 or 4",
        })?;
        let explicit = self.vector_len.is_some() || self.centroids.is_some() || self.residual.is_some();
        let mut config = VptqConfig {
            vector_len: self.vector_len.unwrap_or(preset.vector_len),
            centroids: self.centroids.unwrap_or(preset.centroids),
            // An explicit codebook does not inherit another's residual.
            residual: self.residual.unwrap_or(if explicit { 0 } else { preset.residual }),
            beam: self.beam.unwrap_or(preset.beam),
            groups: self.groups.unwrap_or(1),
            em_rounds: self.em.unwrap_or(preset.em_rounds),
            iters: self.iters.unwrap_or(preset.iters),
            percdamp: self.percdamp,
            seed: self.seed,
            norm: match self.norm {
                NormArg::Std => Norm::Std,
                NormArg::Minmax => Norm::MinMax,
                NormArg::None => Norm::None,
            },
            order: if self.no_perm { ColumnOrder::Natural } else { ColumnOrder::Descending },
            outlier: self.outliers.map(|percent| OutlierConfig {
                columns: Outliers::Percent(percent),
                vector_len: self.outlier_vector_len,
                centroids: self.outlier_centroids,
            }),
            ..preset
        };
        config.byte_grid = config.centroids <= 256 && config.residual <= 256;
        match self.compat {
            CompatArg::None => Ok((config, Vec::new())),
            CompatArg::Upstream => config.for_upstream(shape, self.auto),
        }
    }
}

impl Quantize {
    pub(super) fn run_calibrated(self, cx: &Context) -> anyhow::Result<()> {
        let args = &self.calibrated;
        let Some(calib) = &args.calib else {
            return Err(BadInput::new("the methods vptq and gptq need a text: give `--calib FILE`").into());
        };
        if self.to == Form::Gguf || self.block_type.is_some() {
            return Err(BadInput::new("the methods vptq and gptq write folders: leave `--to` and `--type` away").into());
        }
        let Some(bits) = self.bits else { return Err(BadInput::new("give `--bits`").into()) };
        let start = Instant::now();
        let tokens = calibration_tokens(&self.model, calib)?;
        let context = parsimon::model::ModelConfig::open(&self.model)?.context_length();
        let ctx = args.ctx.unwrap_or(context.min(2048));
        let windows = calibration_windows(&tokens, ctx, args.calib_tokens.div_ceil(ctx.max(1)))?;
        let changes = std::sync::Mutex::new(Vec::new());
        let choose = |shape: (usize, usize), float| {
            let (config, changed) = args.vptq(bits.count(), shape, float)?;
            let mut changes = changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for change in changed {
                if !changes.contains(&change) {
                    changes.push(change);
                }
            }
            Ok(config)
        };
        let (method, name) = match self.method {
            Method::Gptq => {
                let bits = bits.count();
                if bits.fract() != 0.0 {
                    return Err(BadInput::new("gptq has 8, 4, 3 or 2 bits").into());
                }
                let gptq = Gptq {
                    act_order: args.act_order,
                    percdamp: args.percdamp,
                    ..Gptq::new(bits as u8, self.group as usize)
                };
                (CalibratedMethod::Gptq(gptq), "gptq")
            }
            _ => {
                let finetune = args.finetune.then(FinetuneConfig::default);
                (CalibratedMethod::Vptq { config: &choose, finetune, explain: args.explain }, "vptq")
            }
        };
        let result = quantize_calibrated(&self.model, &self.out, &windows, &method, &cx.control())?;
        let mut report = Report {
            method: name,
            bits: Some(bits.count()),
            calib_tokens: windows.len() * ctx,
            bits_per_weight: result.bits_per_weight,
            layers: result.layers.into_iter().map(LayerEntry::new).collect(),
            changes: changes.into_inner().unwrap_or_default(),
            run: None,
        };
        write_json(&self.out.join("quantize.json"), &report)?;
        let seconds = start.elapsed().as_secs_f64();
        report.run = Some(Run { seconds, resumed: result.resumed, stale: result.stale });
        cx.report(&report, render)
    }
}

/// The tokens of a text as the model reads it, or of a corpus.
fn calibration_tokens(model: &Path, calib: &Path) -> anyhow::Result<Vec<u32>> {
    if calib.is_dir() {
        return Ok(Corpus::open(calib)?.tokens().iter().map(|&token| u32::from(token)).collect());
    }
    let text = std::fs::read(calib).with_context(|| format!("cannot read {}", calib.display()))?;
    let text = String::from_utf8(text).map_err(|error| BadInput::in_file(calib, error.utf8_error().to_string()))?;
    Ok(Tokenizer::open(model)?.encode(&text, true)?)
}

fn render(report: &Report) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    let parts = report.layers.first().into_iter().flat_map(|layer| layer.ablation.keys());
    let mut header = ["layer", "shape", "proxy error", "rounded to nearest", "bits/weight"].map(str::to_owned).to_vec();
    header.extend(parts.map(|part| format!("without {part}")));
    table.set_header(header);
    for layer in &report.layers {
        let rtn = layer.rel_rtn.map_or_else(String::new, |rel| format!("{rel:.5}"));
        let shape = format!("{} x {}", layer.m, layer.k);
        let mut row = vec![layer.name.clone(), shape, format!("{:.5}", layer.rel), rtn];
        row.push(format!("{:.3}", layer.bits.total));
        row.extend(layer.ablation.values().map(|rel| format!("{rel:.5}")));
        table.add_row(row);
    }
    let mut text = table.to_string();
    // Writing to a string cannot fail.
    let bits = report.bits_per_weight;
    let _ = write!(text, "\n{} layers, {bits:.3} bits a weight with everything", report.layers.len());
    if let Some(Run { seconds, resumed, stale }) = report.run {
        let _ = write!(text, ", {seconds:.1} s");
        if resumed > 0 {
            let _ = write!(text, "\n{resumed} layers were there from an interrupted run");
        }
        if stale > 0 {
            let _ = write!(text, "\n{stale} layers of an interrupted run were made with other settings and done again");
        }
    }
    for change in &report.changes {
        let _ = write!(text, "\nchanged for other programs: {change}");
    }
    for layer in &report.layers {
        for warning in &layer.warnings {
            let _ = write!(text, "\n{}: {warning}", layer.name);
        }
    }
    text
}
