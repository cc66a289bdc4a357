//! Golden models, and models made here.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod allocations;
mod convert;
mod families;
mod faults;
mod gated;
mod gguf;
mod made;
mod packed;
mod serving;
mod vptq;

use std::path::Path;

use parsimon_core::io::Checkpoint;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{
    GenerateOptions, LoadOptions, Model, ModelConfig, PerplexityOptions, Sampler, generate, perplexity,
};
use parsimon_testkit::{committed, golden};

/// Logits of an `f32` run against a float64 or `transformers` run: of the largest logit.
const LOGIT_TOLERANCE: f64 = 2e-4;

fn open(folder: &Path) -> Model {
    Model::open(folder, &LoadOptions::default()).unwrap()
}

fn tokens(expected: &Checkpoint, name: &str) -> Vec<u32> {
    expected.tensor(name).unwrap().to_i64().unwrap().into_iter().map(|id| id as u32).collect()
}

#[track_caller]
fn check_logits(name: &str, logits: &[f32], expected: &[f64]) {
    assert_eq!(logits.len(), expected.len());
    let largest = expected.iter().fold(1.0f64, |max, logit| max.max(logit.abs()));
    let error = logits.iter().zip(expected).fold(0.0f64, |max, (&a, b)| max.max((f64::from(a) - b).abs()));
    assert!(error <= LOGIT_TOLERANCE * largest, "{name}: {error} of {largest}");
}

#[track_caller]
fn check_greedy(model: &Model, prompt: &[u32], expected: &[u32]) {
    // The goldens run past an end-of-text token.
    let mut config = model.config().clone();
    config.eos_token_ids.clear();
    let mut state = model.new_state();
    let mut logits = model.last_logits(prompt, &mut state).unwrap();
    let mut sampler = Sampler::greedy();
    for &token in expected {
        assert_eq!(sampler.sample(&logits), token);
        logits = model.last_logits(&[token], &mut state).unwrap();
    }
}

/// All at once, token by token, and in chunks.
#[track_caller]
fn check_prompt(name: &str, model: &Model, tokens: &[u32], expected: &[f64]) {
    for chunk in [tokens.len(), 1, 7] {
        let mut state = model.new_state();
        let logits: Vec<f32> = tokens.chunks(chunk).flat_map(|part| model.logits(part, &mut state).unwrap()).collect();
        check_logits(&format!("{name} in chunks of {chunk}"), &logits, expected);
    }
}

#[test]
fn sigma_goldens() {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        for name in ["sigma_tiny", "sigma_tiny_plain"] {
            let model = open(&dir.join(name));
            let expected = Checkpoint::open(&dir.join(name).join("expected.safetensors")).unwrap();
            let prompt = tokens(&expected, "tokens");
            check_prompt(name, &model, &prompt, &expected.tensor("logits").unwrap().to_f64().unwrap());
            check_greedy(&model, &prompt, &tokens(&expected, "greedy"));
        }
        2
    });
}

/// The dense base model of the sparse-attention goldens.
#[test]
fn dense_base_golden() {
    golden("parsimon-model", "attention/seer_tiny", |dir| {
        let expected = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
        let logits = expected.tensor("logits_dense").unwrap().to_f64().unwrap();
        check_prompt("seer_tiny", &open(&dir.join("base")), &tokens(&expected, "tokens"), &logits);
        1
    });
}

/// A trained model: 32 windows of 512 tokens have the perplexity that its own record says, 8.378.
#[cfg(feature = "tokenizer")]
#[test]
fn trained_model_perplexity() {
    golden("parsimon-model", "models", |dir| {
        let folder = dir.join("llama-ref-16m");
        let tokenizer = parsimon_model::Tokenizer::open(&folder).unwrap();
        let text = std::fs::read_to_string(dir.join("heldout_docs.txt")).unwrap();
        let tokens = tokenizer.encode(&text, true).unwrap();
        let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
        let options = PerplexityOptions { max_windows: Some(32), ..PerplexityOptions::new(512) };
        let result = perplexity(&open(&folder), &tokens, &options, &control).unwrap();
        // The record was made with bf16 weights in f32 arithmetic and printed to three places.
        assert!((result.ppl - 8.378).abs() < 5e-3, "{result:?}");
        assert_eq!((result.windows, result.tokens), (32, 32 * 511));
        1
    });
}

#[test]
fn generation_stops_where_it_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sigma_tiny");
    let model = open(&folder);
    let run = |prompt: &[u32], max_tokens, stop_after: usize| {
        let mut seen = 0;
        let mut on_token = |_| {
            seen += 1;
            seen < stop_after
        };
        let mut sampler = Sampler::try_new(1.0, 0.95, 3).unwrap();
        generate(&model, prompt, &GenerateOptions { max_tokens }, &mut sampler, &mut on_token).unwrap()
    };
    assert_eq!(run(&[1, 2], 0, 9).len(), 0);
    assert_eq!(run(&[1, 2], 5, 3).len(), 3);
    let all = run(&[1, 2], 400, 1000);
    assert_eq!(all, run(&[1, 2], 400, 1000), "the same seed gives the same tokens");
    let eos = &model.config().eos_token_ids;
    assert!(all.len() == 400 || eos.contains(all.last().unwrap()));
    let limit = model.config().max_position_embeddings;
    let long = run(&vec![3; limit], 5, 1000);
    assert_eq!(long.len(), 1, "one token is known when the context is full, and then it ends");
}

#[test]
fn bad_tokens_and_texts_are_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sigma_tiny");
    let model = open(&folder);
    let mut state = model.new_state();
    let error = model.logits(&[1, 50], &mut state).unwrap_err().to_string();
    assert_eq!(error, "token 50 at position 1 is outside the vocabulary of 50");
    let error = model.logits(&[0; 513], &mut state).unwrap_err().to_string();
    assert_eq!(error, "the context is full: 513 positions, the model has 512");
    assert!(model.last_logits(&[], &mut state).is_err());
    assert!(state.is_empty());
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    let short = PerplexityOptions::new(64);
    assert!(perplexity(&model, &[1; 63], &short, &control).is_err());
    let error = ModelConfig::open(&folder.join("none")).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}
