//! `parsimon eval`: perplexity and logits.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use parsimon::attn::gate::{Baseline, Rule, Selection};
use parsimon::model::{Gating, Model, PackCacheReport, PerplexityOptions, perplexity};
use parsimon::tensor::io::{Checkpoint, FormatError, write_npy};
use serde::Serialize;

use crate::commands::gated::AttentionArgs;
use crate::commands::model::ModelArgs;
use crate::commands::parse_tokens;
use crate::context::Context;
use crate::failure::BadInput;

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
    #[arg(long, value_name = "DIR", requires = "densities", group = "blocks")]
    gate: Option<PathBuf>,
    /// Blocks of `--block` tokens, chosen without a gate, to compare gates with.
    #[arg(long, value_enum, requires = "densities", group = "blocks")]
    baseline: Option<BaselineArg>,
    /// Tokens of a block, with `--baseline`.
    #[arg(long, value_name = "B", default_value_t = 64, requires = "baseline", value_parser = clap::value_parser!(u32).range(1..))]
    block: u32,
    /// The shares of blocks to evaluate with `--gate` or `--baseline`.
    #[arg(long, value_name = "1,.5,.3,.1", value_delimiter = ',', requires = "blocks")]
    densities: Option<Vec<f64>>,
    /// Compare the blocks with those that attention to everything gives most, with `--densities`; the time of it counts.
    #[arg(long, requires = "densities")]
    recall: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum BaselineArg {
    /// Products of mean queries and mean keys, as MoBA scores.
    MeanPool,
    /// The bound of Quest on every product.
    Quest,
}

/// One density.
#[derive(Serialize)]
struct DensityRow {
    density_target: f64,
    density: Option<f64>,
    /// Of the blocks computed, those that are among as many with the largest probabilities.
    recall: Option<f64>,
    /// The share of the largest probabilities of blocks that lies in the computed ones.
    mass: Option<f64>,
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
        let options = PerplexityOptions { ctx, max_windows: self.max_windows, measure_recall: self.recall };
        if let Some(densities) = &self.densities {
            let report = self.densities_report(&model, densities, (&tokens, &options), cx)?;
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

impl Ppl {
    /// How blocks are chosen for a share of them.
    fn gating(&self, model: &Model, share: f64) -> anyhow::Result<Gating> {
        let rule = Rule::NzRatio(share);
        let baseline = match (&self.gate, self.baseline) {
            (Some(gate), _) => return Ok(Gating::open(gate, model.config(), Some(rule))?),
            (None, Some(BaselineArg::MeanPool)) => Baseline::MeanPool,
            (None, Some(BaselineArg::Quest)) => Baseline::Quest,
            (None, None) => return Err(BadInput::new("`--densities` needs `--gate` or `--baseline`").into()),
        };
        Ok(Gating::Baseline { baseline, block: self.block as usize, selection: Selection::upstream(rule) })
    }

    fn densities_report(
        &self,
        model: &Model,
        densities: &[f64],
        (tokens, options): (&[u32], &PerplexityOptions),
        cx: &Context,
    ) -> anyhow::Result<DensityReport> {
        let row = |&density_target: &f64| {
            let gated = model.clone().with_gating(self.gating(model, density_target)?)?;
            let start = Instant::now();
            let result = perplexity(&gated, tokens, options, &cx.control())?;
            anyhow::Ok(DensityRow {
                density_target,
                density: result.density,
                recall: result.recall.map(|recall| recall.blocks),
                mass: result.recall.map(|recall| recall.mass),
                ppl: result.ppl,
                nll: result.nll,
                nll_stderr: result.nll_stderr,
                tokens: result.tokens,
                tokens_per_s: result.tokens as f64 / start.elapsed().as_secs_f64(),
            })
        };
        Ok(DensityReport { rows: densities.iter().map(row).collect::<Result<_, _>>()? })
    }
}

fn render_densities(report: &DensityReport) -> String {
    let line = |row: &DensityRow| {
        let [density, recall, mass] = [row.density, row.recall, row.mass]
            .map(|share| share.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}")));
        let DensityRow { density_target, ppl, nll, nll_stderr, .. } = row;
        format!("{density_target:>6} {density:>8} {recall:>7} {mass:>6} {ppl:>10.4} {nll:>9.5} {nll_stderr:>9.5}")
    };
    let rows: Vec<String> = report.rows.iter().map(line).collect();
    format!("target  density  recall   mass perplexity      nats    stderr\n{}", rows.join("\n"))
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
