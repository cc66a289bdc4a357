use parsimon_core::Diagnose;
use parsimon_core::io::{write_json, write_npy};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A corpus of shards under `index`.
fn folder(shards: &[&[u16]], index: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (i, shard) in shards.iter().enumerate() {
        write_npy(&folder.path().join(format!("tokens/{i:05}.npy")), &[shard.len()], shard).unwrap();
    }
    write_json(&folder.path().join("tokens/index.json"), index).unwrap();
    folder
}

fn index(lengths: &[usize]) -> Value {
    let shard = |(i, &tokens): (usize, &usize)| json!({"file": format!("{i:05}.npy"), "tokens": tokens});
    let shards: Vec<Value> = lengths.iter().enumerate().map(shard).collect();
    json!({"vocab_size": 10, "eos_id": 0, "tokens": lengths.iter().sum::<usize>(), "shards": shards})
}

#[test]
fn shards_follow_each_other() {
    let corpus = Corpus::open(folder(&[&[1, 2, 3], &[4, 5]], &index(&[3, 2])).path()).unwrap();
    assert_eq!(corpus.tokens(), [1, 2, 3, 4, 5]);
    assert_eq!((corpus.vocab_size(), corpus.eos_id()), (10, 0));
}

#[track_caller]
fn check(shards: &[&[u16]], index: Value, variant: &str, text: &str) {
    let error = Corpus::open(folder(shards, &index).path()).unwrap_err();
    assert_eq!(error.variant(), variant, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(error.is_bad_input() && error.file().is_some());
}

#[test]
fn what_does_not_fit_is_named() {
    let changed = |key: &str, value: Value| {
        let mut index = index(&[3]);
        index[key] = value;
        index
    };
    check(&[&[1, 2, 3]], index(&[3, 2]), "Io", "00001.npy");
    check(&[&[1, 2, 3]], index(&[4]), "ShardLength", "holds 3 tokens, the index says 4");
    check(&[&[1, 2, 3]], changed("tokens", json!(5)), "ShardLength", "holds 3 tokens, the index says 5");
    check(&[&[1, 12, 3]], index(&[3]), "TokenRange", "token 1 is 12, the vocabulary has 10");
    check(&[&[1, 2, 3]], changed("eos_id", json!(10)), "Malformed", "`eos_id` is 10");
    check(&[&[1, 2, 3]], changed("shards", json!([{"file": "../00000.npy", "tokens": 3}])), "ShardName", "../00000");
    check(&[&[1, 2, 3]], changed("shards", json!("none")), "Malformed", "JSON");
    let missing = tempfile::tempdir().unwrap();
    assert_eq!(Corpus::open(missing.path()).unwrap_err().variant(), "Io");
}

fn numbers(n: u16) -> Corpus {
    let tokens: Vec<u16> = (0..n).collect();
    let index = json!({"vocab_size": 65536, "eos_id": 0, "tokens": n, "shards": [{"file": "00000.npy", "tokens": n}]});
    Corpus::open(folder(&[&tokens], &index).path()).unwrap()
}

#[test]
fn an_epoch_shows_every_window_once() {
    // 12 windows of 5 tokens and their targets; 3 tokens are left over.
    let corpus = numbers(64);
    let mut sampler = BatchSampler::try_new(&corpus, 5, 3, 9).unwrap();
    assert_eq!(sampler.windows(), 12);
    let mut orders = Vec::new();
    for epoch in 0..3 {
        let mut begins = Vec::new();
        for step in epoch * 4..epoch * 4 + 4 {
            let batch = sampler.batch(step);
            assert_eq!((batch.inputs.len(), batch.targets.len()), (15, 15));
            for (inputs, targets) in batch.inputs.chunks(5).zip(batch.targets.chunks(5)) {
                assert!((1..5).all(|i| inputs[i] == inputs[0] + i as u32));
                assert!((0..5).all(|i| targets[i] == inputs[i] + 1));
                begins.push(inputs[0]);
            }
        }
        orders.push(begins.clone());
        begins.sort_unstable();
        assert_eq!(begins, (0..12).map(|i| i * 5).collect::<Vec<_>>());
    }
    assert!(orders[0] != orders[1] && orders[1] != orders[2], "epochs are shuffled differently");
}

#[test]
fn a_batch_depends_on_seed_and_step_alone() {
    // A batch that reaches over the end of an epoch: 12 windows, batches of 5.
    let corpus = numbers(64);
    let mut in_order = BatchSampler::try_new(&corpus, 5, 5, 9).unwrap();
    let batches: Vec<Batch> = (0..6).map(|step| in_order.batch(step)).collect();
    for step in [4, 0, 5, 2] {
        let mut fresh = BatchSampler::try_new(&corpus, 5, 5, 9).unwrap();
        assert_eq!(fresh.batch(step), batches[step as usize]);
        assert_eq!(in_order.batch(step), batches[step as usize]);
    }
    assert_ne!(BatchSampler::try_new(&corpus, 5, 5, 10).unwrap().batch(0), batches[0]);
}

#[test]
fn a_short_corpus_is_refused() {
    let corpus = numbers(30);
    assert!(BatchSampler::try_new(&corpus, 5, 5, 1).is_ok());
    let error = BatchSampler::try_new(&corpus, 5, 6, 1).unwrap_err();
    assert_eq!(error.variant(), "CorpusTooShort");
    assert!(error.to_string().contains("30 tokens are 5 windows of 5 + 1 tokens, one batch needs 6"), "{error}");
    let empty = numbers(0);
    assert!(BatchSampler::try_new(&empty, 5, 1, 1).is_err());
}
