//! `parsimon eval`: perplexity and logits.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{ArgGroup, Args, Subcommand};
use parsimon::attn::gate::Rule;
use parsimon::model::{Gating, Model, PackCacheReport, PerplexityOptions, perplexity};
use parsimon::tensor::io::{Checkpoint, FormatError, write_npy};
use serde::Serialize;

use crate::commands::gated::AttentionArgs;
use crate::commands::model::ModelArgs;
use crate::commands::parse_tokens;
use crate::context::Context;

/// Logits of two programs on the same weights agree within this, absolutely.
const CHECK_TOLERANCE: f64 = 1e-4;

/// Evaluate a model.
#[derive(Args)]
pub(crate) struct Eval {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Ppl(Ppl),
    Logits(Logits),
}

impl Eval {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Ppl(args) => args.run(cx),
            What::Logits(args) => args.run(cx),
        }
    }
}

/// Perplexity of a text: tokenized whole with special tokens, consecutive windows, remainder dropped, the first token of a window not scored.
#[derive(Args)]
#[command(after_help = "Example: parsimon eval ppl --model q4 --text heldout.txt --ctx 512")]
struct Ppl {
    #[command(flatten)]
    model: ModelArgs,
    /// The text.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of a window; the default is the model's context, at most 512.
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
    /// Score only the first windows.
    #[arg(long, value_name = "W")]
    max_windows: Option<usize>,
    /// Gated attention: the folder of prefill gates.
    #[arg(long, value_name = "DIR", requires = "densities")]
    gate: Option<PathBuf>,
    /// The shares of blocks to evaluate with `--gate`.
    #[arg(long, value_name = "1,.5,.3,.1", value_delimiter = ',', requires = "gate")]
    densities: Option<Vec<f64>>,
}

/// One density.
#[derive(Serialize)]
struct DensityRow {
    density_target: f64,
    density: Option<f64>,
    ppl: f64,
    nll: f64,
    nll_stderr: f64,
    tokens: usize,
    tokens_per_s: f64,
}

#[derive(Serialize)]
struct DensityReport {
    rows: Vec<DensityRow>,
}

#[derive(Serialize)]
struct PplReport {
    ppl: f64,
    nll: f64,
    tokens: usize,
    windows: usize,
    ctx: usize,
    seconds: f64,
    /// With `--pack-cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_cache: Option<PackCacheReport>,
}

impl Ppl {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        const CTX_MAX: usize = 512;
        let text = std::fs::read_to_string(&self.text).map_err(|e| FormatError::io(&self.text, "read as UTF-8", e))?;
        let model = self.model.open()?;
        let tokens = self.model.tokenizer()?.encode(&text, true)?;
        let ctx = self.ctx.unwrap_or(model.config().max_position_embeddings.min(CTX_MAX));
        let options = PerplexityOptions { ctx, max_windows: self.max_windows };
        if let (Some(gate), Some(densities)) = (&self.gate, &self.densities) {
            let report = densities_report(&model, gate, densities, (&tokens, &options), cx)?;
            return cx.report(&report, render_densities);
        }
        let start = Instant::now();
        let result = perplexity(&model, &tokens, &options, &cx.control())?;
        let report = PplReport {
            ppl: result.ppl,
            nll: result.nll,
            tokens: result.tokens,
            windows: result.windows,
            ctx,
            seconds: start.elapsed().as_secs_f64(),
            pack_cache: model.pack_cache(),
        };
        cx.report(&report, |r| {
            let PplReport { ppl, nll, tokens, windows, ctx, seconds, .. } = r;
            format!("perplexity {ppl:.4} ({nll:.5} nats a token; {tokens} tokens in {windows} windows of {ctx}; {seconds:.1} s)")
        })
    }
}

fn densities_report(
    model: &Model,
    gate: &Path,
    densities: &[f64],
    (tokens, options): (&[u32], &PerplexityOptions),
    cx: &Context,
) -> anyhow::Result<DensityReport> {
    let row = |&density_target: &f64| {
        let gating = Gating::open(gate, model.config(), Some(Rule::NzRatio(density_target)))?;
        let gated = model.clone().with_gating(gating)?;
        let start = Instant::now();
        let result = perplexity(&gated, tokens, options, &cx.control())?;
        anyhow::Ok(DensityRow {
            density_target,
            density: result.density,
            ppl: result.ppl,
            nll: result.nll,
            nll_stderr: result.nll_stderr,
            tokens: result.tokens,
            tokens_per_s: result.tokens as f64 / start.elapsed().as_secs_f64(),
        })
    };
    Ok(DensityReport { rows: densities.iter().map(row).collect::<Result<_, _>>()? })
}

fn render_densities(report: &DensityReport) -> String {
    let line = |row: &DensityRow| {
        let density = row.density.map_or_else(|| "-".to_owned(), |density| format!("{density:.3}"));
        format!("{:>6} {density:>8} {:>10.4} {:>9.5} {:>9.5}", row.density_target, row.ppl, row.nll, row.nll_stderr)
    };
    let rows: Vec<String> = report.rows.iter().map(line).collect();
    format!("target  density perplexity      nats    stderr\n{}", rows.join("\n"))
}

/// Logits of given tokens, written as `.npy` (f32, `[n, vocab]`) or compared with a file.
#[derive(Args)]
#[command(
    group = ArgGroup::new("mode").required(true).args(["out", "check"]),
    after_help = "Example: parsimon eval logits --model model --tokens 1,2,3 --out logits.npy"
)]
struct Logits {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    attention: AttentionArgs,
    /// The first tokens run in one pass, the others one after the other; by default all in one.
    #[arg(long, value_name = "N")]
    prefill_len: Option<usize>,
    /// The tokens.
    #[arg(long, value_name = "1,2,3", value_parser = parse_tokens, required_unless_present = "check")]
    tokens: Option<std::vec::Vec<u32>>,
    /// The file to write.
    #[arg(long, value_name = "FILE.npy", requires = "tokens")]
    out: Option<PathBuf>,
    /// Compare with this file's `logits` for its `tokens` instead; a difference above 1e-4 fails.
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "tokens")]
    check: Option<PathBuf>,
}

#[derive(Serialize)]
struct LogitsReport {
    n: usize,
    vocab_size: usize,
    /// The largest absolute difference, when compared.
    max_abs_difference: Option<f64>,
    /// The share of blocks that gated attention computed.
    density: Option<f64>,
    /// With `--pack-cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_cache: Option<PackCacheReport>,
}

impl Logits {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let model = self.attention.apply(self.model.open()?)?;
        let vocab_size = model.config().vocab_size;
        let (tokens, expected) = match &self.check {
            Some(path) => read_check(path, vocab_size)?,
            None => (self.tokens.unwrap_or_default(), Vec::new()),
        };
        let n = tokens.len();
        let mut state = model.new_state();
        let (prompt, rest) = tokens.split_at(self.prefill_len.map_or(n, |len| len.min(n)));
        let mut logits = model.logits(prompt, &mut state)?;
        for token in rest.chunks(1) {
            logits.extend(model.logits(token, &mut state)?);
        }
        if let Some(out) = &self.out {
            write_npy(out, &[n, vocab_size], &logits)?;
        }
        let difference = self.check.as_ref().map(|_| max_abs_difference(&logits, &expected));
        if let (Some(path), Some(difference)) = (&self.check, difference) {
            // Written so that a NaN fails.
            anyhow::ensure!(
                difference <= CHECK_TOLERANCE,
                "the logits differ from {} by {difference:e}, more than {CHECK_TOLERANCE:e}",
                path.display()
            );
        }
        let report = LogitsReport {
            n,
            vocab_size,
            max_abs_difference: difference,
            density: state.density(),
            pack_cache: model.pack_cache(),
        };
        cx.report(&report, |r| {
            let shape = format!("logits [{}, {}]", r.n, r.vocab_size);
            r.max_abs_difference.map_or(shape.clone(), |d| format!("{shape} agree within {d:.2e}"))
        })
    }
}

fn read_check(path: &Path, vocab_size: usize) -> Result<(Vec<u32>, Vec<f32>), FormatError> {
    let checkpoint = Checkpoint::open(path)?;
    let tokens: Vec<u32> = checkpoint.tensor("tokens")?.to_i64()?.into_iter().map(|token| token as u32).collect();
    let logits = checkpoint.tensor("logits")?.expect_shape(&[tokens.len(), vocab_size])?.to_f32()?;
    Ok((tokens, logits))
}

fn max_abs_difference(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).fold(0.0, |max, (&a, &b)| {
        let difference = f64::from(a - b).abs();
        if difference > max || difference.is_nan() { difference } else { max }
    })
}
