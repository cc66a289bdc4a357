use super::*;
use crate::policy::{Sampling, ScriptedPolicy};

fn request(prompt: &str, n: usize) -> Request<'static> {
    Request {
        problem: "p",
        tag: "0",
        prompt: prompt.into(),
        n,
        stops: vec!["\n".into()],
        sampling: Sampling::default(),
        seed: 5,
    }
}

fn scripted() -> ScriptedPolicy {
    let mut policy = ScriptedPolicy::new();
    policy.insert("p", "0", vec![Sample::stopped("a", "\n"), Sample::ended("b\u{e9}")]);
    policy
}

/// A policy that must not be asked.
struct Closed;

impl Policy for Closed {
    fn id(&self) -> &str {
        "closed"
    }
    fn propose(&self, _batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        panic!("a strict replay asks nobody");
    }
}

#[test]
fn what_was_recorded_is_replayed_without_a_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let inner = scripted();
    let first = {
        let store = Mutex::new(Store::open(dir.path()).expect("a store"));
        CachedPolicy::new("m", Some(&inner), CacheMode::Record, &store).propose(&[request("x", 2)]).expect("samples")
    };
    let store = Mutex::new(Store::open(dir.path()).expect("a store"));
    let strict = CachedPolicy::new("m", Some(&Closed), CacheMode::Strict, &store);
    let again = strict.propose(&[request("x", 2)]).expect("recorded");
    assert_eq!(again.samples, first.samples);
    assert_eq!(again.usage.cache_hits, 2);
    assert_eq!(strict.propose(&[request("x", 1)]).expect("a part of it").samples[0], first.samples[0][..1]);
    assert!(matches!(strict.propose(&[request("y", 1)]), Err(PolicyError::ReplayMiss { .. })));
    assert!(matches!(Store::open(dir.path()), Err(PolicyError::Cache { .. })), "one writer at a time");
}

#[test]
fn a_torn_line_is_dropped_and_a_damaged_one_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("records-00000.jsonl");
    {
        let (store, inner) = (Mutex::new(Store::open(dir.path()).expect("a store")), scripted());
        CachedPolicy::new("m", Some(&inner), CacheMode::Record, &store).propose(&[request("x", 2)]).expect("samples");
    }
    let bytes = std::fs::read(&file).expect("a file");
    // A kill can stop a write anywhere.
    for cut in [bytes.len() - 1, bytes.len() - 20, bytes.len() / 2 + 5, 3] {
        std::fs::write(&file, &bytes[..cut]).expect("written");
        let store = Store::open(dir.path()).expect("a torn tail is dropped");
        assert!(store.was_torn() && store.len() == usize::from(cut > bytes.len() / 2));
    }
    let mut flipped = bytes.clone();
    flipped[30] ^= 1;
    std::fs::write(&file, &flipped).expect("written");
    assert!(matches!(Store::open(dir.path()), Err(PolicyError::Cache { what, .. }) if what.contains("line 1")));
}
