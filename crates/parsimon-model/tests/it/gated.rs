//! Gated attention in a model: golden logits, and gates that are trained here.

use parsimon_attn::TopValues;
use parsimon_attn::gate::{Baseline, Rule, Selection, TrainOptions};
use parsimon_core::io::Checkpoint;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{
    Engine, EngineOptions, GateForm, GateTrainOptions, Gating, Model, PerplexityOptions, perplexity, train_gates,
};
use parsimon_testkit::{golden, rel_l2};

use crate::{made, open, tokens};

/// Relative distance of logits in `f32`.
const TOLERANCE: f64 = 2e-4;

fn gated(dir: &std::path::Path) -> Model {
    let model = open(&dir.join("base"));
    let gating = Gating::open(&dir.join("gate"), model.config(), None).unwrap();
    model.with_gating(gating).unwrap()
}

#[test]
fn prefill_gate_golden() {
    golden("parsimon-model", "attention/seer_tiny", |dir| {
        let expected = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
        let model = gated(dir);
        let mut state = model.new_state();
        let logits = model.logits(&tokens(&expected, "tokens"), &mut state).unwrap();
        let error = rel_l2(&logits, &expected.tensor("logits_sparse").unwrap().to_f64().unwrap());
        assert!(error <= TOLERANCE, "{error}");
        let densities = expected.tensor("density").unwrap().to_f64().unwrap();
        let mean = densities.iter().sum::<f64>() / densities.len() as f64;
        assert!((state.density().unwrap() - mean).abs() < 1e-12, "{:?} for {mean}", state.density());
        // The engine has no gates, and says so instead of leaving them out.
        let error = Engine::try_new(std::sync::Arc::new(model), EngineOptions::default()).unwrap_err();
        assert!(error.to_string().contains("gates"), "{error}");
        1
    });
}

#[test]
fn decode_gate_golden() {
    golden("parsimon-model", "attention/seer_r_tiny", |dir| {
        let expected = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
        let (all, model) = (tokens(&expected, "tokens"), gated(dir));
        let (prompt, rest) = all.split_at(tokens(&expected, "prefill_len")[0] as usize);
        let mut state = model.new_state();
        let mut logits = model.logits(prompt, &mut state).unwrap();
        for &token in rest {
            logits.extend(model.logits(&[token], &mut state).unwrap());
        }
        let error = rel_l2(&logits, &expected.tensor("logits").unwrap().to_f64().unwrap());
        assert!(error <= TOLERANCE, "{error}");
        assert!(state.density().unwrap() < 1.0);
        // Dense steps of the same model are something else.
        let dense = open(&dir.join("base")).logits(&all, &mut model.new_state()).unwrap();
        assert!(rel_l2(&dense, &expected.tensor("dense_logits").unwrap().to_f64().unwrap()) <= TOLERANCE);
        assert!(rel_l2(&dense, &expected.tensor("logits").unwrap().to_f64().unwrap()) > 100.0 * TOLERANCE);
        1
    });
}

/// All blocks, or all values, are attention to everything; fewer are less, and recall says how much less.
#[test]
fn comparisons_end_in_dense_attention() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = made::config();
    config.max_position_embeddings = 256;
    made::write(folder.path(), &config, &made::tensors(&config));
    let dense = open(folder.path());
    let text: Vec<u32> = (0..200u32).map(|i| (i * i / 7 + i) % config.vocab_size as u32).collect();
    let run = |model: &Model, prompt: usize| {
        let mut state = model.new_state();
        let mut logits = model.logits(&text[..prompt], &mut state).unwrap();
        for token in &text[prompt..] {
            logits.extend(model.logits(&[*token], &mut state).unwrap());
        }
        logits.into_iter().map(f64::from).collect::<Vec<_>>()
    };
    let (whole, steps) = (run(&dense, 200), run(&dense, 8));
    let top = |k| {
        let select = TopValues { k, renormalize: true, union: false };
        let model = dense.clone().with_gating(Gating::TopValues(select)).unwrap();
        run(&model, 8).into_iter().map(|x| x as f32).collect::<Vec<_>>()
    };
    assert!(rel_l2(&top(200), &steps) <= TOLERANCE);
    assert!(rel_l2(&top(4), &steps) > TOLERANCE);
    for baseline in [Baseline::MeanPool, Baseline::Quest] {
        let at = |share| {
            let selection = Selection::upstream(Rule::NzRatio(share));
            dense.clone().with_gating(Gating::Baseline { baseline, block: 8, selection }).unwrap()
        };
        let all: Vec<f32> = run(&at(1.0), 200).into_iter().map(|x| x as f32).collect();
        assert!(rel_l2(&all, &whole) <= TOLERANCE);
        let options = PerplexityOptions { measure_recall: true, ..PerplexityOptions::new(100) };
        let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
        let [all, some] = [1.0, 0.3].map(|share| perplexity(&at(share), &text, &options, &control).unwrap());
        let (all_recall, some_recall) = (all.recall.unwrap(), some.recall.unwrap());
        assert!((all_recall.mass - 1.0).abs() < 1e-6 && (all_recall.blocks - 1.0).abs() < 1e-6);
        assert!(some.density.unwrap() < 0.6 && some_recall.mass < 0.95 && some_recall.mass > 0.2, "{some:?}");
    }
}

/// Training lowers the loss, continues with the same bits after a stop, and what it writes opens as gates.
#[test]
fn training_learns_and_resumes() {
    golden("parsimon-model", "attention/seer_tiny", |dir| {
        let model = open(&dir.join("base"));
        let text: Vec<u32> = (0..4096u32).map(|i| (i * i / 7 + i) % 60).collect();
        for form in [GateForm::Prefill, GateForm::Decode] {
            let options = |steps| GateTrainOptions {
                form,
                block: 8,
                d_gate: 8,
                ctx: 128,
                train: TrainOptions { steps, lr: 1e-2, lr_min: 1e-2, warmup: 2, ..TrainOptions::default() },
                seed: 3,
                loss_scale: 10.0,
                save_every: 1000,
            };
            let cancel = CancelFlag::default();
            let control = Control { progress: &NoProgress, cancel: &cancel };
            let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let [whole, parts] = folders.each_ref().map(|folder| folder.path());
            let report = train_gates(&model, &text, whole, &options(60), &control).unwrap();
            let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
            let (first, last) = (mean(&report.losses[..10]), mean(&report.losses[50..]));
            assert!(last < 0.9 * first, "{form:?}: {first} to {last}");
            train_gates(&model, &text, parts, &options(25), &control).unwrap();
            let rest = train_gates(&model, &text, parts, &options(60), &control).unwrap();
            assert_eq!(rest.first_step, 25);
            assert_eq!(rest.losses, report.losses[25..]);
            let [a, b] = [whole, parts].map(|dir| std::fs::read(dir.join("attn_gate_weights.safetensors")).unwrap());
            assert!(a == b, "a run that was stopped gives the same bytes");
            let gating = Gating::open(whole, model.config(), Some(Rule::Threshold(0.05))).unwrap();
            let gated = model.clone().with_gating(gating).unwrap();
            let mut state = gated.new_state();
            gated.logits(&text[..100], &mut state).unwrap();
            gated.logits(&text[100..101], &mut state).unwrap();
            assert!(state.density().is_some_and(|density| density > 0.0 && density <= 1.0));
        }
        2
    });
}

#[test]
fn folders_that_do_not_fit_are_named() {
    golden("parsimon-model", "attention/seer_tiny", |dir| {
        let model = open(&dir.join("base"));
        let mut other = model.config().clone();
        other.num_layers = 3;
        let error = Gating::open(&dir.join("gate"), &other, None).unwrap_err().to_string();
        assert!(error.contains("layer 2") && error.contains("mask_linear_k"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(dir.join("gate/config.json"), folder.path().join("config.json")).unwrap();
        let error = Gating::open(folder.path(), model.config(), None).unwrap_err().to_string();
        assert!(error.contains("attn_gate_weights"), "{error}");
        std::fs::write(folder.path().join("config.json"), r#"{"seerattn_gate_block_size": 0}"#).unwrap();
        let error = Gating::open(folder.path(), model.config(), None).unwrap_err().to_string();
        assert!(error.contains("attn_gate_weights") || error.contains("seerattn_gate_block_size"), "{error}");
        3
    });
}
