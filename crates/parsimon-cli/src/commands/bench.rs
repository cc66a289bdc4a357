//! `parsimon bench`: how fast a model runs here, and how fast its bytes could be read.

mod stream;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use parsimon::model::{Model, ModelError};
use serde::Serialize;

use crate::commands::model::ModelArgs;
use crate::context::Context;
use crate::failure::BadInput;

/// Measure a model on this machine: tokens a second, and the share of what the memory's speed allows.
#[derive(Args)]
#[command(after_help = "Example: parsimon bench decode --model q2 --tokens 64 --threads 1")]
pub(crate) struct Bench {
    #[command(subcommand)]
    phase: Phase,
}

#[derive(Subcommand)]
enum Phase {
    /// One token after the other, after a prompt.
    Decode(Decode),
    /// A whole prompt at once.
    Prefill(Prefill),
}

#[derive(Args)]
struct Decode {
    #[command(flatten)]
    model: ModelArgs,
    /// Positions that are in the cache before the first measured token.
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Measured tokens.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
}

#[derive(Args)]
struct Prefill {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// How many times it is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

#[derive(Serialize)]
struct Report {
    phase: &'static str,
    tokens: usize,
    context: usize,
    threads: usize,
    load_seconds: f64,
    /// The median.
    tokens_per_s: f64,
    tokens_per_s_min: f64,
    tokens_per_s_max: f64,
    /// Bytes of weights that a token reads when they are read for it alone.
    bytes_per_token: usize,
    /// What the probe read in this run, by as many threads.
    memory_bytes_per_s: f64,
    /// Decoding only: the measured speed over what the probe's speed would allow.
    share_of_memory: Option<f64>,
}

impl Bench {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let model = match &self.phase {
            Phase::Decode(args) => args.model.open(),
            Phase::Prefill(args) => args.model.open(),
        }?;
        let load_seconds = start.elapsed().as_secs_f64();
        let (phase, tokens, context, times) = match &self.phase {
            Phase::Decode(args) => {
                let tokens = args.tokens as usize;
                ("decode", tokens, args.context, decode(&model, args.context, tokens)?)
            }
            Phase::Prefill(args) => {
                let tokens = args.tokens as usize;
                ("prefill", tokens, 0, prefill(&model, tokens, args.runs)?)
            }
        };
        // A time is that of one token in decoding and that of the prompt in prefill.
        let per_time = if phase == "decode" { 1.0 } else { tokens as f64 };
        let speed = |time: Duration| per_time / time.as_secs_f64();
        let bytes_per_token = model.bytes_per_token();
        let memory_bytes_per_s = stream::bytes_per_s();
        let median = speed(times[times.len() / 2]);
        let share = median * bytes_per_token as f64 / memory_bytes_per_s;
        let report = Report {
            phase,
            tokens,
            context,
            threads: rayon::current_num_threads(),
            load_seconds,
            tokens_per_s: median,
            tokens_per_s_min: speed(times[times.len() - 1]),
            tokens_per_s_max: speed(times[0]),
            bytes_per_token,
            memory_bytes_per_s,
            share_of_memory: (phase == "decode").then_some(share),
        };
        cx.report(&report, render)
    }
}

/// Sorted times of single tokens.
fn decode(model: &Model, context: usize, tokens: usize) -> anyhow::Result<Vec<Duration>> {
    fits(model, context.max(1) + tokens)?;
    let mut state = model.new_state();
    model.last_logits(&prompt(model, context.max(1)), &mut state)?;
    let mut logits = vec![0.0; model.config().vocab_size];
    sorted((0..tokens).map(|_| timed(|| model.last_logits_into(&[1], &mut state, &mut logits))))
}

/// Sorted times of whole prompts.
fn prefill(model: &Model, tokens: usize, runs: u32) -> anyhow::Result<Vec<Duration>> {
    fits(model, tokens)?;
    let prompt = prompt(model, tokens);
    sorted((0..runs).map(|_| timed(|| model.last_logits(&prompt, &mut model.new_state()).map(drop))))
}

fn timed(run: impl FnOnce() -> Result<(), ModelError>) -> Result<Duration, ModelError> {
    let start = Instant::now();
    run().map(|()| start.elapsed())
}

fn sorted(times: impl Iterator<Item = Result<Duration, ModelError>>) -> anyhow::Result<Vec<Duration>> {
    let mut times = times.collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times)
}

fn fits(model: &Model, positions: usize) -> Result<(), BadInput> {
    let limit = model.config().context_length();
    if positions <= limit {
        return Ok(());
    }
    Err(BadInput::new(format!("{positions} positions are asked for, and the model's context is {limit}")))
}

/// Tokens without a pattern that matters.
fn prompt(model: &Model, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|i| (i * 7919 % model.config().vocab_size) as u32).collect()
}

fn render(report: &Report) -> String {
    let Report { phase, tokens_per_s, tokens_per_s_min, tokens_per_s_max, .. } = report;
    let mut lines = vec![
        format!("{phase}: {tokens_per_s:.2} tokens/s ({tokens_per_s_min:.2} to {tokens_per_s_max:.2})"),
        format!(
            "{} threads, {} tokens after {}, loaded in {:.2} s",
            report.threads, report.tokens, report.context, report.load_seconds
        ),
        format!(
            "{:.1} MB of weights a token, memory read at {:.1} GB/s",
            report.bytes_per_token as f64 / 1e6,
            report.memory_bytes_per_s / 1e9
        ),
    ];
    if let Some(share) = report.share_of_memory {
        lines.push(format!("{:.0} % of what the memory's speed allows", 100.0 * share));
    }
    lines.join("\n")
}
