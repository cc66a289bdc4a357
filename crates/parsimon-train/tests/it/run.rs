//! Whole runs: learning, the same bytes for every number of threads, resuming, errors.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::{CancelFlag, Control, Diagnose, NoProgress, Progress, Unit};
use parsimon_model::ModelConfig;
use parsimon_train::{Corpus, LmModel, Run, TrainConfig, TrainError, TrainReport, train_lm};

use crate::tiny;

/// A clock that moves a second at every look.
fn clock() -> impl Fn() -> Duration {
    let seconds = Mutex::new(0);
    move || {
        let mut seconds = seconds.lock().unwrap();
        *seconds += 1;
        Duration::from_secs(*seconds)
    }
}

fn train(
    corpus: &Corpus,
    config: TrainConfig,
    out: &Path,
    progress: &dyn Progress,
    cancel: &CancelFlag,
) -> Result<TrainReport, TrainError> {
    let model = tiny::model();
    let run = Run { preset: "tiny", model: &model, train: config, corpus, out };
    train_lm(&run, &clock(), &Control { progress, cancel })
}

fn train_quietly(corpus: &Corpus, config: TrainConfig, out: &Path) -> Result<TrainReport, TrainError> {
    train(corpus, config, out, &NoProgress, &CancelFlag::new())
}

fn weights(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("model.safetensors")).unwrap()
}

#[test]
fn a_run_learns_and_leaves_its_folder() {
    let (folder, corpus) = tiny::corpus();
    let out = folder.path().join("model");
    let config = TrainConfig { steps: 120, ..tiny::settings() };
    let report = train_quietly(&corpus, config, &out).unwrap();
    // Guessing costs ln 40 = 3.69 nats, knowing the rule ln 2 = 0.69.
    assert!(report.loss[0].loss > 3.4, "{:?}", report.loss[0]);
    assert!(report.final_loss < 0.9, "{}", report.final_loss);
    assert_eq!((report.steps, report.tokens, report.parameters), (120, 120 * 5 * 24, tiny::model().parameter_count()));
    assert_eq!(report.loss.last().map(|point| (point.step, point.tokens)), Some((120, 14_400)));
    assert!(report.seconds > 0.0 && report.tokens_per_s > 0.0);

    let stored: TrainReport = read_json(&out.join("train.json")).unwrap();
    assert_eq!((stored.preset.as_str(), stored.seed, stored.steps), ("tiny", 7, 120));
    assert_eq!(stored.loss.len(), report.loss.len());
    for (stored, point) in stored.loss.iter().zip(&report.loss) {
        // Reading JSON may round the last bit.
        assert!(stored.step == point.step && (stored.loss - point.loss).abs() < 1e-12, "{stored:?} {point:?}");
    }
    assert_eq!(ModelConfig::open(&out).unwrap(), tiny::model());
    let tokenizer = |folder: &Path| std::fs::read(folder.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer(&out), tokenizer(folder.path()));
    let check = Checkpoint::open(&out.join("check.safetensors")).unwrap();
    let tokens = check.tensor("tokens").unwrap().to_i32().unwrap();
    assert!(tokens.iter().zip(corpus.tokens()).all(|(&a, &b)| a == i32::from(b)) && tokens.len() == 64);
    let ids: Vec<u32> = tokens.iter().map(|&token| token as u32).collect();
    let logits = check.tensor("logits").unwrap().expect_shape(&[64, tiny::VOCAB]).unwrap().to_f32().unwrap();
    assert_eq!(LmModel::open(&out).unwrap().logits(&ids), logits);
    assert!(!out.join("state").exists());
}

#[test]
fn the_model_does_not_depend_on_the_threads() {
    let (folder, corpus) = tiny::corpus();
    let config = TrainConfig { steps: 6, ..tiny::settings() };
    let model = |threads: usize| {
        let out = folder.path().join(format!("model{threads}"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train_quietly(&corpus, config, &out)).unwrap();
        weights(&out)
    };
    let one = model(1);
    assert!(one == model(2) && one == model(3));
    let other = folder.path().join("other");
    train_quietly(&corpus, TrainConfig { seed: 8, ..config }, &other).unwrap();
    assert!(one != weights(&other), "another seed gives another model");
}

/// Cancels after some steps.
struct CancelAfter<'a> {
    steps_left: Mutex<u64>,
    cancel: &'a CancelFlag,
}

impl Progress for CancelAfter<'_> {
    fn start(&self, _task: &str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, n: u64) {
        let mut left = self.steps_left.lock().unwrap();
        *left = left.saturating_sub(n);
        if *left == 0 {
            self.cancel.cancel();
        }
    }
}

#[test]
fn an_interrupted_run_ends_as_if_it_had_not_been() {
    let (folder, corpus) = tiny::corpus();
    let config = TrainConfig { steps: 20, ..tiny::settings() };
    let whole = folder.path().join("whole");
    let expected = train_quietly(&corpus, config, &whole).unwrap();

    let out = folder.path().join("parts");
    // Counts include the steps of the runs before, so these stop after 5, 13 (past a regular save) and 19 steps.
    for stop in [5, 13, 19] {
        let cancel = CancelFlag::new();
        let progress = CancelAfter { steps_left: Mutex::new(stop), cancel: &cancel };
        let result = train(&corpus, config, &out, &progress, &cancel);
        assert!(matches!(result, Err(TrainError::Cancelled(_))), "{result:?}");
        assert!(out.join("state/state.safetensors").exists() && !out.join("model.safetensors").exists());
    }
    let report = train_quietly(&corpus, config, &out).unwrap();
    assert!(weights(&out) == weights(&whole));
    assert_eq!(report.loss, expected.loss);
    assert!(report.seconds > 4.0, "the time before the interruptions counts: {}", report.seconds);
    assert!(!out.join("state").exists());
}

#[test]
fn regular_saves_resume_too() {
    let (folder, corpus) = tiny::corpus();
    let config = TrainConfig { steps: 12, save_every: 4, ..tiny::settings() };
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    train_quietly(&corpus, config, &whole).unwrap();
    // As after a kill: the last state that was saved, not the last step.
    let state = out.join("state/state.safetensors");
    let kept = folder.path().join("kept.safetensors");
    let keep = Keep { state: &state, kept: &kept };
    train(&corpus, config, &out, &keep, &CancelFlag::new()).unwrap();
    let saved = Checkpoint::open(&kept).unwrap();
    assert_eq!(saved.tensor("losses").unwrap().shape(), [8]);
    std::fs::remove_dir_all(&out).unwrap();
    std::fs::create_dir_all(out.join("state")).unwrap();
    std::fs::copy(&kept, &state).unwrap();
    train_quietly(&corpus, config, &out).unwrap();
    assert!(weights(&out) == weights(&whole));
}

/// Copies the state at every step.
struct Keep<'a> {
    state: &'a Path,
    kept: &'a Path,
}

impl Progress for Keep<'_> {
    fn start(&self, _task: &str, _total: Option<u64>, _unit: Unit) {}

    fn advance(&self, _n: u64) {
        if self.state.exists() {
            std::fs::copy(self.state, self.kept).unwrap();
        }
    }
}

#[test]
fn the_state_of_another_run_is_refused() {
    let (folder, corpus) = tiny::corpus();
    let out = folder.path().join("model");
    let config = tiny::settings();
    let cancel = CancelFlag::new();
    cancel.cancel();
    train(&corpus, config, &out, &NoProgress, &cancel).unwrap_err();
    let error = train_quietly(&corpus, TrainConfig { seed: 8, ..config }, &out).unwrap_err();
    assert_eq!(error.variant(), "OtherRun");
    assert!(error.to_string().contains("`seed` was 7, now 8"), "{error}");
    // How often the state is saved is no part of the run.
    train_quietly(&corpus, TrainConfig { save_every: 3, ..config }, &out).unwrap();

    train(&corpus, config, &out, &NoProgress, &cancel).unwrap_err();
    let state = out.join("state/state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() - 9]).unwrap();
    let error = train_quietly(&corpus, config, &out).unwrap_err();
    assert!(error.is_bad_input() && error.file() == Some(&state), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let (folder, corpus) = tiny::corpus();
    let out = folder.path().join("model");
    let model = ModelConfig { vocab_size: 50, ..tiny::model() };
    let run = Run { preset: "tiny", model: &model, train: tiny::settings(), corpus: &corpus, out: &out };
    let cancel = CancelFlag::new();
    let error = train_lm(&run, &clock(), &Control { progress: &NoProgress, cancel: &cancel }).unwrap_err();
    assert!(error.to_string().contains("the vocabulary has 40 tokens, the model 50"), "{error}");
    for (config, variant) in [
        (TrainConfig { batch: 1000, ..tiny::settings() }, "CorpusTooShort"),
        (TrainConfig { steps: 0, ..tiny::settings() }, "Setting"),
    ] {
        assert_eq!(train_quietly(&corpus, config, &out).unwrap_err().variant(), variant);
    }
}
