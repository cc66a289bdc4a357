//! Every family against `transformers`: logits of prompts, greedy continuations, rotary tables.

use std::path::Path;

use parsimon_core::io::Checkpoint;
use parsimon_model::{Model, ModelConfig, RopeFrequencies};
use parsimon_testkit::{golden, nmse};

use crate::{check_greedy, check_logits, check_prompt, open, tokens};

/// How a family's logits may differ.
#[derive(Clone, Copy, PartialEq)]
enum Closeness {
    /// Within 2e-4 of the largest, in whatever chunks the prompt comes.
    Same,
    /// The same, for whole prompts: the rotation of a part depends on the length of the sequence so far.
    SameWhole,
    /// An 8-bit activation may flip at a tie.
    Ties,
}

/// The bound of [`Closeness::Ties`]; measured 1e-12 without a flip.
const NMSE_MAX: f64 = 1e-4;

/// A greater lead of the best logit must not be lost to a flip.
const MARGIN: f64 = 0.05;

#[track_caller]
fn check_ties(name: &str, logits: &[f32], expected: &[f64], vocab: usize) {
    let error = nmse(logits, expected);
    assert!(error <= NMSE_MAX, "{name}: {error}");
    for (row, expected) in logits.chunks_exact(vocab).zip(expected.chunks_exact(vocab)) {
        let mut order: Vec<usize> = (0..vocab).collect();
        order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
        let best = (0..vocab).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        if expected[order[0]] - expected[order[1]] > MARGIN {
            assert_eq!(best, Some(order[0]), "{name}");
        }
    }
}

#[track_caller]
fn check_family(folder: &Path, closeness: Closeness) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let model = open(folder);
    let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
    for text in ["short", "long"] {
        let logits = expected.tensor(&format!("{text}.logits")).unwrap().to_f64().unwrap();
        let prompt = tokens(&expected, &format!("{text}.ids"));
        let whole = |model: &Model| model.logits(&prompt, &mut model.new_state()).unwrap();
        match closeness {
            Closeness::Same => check_prompt(name, &model, &prompt, &logits),
            Closeness::SameWhole => check_logits(name, &whole(&model), &logits),
            Closeness::Ties => check_ties(name, &whole(&model), &logits, model.config().vocab_size),
        }
        check_steps(name, &model, &prompt);
    }
    let (short, greedy) = (tokens(&expected, "short.ids"), tokens(&expected, "greedy.ids"));
    assert_eq!(greedy[..short.len()], short);
    check_greedy(&model, &short, &greedy[short.len()..]);
    check_table(name, model.config(), &expected);
    let again = ModelConfig::from_json(&model.config().to_json(), folder).unwrap();
    assert_eq!(&again, model.config(), "{name}: the configuration round trips");
}

/// The logits after each token are those of a prompt that ends there.
#[track_caller]
fn check_steps(name: &str, model: &Model, prompt: &[u32]) {
    let mut state = model.new_state();
    for (i, &token) in prompt.iter().enumerate() {
        let step = model.last_logits(&[token], &mut state).unwrap();
        let whole = model.last_logits(&prompt[..=i], &mut model.new_state()).unwrap();
        let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
        check_logits(&format!("{name} after {i} tokens"), &step, &whole);
    }
}

/// The table in use for 40 tokens.
#[track_caller]
fn check_table(name: &str, config: &ModelConfig, expected: &Checkpoint) {
    let f = RopeFrequencies::new(config);
    let inv_freq = expected.tensor("inv_freq").unwrap().to_f64().unwrap();
    assert_eq!(f.inv_freq().len(), inv_freq.len(), "{name}");
    for (a, b) in f.inv_freq_at(40).iter().zip(inv_freq) {
        assert!((a - b).abs() <= 1e-6 * b, "{name}: {a} for {b}");
    }
    let scaling = expected.tensor("rope_attention_scaling").unwrap().to_f64().unwrap()[0];
    assert!((f.attention_scaling() - scaling).abs() <= 1e-6, "{name}: {} for {scaling}", f.attention_scaling());
}

#[test]
fn every_family_has_the_reference_logits() {
    golden("parsimon-model", "formats/hf", |dir| {
        for name in ["llama2", "llama3", "qwen2", "qwen3", "mistral", "gemma"] {
            check_family(&dir.join(name), Closeness::Same);
        }
        check_family(&dir.join("phi3"), Closeness::SameWhole);
        check_family(&dir.join("bitnet"), Closeness::Ties);
        8
    });
}
