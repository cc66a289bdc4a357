//! The greedy continuations of `transformers`, from an engine that runs other requests beside them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parsimon_core::io::Checkpoint;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{
    Engine, EngineOptions, Event, KvDtype, MemoryNeed, Model, ModelConfig, NGramOptions, Request, RequestId,
    write_random_folder,
};
use parsimon_testkit::golden;

use crate::{open, tokens};

fn options() -> EngineOptions {
    EngineOptions { max_sequences: 3, step_tokens: 7, cache_positions: 1024, ..EngineOptions::default() }
}

#[track_caller]
fn check_company(
    name: &str,
    model: &Arc<Model>,
    (short, greedy): (&[u32], &[u32]),
    long: &[u32],
    options: EngineOptions,
) {
    let mut engine = Engine::try_new(model.clone(), options).unwrap();
    let mut submit = |prompt: &[u32], max_tokens| {
        engine.submit(Request { ignore_eos: true, ..Request::new(prompt.to_vec(), max_tokens) }).unwrap()
    };
    let wanted = greedy.len();
    let (first, _, second, _) = (submit(short, wanted), submit(long, 9), submit(short, wanted), submit(&long[1..], 20));
    let (mut events, mut outputs) = (Vec::new(), HashMap::<RequestId, Vec<u32>>::new());
    while !engine.is_idle() {
        engine.step(&mut events).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Token { request, token } => outputs.entry(request).or_default().push(token.id),
                Event::Failed { error, .. } => panic!("{name}: {error}"),
                Event::Finished { .. } => {}
            }
        }
    }
    assert_eq!((&outputs[&first][..], &outputs[&second][..]), (greedy, greedy), "{name}");
}

#[track_caller]
fn check_folder(folder: &Path) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let (model, expected) = (Arc::new(open(folder)), Checkpoint::open(&folder.join("expected.safetensors")).unwrap());
    let [short, long, greedy] = ["short.ids", "long.ids", "greedy.ids"].map(|name| tokens(&expected, name));
    let known = (&short[..], &greedy[short.len()..]);
    let speculative = Some(NGramOptions { max_draft: 4, min_match: 1, max_match: 3 });
    check_company(name, &model, known, &long, options());
    check_company(name, &model, known, &long, EngineOptions { speculative, prefix_cache: false, ..options() });
    check_company(name, &model, known, &long, EngineOptions { cache_positions: 128, ..options() });
    check_company(name, &model, known, &long, EngineOptions { cache_dtype: KvDtype::F16, ..options() });
}

#[test]
fn engines_continue_the_golden_families() {
    golden("parsimon-model", "formats/hf", |dir| {
        let mut folders: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|folder| folder.join("expected.safetensors").exists());
        folders.sort();
        folders.iter().for_each(|folder| check_folder(folder));
        folders.len()
    });
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancelFlag::new();
    let config = ModelConfig::synthetic("llama-15m").unwrap();
    write_random_folder(dir.path(), &config, 1, &Control { progress: &NoProgress, cancel: &cancel }).unwrap();
    let need = MemoryNeed::of_path(dir.path(), &EngineOptions::default()).unwrap();
    let parameters = config.parameter_count() as usize;
    assert_eq!(need.weights, 2 * parameters, "BF16");
    assert!(need.check(need.total()).is_ok());
    let error = need.check(need.total() - 1).unwrap_err().to_string();
    assert!(error.contains("are needed") && error.contains("are available"), "{error}");
}
