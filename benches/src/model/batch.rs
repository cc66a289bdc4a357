//! Several requests in one engine, beside one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use parsimon_model::{Engine, EngineOptions, Event, Model, ModelConfig, Request};
use parsimon_simd::Level;
use serde_json::json;

use crate::measure::{Times, time};
use crate::record::{Record, Sink};

pub(super) const CASE: &str = "batch 15m";

const SEQUENCES: [usize; 4] = [1, 4, 16, 32];

const PROMPT: u32 = 8;

/// Tokens of an output.
const TOKENS: usize = 48;

/// 15 million parameters, more than a core's caches hold: weights that are read once for several sequences are what a batch is for.
pub(super) fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 512,
        intermediate_size: 1536,
        head_dim: 128,
        aug_q_size: 0,
        ..ModelConfig::sigma_tiny(8192)
    }
}

pub(super) fn run(
    weights: &str,
    model: &Arc<Model>,
    threads: usize,
    budget: Duration,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let mut one: Option<(Times, Vec<Vec<u32>>)> = None;
    for n in SEQUENCES {
        let outputs = outputs(model, n)?;
        let mut failure = Ok(());
        let times = time(budget, |_| {
            if let Err(error) = self::outputs(model, n) {
                failure = Err(error);
            }
        });
        failure?;
        let (one, alone) = one.get_or_insert_with(|| (times, outputs.clone()));
        ensure!(outputs[0] == alone[0], "{CASE} {weights}: the tokens of {n} sequences are not those of one");
        let per_s = |seconds: f64| (n * TOKENS) as f64 / seconds;
        sink.push(Record {
            area: "model",
            case: CASE.into(),
            variant: format!("{weights} x{n}"),
            params: BTreeMap::from([("sequences", json!(n)), ("prompt", json!(PROMPT)), ("tokens", json!(TOKENS))]),
            isa: Level::best().name(),
            threads,
            metric: "generate",
            unit: "tokens/s",
            median: per_s(times.median),
            min: per_s(times.max),
            max: per_s(times.min),
            runs: times.runs,
            limit: None,
            pct_of_limit: None,
            baseline: Some(format!("{weights} x1")),
            ratio_to_baseline: Some(n as f64 * one.median / times.median),
            checked: true,
        });
    }
    Ok(())
}

/// The tokens of `n` requests with different prompts.
fn outputs(model: &Arc<Model>, n: usize) -> anyhow::Result<Vec<Vec<u32>>> {
    let options = EngineOptions { max_sequences: n, prefix_cache: false, ..EngineOptions::default() };
    let mut engine = Engine::try_new(model.clone(), options)?;
    for i in 0..n as u32 {
        let prompt = (0..PROMPT).map(|t| (t * 7 + i) % model.config().vocab_size as u32).collect();
        engine.submit(Request { ignore_eos: true, ..Request::new(prompt, TOKENS) })?;
    }
    let (mut events, mut outputs) = (Vec::new(), vec![Vec::new(); n]);
    while !engine.is_idle() {
        engine.step(&mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Token { request, token } => outputs[request.get() as usize].push(token.id),
                Event::Failed { error, .. } => return Err(error.into()),
                Event::Finished { .. } => {}
            }
        }
    }
    Ok(outputs)
}
