//! Folders of codebooks: golden models, bad ones, and folders that are made here.

use std::collections::BTreeMap;
use std::path::Path;

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::{CancelFlag, Control, Diagnose, NoProgress, Progress, SplitMix64, Unit};
use parsimon_model::{
    CalibratedMethod, CalibratedReport, Linear, LoadOptions, Model, ModelConfig, ModelError, SIGMA_TINY,
    calibration_windows, quantize_calibrated, write_random_folder,
};
use parsimon_testkit::{golden, nmse};
use parsimon_vq::{FinetuneConfig, Gptq, VptqConfig, VptqMethod};
use serde_json::Value;

use crate::{check_greedy, check_logits, tokens};

/// Centroids in `f32`, where the golden run has rounded weights (2^-11 in f16, 2^-8 in bf16) and exact activations.
const F32_NMSE: f64 = 5e-5;

/// Activations of 8 bits and centroids of a byte, within the plan's budget, in every layer.
const BYTE_NMSE: f64 = 1e-2;

#[test]
fn golden_folders() {
    golden("parsimon-model", "vq", |dir| {
        let names = ["tiny_f16", "tiny_bf16_shared", "tiny_unpacked"];
        for name in names {
            let folder = dir.join(name);
            let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
            let (ids, logits) = (tokens(&expected, "ids"), expected.tensor("logits").unwrap().to_f64().unwrap());
            let exact = LoadOptions { dequantize: true, ..LoadOptions::default() };
            let dense = Model::open(&folder, &exact).unwrap();
            check_logits(name, &dense.logits(&ids, &mut dense.new_state()).unwrap(), &logits);
            let greedy = tokens(&expected, "greedy");
            let (given, made) = greedy.split_at(6);
            check_greedy(&dense, given, made);

            let packed = Model::open(&folder, &LoadOptions::default()).unwrap();
            let in_registers = |linear: &Linear| match linear {
                Linear::Vptq(matrix) => Some(matrix.plan().method == VptqMethod::Reg256),
                _ => None,
            };
            let plans: Vec<bool> = packed.linears().filter_map(in_registers).collect();
            assert!(!plans.is_empty(), "{name}: layers stay packed");
            // All at once by tiles, and a token at a time by the plan's kernels.
            for (chunk, bound) in [(ids.len(), F32_NMSE), (1, if plans.contains(&true) { BYTE_NMSE } else { F32_NMSE })]
            {
                let mut state = packed.new_state();
                let made: Vec<f32> =
                    ids.chunks(chunk).flat_map(|part| packed.logits(part, &mut state).unwrap()).collect();
                assert!(nmse(&made, &logits) <= bound, "{name} in chunks of {chunk}: {}", nmse(&made, &logits));
            }
        }
        names.len()
    });
}

#[test]
fn bad_folders_name_what_is_wrong() {
    golden("parsimon-model", "vq/bad", |dir| {
        let index: Value = read_json(&dir.join("index.json")).unwrap();
        let cases = index.as_array().unwrap();
        for case in cases {
            let (id, expected) = (case["id"].as_str().unwrap(), case["error"].as_str().unwrap());
            match Model::open(&dir.join(id), &LoadOptions::default()) {
                Ok(_) => assert_eq!(expected, "Ok", "{id}"),
                Err(error) => {
                    assert_eq!(error.variant(), expected, "{id}: {error}");
                    assert!(error.to_string().contains(case["must_name"].as_str().unwrap()), "{id}: {error}");
                    assert!(error.is_bad_input() && error.file().is_some(), "{id}");
                }
            }
        }
        cases.len()
    });
}

/// Cancels after so many steps of progress.
struct Stop<'a> {
    cancel: &'a CancelFlag,
    after: std::sync::atomic::AtomicU64,
}

impl Progress for Stop<'_> {
    fn start(&self, _task: &str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, n: u64) {
        if self.after.fetch_sub(n, std::sync::atomic::Ordering::Relaxed) <= n {
            self.cancel.cancel();
        }
    }
}

fn run(
    folder: &Path,
    out: &Path,
    windows: &[Vec<u32>],
    method: &CalibratedMethod<'_>,
    steps: Option<u64>,
) -> Result<CalibratedReport, ModelError> {
    let cancel = CancelFlag::new();
    let stop = Stop { cancel: &cancel, after: steps.unwrap_or(0).into() };
    let progress: &dyn Progress = if steps.is_some() { &stop } else { &NoProgress };
    quantize_calibrated(folder, out, windows, method, &Control { progress, cancel: &cancel })
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn interrupted_runs_go_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    let config = ModelConfig::sigma_tiny(200);
    write_random_folder(&folder, &config, 7, &control).unwrap();
    let mut rng = SplitMix64::new(1);
    let text: Vec<u32> = (0..600).map(|_| rng.below(200) as u32).collect();
    let windows = calibration_windows(&text, 64, 6).unwrap();
    let vptq = |seed: u64| {
        move |_: (usize, usize), float| {
            Ok(VptqConfig { centroids: 16, residual: 4, em_rounds: 1, iters: 5, seed, float, ..VptqConfig::default() })
        }
    };
    let first = vptq(1);
    let method =
        CalibratedMethod::Vptq { config: &first, finetune: Some(FinetuneConfig { steps: 3, lr: 1e-3 }), explain: true };

    let whole = dir.path().join("whole");
    let report = run(&folder, &whole, &windows, &method, None).unwrap();
    let layers = report.layers.len();
    for layer in &report.layers {
        let parts: Vec<&str> = layer.ablation.keys().map(String::as_str).collect();
        assert_eq!(parts, ["feedback", "norm", "permutation", "refits"]);
        assert!(layer.ablation.values().all(|rel| rel.is_finite() && *rel != layer.report.rel));
    }
    assert_eq!((report.resumed, report.stale, layers), (0, 0, 4 * 10), "{SIGMA_TINY}");
    let expected = files(&whole);
    assert_eq!(expected.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors"]);

    let out = dir.path().join("out");
    for steps in [5, 6, 7] {
        // Loading has four steps, then there is one a block.
        assert!(matches!(run(&folder, &out, &windows, &method, Some(steps)), Err(ModelError::Cancelled(_))));
        assert!(!out.join("config.json").exists(), "an unfinished folder is no model");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let resumed = pool.install(|| run(&folder, &out, &windows, &method, None)).unwrap();
    assert!(resumed.resumed >= 20 && resumed.stale == 0, "{}", resumed.resumed);
    assert!(resumed.layers == report.layers, "the same report");
    assert!(files(&out) == expected, "the bytes of an uninterrupted run, with one thread as with all");

    // Entries of other settings are not taken.
    let other = dir.path().join("other");
    let second = vptq(2);
    let changed = CalibratedMethod::Vptq { config: &second, finetune: None, explain: false };
    assert!(run(&folder, &other, &windows, &changed, Some(6)).is_err());
    let report = run(&folder, &other, &windows, &method, None).unwrap();
    assert!(report.stale >= 10 && report.resumed == 0);
    assert!(files(&other) == expected);

    // The result runs, and as its dense form does.
    let packed = Model::open(&whole, &LoadOptions::default()).unwrap();
    assert!(packed.linears().all(|linear| matches!(linear, Linear::Vptq(_))));
    let exact = LoadOptions { dequantize: true, ..LoadOptions::default() };
    let dense = Model::open(&whole, &exact).unwrap();
    let logits = |model: &Model| model.logits(&text[..40], &mut model.new_state()).unwrap();
    let reference: Vec<f64> = logits(&dense).into_iter().map(f64::from).collect();
    assert!(nmse(&logits(&packed), &reference) < F32_NMSE);
    assert!(matches!(run(&whole, &out, &windows, &method, None), Err(ModelError::AlreadyQuantized)));
    assert!(matches!(run(&folder, &out, &[], &method, None), Err(ModelError::Calibration { .. })));
    assert!(matches!(run(&folder, &out, &[vec![500]], &method, None), Err(ModelError::TokenOutOfRange { .. })));
}

/// A trained model: codebooks of 2 bits lose at most a third of the better GPTQ's likelihood, at no more bits. The whole table is
/// `cargo xtask repro vptq`.
#[cfg(feature = "tokenizer")]
#[test]
fn trained_model_at_two_bits() {
    use parsimon_model::{PerplexityOptions, perplexity};
    golden("parsimon-model", "models", |dir| {
        let folder = dir.join("llama-ref-16m");
        let tokenizer = parsimon_model::Tokenizer::open(&folder).unwrap();
        let text = |file: &str| {
            let text = std::fs::read_to_string(dir.join(file)).unwrap();
            tokenizer.encode(&text, true).unwrap()
        };
        let windows = calibration_windows(&text("calibration_docs.txt"), 512, 64).unwrap();
        let heldout = text("heldout_docs.txt");
        let nll = |folder: &Path| {
            let model = Model::open(folder, &LoadOptions { dequantize: true, ..LoadOptions::default() }).unwrap();
            let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
            let options = PerplexityOptions { max_windows: Some(32), ..PerplexityOptions::new(512) };
            perplexity(&model, &heldout, &options, &control).unwrap().nll
        };
        let full = nll(&folder);
        let out = tempfile::tempdir().unwrap();
        let loss = |name: &str, method: &CalibratedMethod<'_>| {
            let out = out.path().join(name);
            let report = run(&folder, &out, &windows, method, None).unwrap();
            let loss = nll(&out) - full;
            let bits = report.bits_per_weight;
            eprintln!("{name}: loss {loss:.3}, ppl {:.2}, {bits:.3} bits", (full + loss).exp());
            (loss, bits)
        };
        let base = VptqConfig { iters: 30, ..VptqConfig::default() };
        let two = |_: (usize, usize), float| Ok(VptqConfig { float, ..base.clone() });
        let gptq = |bits, act_order| CalibratedMethod::Gptq(Gptq { act_order, ..Gptq::new(bits, 64) });
        let vptq = |config| CalibratedMethod::Vptq { config, finetune: None, explain: false };
        let (plain, bits) = loss("gptq2", &gptq(2, false));
        let (ordered, _) = loss("gptq2-act", &gptq(2, true));
        let (vptq2, vptq2_bits) = loss("vptq2", &vptq(&two));
        assert!(vptq2 <= plain.min(ordered) / 3.0 && vptq2_bits <= bits);
        1
    });
}
