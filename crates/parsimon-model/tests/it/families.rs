//! Every family against `transformers`: logits of prompts, greedy continuations, rotary tables.

use std::path::Path;

use parsimon_core::io::Checkpoint;
use parsimon_model::{Activation, LoadOptions, Model, ModelConfig, RopeFrequencies, RopeScaling};
use parsimon_testkit::{committed, golden, nmse};

use crate::{LOGIT_TOLERANCE, check_greedy, check_logits, check_prompt, open, tokens};

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

/// What the shared goldens lack, made by tools/goldens/hf_families.py.
#[test]
fn committed_models_have_the_reference_logits() {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        let families = dir.join("families");
        for name in
            ["gemma2", "qwen2_sliding", "llama_biases_sharded", "llama_linear", "llama_yarn", "qwen3_yarn_mscale"]
        {
            check_family(&families.join(name), Closeness::Same);
        }
        for name in ["llama_dynamic", "phi3_partial_longrope"] {
            check_family(&families.join(name), Closeness::SameWhole);
        }
        8
    });
}

/// The distance of a model with another configuration from the reference, in units of the tolerance.
fn distance(folder: &Path, change: &dyn Fn(&mut ModelConfig)) -> f64 {
    let mut config = ModelConfig::open(folder).unwrap();
    change(&mut config);
    let checkpoint = Checkpoint::open(folder).unwrap();
    let model = Model::from_checkpoint(config, &checkpoint, &LoadOptions::default()).unwrap();
    let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
    let logits = model.logits(&tokens(&expected, "long.ids"), &mut model.new_state()).unwrap();
    let expected = expected.tensor("long.logits").unwrap().to_f64().unwrap();
    let largest = expected.iter().fold(1.0f64, |max, logit| max.max(logit.abs()));
    let error = logits.iter().zip(&expected).fold(0.0f64, |max, (&a, b)| max.max((f64::from(a) - b).abs()));
    error / (LOGIT_TOLERANCE * largest)
}

/// What the goldens would tell: without any one trait the logits are far away.
#[test]
fn every_trait_matters_to_the_goldens() {
    type Change = (&'static str, &'static str, fn(&mut ModelConfig));
    let changes: [Change; 19] = [
        ("gemma2", "attn_soft_cap", |c| c.block.attn_soft_cap = None),
        ("gemma2", "logit_soft_cap", |c| c.block.logit_soft_cap = None),
        ("gemma2", "windows", |c| c.block.windows.clear()),
        ("gemma2", "which layers slide", |c| c.block.windows.reverse()),
        ("gemma2", "embed_scale", |c| c.block.embed_scale = None),
        ("gemma2", "attn_scale", |c| c.block.attn_scale = None),
        ("gemma2", "act", |c| c.block.act = Activation::Silu),
        ("gemma2", "norm_plus_one", |c| c.block.norm_plus_one = false),
        ("gemma2", "rope_theta", |c| c.rope_theta = 9_000.0),
        ("qwen2_sliding", "windows", |c| c.block.windows.clear()),
        ("qwen2_sliding", "qkv_bias", |c| c.block.qkv_bias = false),
        ("llama_biases_sharded", "o_bias", |c| c.block.o_bias = false),
        ("llama_biases_sharded", "mlp_bias", |c| c.block.mlp_bias = false),
        ("qwen3_yarn_mscale", "qk_norm", |c| c.block.qk_norm = false),
        ("llama_linear", "linear", |c| c.rope_scaling = RopeScaling::Default),
        ("llama_dynamic", "dynamic", |c| (c.rope_scaling, c.max_position_embeddings) = (RopeScaling::Default, 64)),
        ("llama_yarn", "attention_factor", |c| {
            if let RopeScaling::Yarn { attention_factor, .. } = &mut c.rope_scaling {
                *attention_factor = 1.0;
            }
        }),
        ("qwen3_yarn_mscale", "truncate", |c| {
            if let RopeScaling::Yarn { truncate, .. } = &mut c.rope_scaling {
                *truncate = true;
            }
        }),
        ("phi3_partial_longrope", "long_factor", |c| {
            if let RopeScaling::LongRope { short_factor, long_factor, .. } = &mut c.rope_scaling {
                long_factor.clone_from(short_factor);
            }
        }),
    ];
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        for (family, what, change) in &changes {
            let folder = dir.join("families").join(family);
            assert!(distance(&folder, &|_| ()) <= 1.0, "{family} as it is");
            let distance = distance(&folder, change);
            assert!(distance > 5.0, "{family} without its {what} is only {distance} tolerances away");
        }
        changes.len()
    });
}
