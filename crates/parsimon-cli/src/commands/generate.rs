//! `parsimon generate`: text from a model.

use std::time::{Duration, Instant};

use clap::Args;
use parsimon::model::{GenerateOptions, PackCacheReport, Sampler, generate_in};
use serde::Serialize;

use crate::commands::gated::AttentionArgs;
use crate::commands::model::ModelArgs;
use crate::commands::parse_tokens;
use crate::context::Context;
use crate::failure::BadInput;

/// Generate text; the same seed gives the same text on every run and for any number of threads.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon generate --model q2 --prompt 'A vector is' -n 50 --temp 0.7 --top-p 0.9 --seed 1"
)]
pub(crate) struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    attention: AttentionArgs,
    /// The text to continue.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_tokens")]
    prompt: Option<String>,
    /// The tokens to continue, without a tokenizer.
    #[arg(long, value_name = "1,2,3", value_parser = parse_tokens, conflicts_with = "prompt")]
    prompt_tokens: Option<std::vec::Vec<u32>>,
    /// The most tokens to generate.
    #[arg(short = 'n', default_value_t = 64)]
    n: usize,
    /// Temperature; 0 always takes the most likely token.
    #[arg(long, default_value_t = 0.0)]
    temp: f32,
    /// Sample from the smallest set of tokens with this probability.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Serialize)]
struct Report {
    /// Null without a tokenizer.
    text: Option<String>,
    tokens: Vec<u32>,
    prompt: Option<String>,
    prompt_tokens: usize,
    /// Decode speed: generated tokens after the first, over the time since the first.
    tokens_per_s: Option<f64>,
    first_token_ms: Option<f64>,
    /// The share of blocks that gated attention computed; null where it was dense.
    density: Option<f64>,
    /// With `--pack-cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_cache: Option<PackCacheReport>,
}

impl Generate {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let mut sampler = Sampler::try_new(self.temp, self.top_p, self.seed)?;
        let model = self.attention.apply(self.model.open()?)?;
        let (tokenizer, prompt_tokens) = match (&self.prompt, self.prompt_tokens) {
            (_, Some(tokens)) => (None, tokens),
            (prompt, None) => {
                let tokenizer = self.model.tokenizer()?;
                let tokens = tokenizer.encode(prompt.as_deref().unwrap_or_default(), true)?;
                (Some(tokenizer), tokens)
            }
        };
        if prompt_tokens.is_empty() {
            return Err(BadInput::new("the prompt is empty").into());
        }
        let start = Instant::now();
        let mut times: Vec<Duration> = Vec::with_capacity(self.n);
        let options = GenerateOptions { max_tokens: self.n };
        let mut state = model.new_state();
        let tokens = generate_in(&model, &mut state, &prompt_tokens, &options, &mut sampler, &mut |_| {
            times.push(start.elapsed());
            !cx.control().cancel.is_cancelled()
        })?;
        let text = tokenizer.map(|tokenizer| tokenizer.decode(&tokens, true)).transpose()?;
        let report = Report {
            text,
            tokens,
            prompt: self.prompt,
            prompt_tokens: prompt_tokens.len(),
            tokens_per_s: decode_speed(&times),
            first_token_ms: times.first().map(|first| first.as_secs_f64() * 1e3),
            density: state.density(),
            pack_cache: model.pack_cache(),
        };
        cx.report(&report, render)
    }
}

fn decode_speed(times: &[Duration]) -> Option<f64> {
    let (first, last) = (times.first()?, times.last()?);
    let seconds = (*last - *first).as_secs_f64();
    (seconds > 0.0).then(|| (times.len() - 1) as f64 / seconds)
}

fn render(report: &Report) -> String {
    let continuation = match &report.text {
        Some(text) => format!("{}{text}", report.prompt.as_deref().unwrap_or_default()),
        None => report.tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    };
    let speed = report.tokens_per_s.map_or_else(String::new, |speed| format!(", {speed:.1} tokens/s"));
    let first = report.first_token_ms.map_or_else(String::new, |ms| format!(", first after {ms:.1} ms"));
    let density = report.density.map_or_else(String::new, |density| format!(", {:.1} % of blocks", 100.0 * density));
    format!("{continuation}\n\n{} + {} tokens{speed}{first}{density}", report.prompt_tokens, report.tokens.len())
}
