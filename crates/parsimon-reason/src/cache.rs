//! Recorded replies: any run can be repeated without its model, and a run that was killed goes on without asking twice.
//!
//! A store is a folder with `records-00000.jsonl`: one line a sample, with the SHA-256 of what was asked and a CRC-32 of the line. Lines are
//! only appended, so that a kill can tear the last line and nothing else; a torn last line is dropped and counted when the store is opened.

mod record;

use std::sync::Mutex;

pub use record::{CacheMode, Store};

use crate::error::PolicyError;
use crate::policy::{Policy, Prefix, Reply, Request, Sample, Usage, ValueModel};

/// A policy behind a store.
pub struct CachedPolicy<'a> {
    inner: Option<&'a dyn Policy>,
    mode: CacheMode,
    store: &'a Mutex<Store>,
    id: String,
}

impl<'a> CachedPolicy<'a> {
    /// Puts a store before a policy. `id` is the name under which replies are recorded; in [`CacheMode::Strict`] no policy is needed.
    pub fn new(id: impl Into<String>, inner: Option<&'a dyn Policy>, mode: CacheMode, store: &'a Mutex<Store>) -> Self {
        CachedPolicy { inner, mode, store, id: id.into() }
    }

    fn keys(&self, request: &Request<'_>) -> Vec<String> {
        (0..request.n).map(|index| record::sample_key(&self.id, request, index)).collect()
    }

    fn known(&self, keys: &[String]) -> Option<Vec<Sample>> {
        let store = self.store.lock().expect("no holder of the store panics");
        keys.iter().map(|key| store.sample(key)).collect()
    }
}

impl Policy for CachedPolicy<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let keys: Vec<Vec<String>> = batch.iter().map(|request| self.keys(request)).collect();
        let mut known: Vec<Option<Vec<Sample>>> = keys.iter().map(|keys| self.known(keys)).collect();
        let missing: Vec<usize> = (0..batch.len()).filter(|at| known[*at].is_none()).collect();
        let hits: usize = known.iter().flatten().map(Vec::len).sum();
        let mut usage = Usage { cache_hits: hits as u64, ..Usage::default() };
        if !missing.is_empty() {
            let first = &batch[missing[0]];
            let head: String = first.prompt.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
            let miss = || PolicyError::ReplayMiss { key: keys[missing[0]].first().cloned().unwrap_or_default(), head };
            let inner = self.inner.filter(|_| self.mode != CacheMode::Strict).ok_or_else(miss)?;
            let asked: Vec<Request<'_>> = missing.iter().map(|at| batch[*at].clone()).collect();
            let reply = crate::policy::checked_reply(inner.propose(&asked)?, &asked)?;
            usage += reply.usage;
            let mut store = self.store.lock().expect("no holder of the store panics");
            for (at, samples) in missing.iter().zip(reply.samples) {
                for (key, sample) in keys[*at].iter().zip(&samples) {
                    store.put_sample(key, sample)?;
                }
                known[*at] = Some(samples);
            }
        }
        let samples = known.into_iter().map(|samples| samples.expect("every miss was asked for")).collect();
        Ok(Reply { samples, usage })
    }
}

/// A value model behind a store.
pub struct CachedValue<'a> {
    inner: Option<&'a dyn ValueModel>,
    mode: CacheMode,
    store: &'a Mutex<Store>,
    id: String,
}

impl<'a> CachedValue<'a> {
    /// As [`CachedPolicy::new`].
    pub fn new(
        id: impl Into<String>,
        inner: Option<&'a dyn ValueModel>,
        mode: CacheMode,
        store: &'a Mutex<Store>,
    ) -> Self {
        CachedValue { inner, mode, store, id: id.into() }
    }
}

impl ValueModel for CachedValue<'_> {
    fn id(&self) -> &str {
        &self.id
    }

    fn score(&self, batch: &[Prefix<'_>]) -> Result<Vec<f32>, PolicyError> {
        let keys: Vec<String> = batch.iter().map(|prefix| record::value_key(&self.id, &prefix.text)).collect();
        let mut known: Vec<Option<f32>> = {
            let store = self.store.lock().expect("no holder of the store panics");
            keys.iter().map(|key| store.score(key)).collect()
        };
        let missing: Vec<usize> = (0..batch.len()).filter(|at| known[*at].is_none()).collect();
        if !missing.is_empty() {
            let head = batch[missing[0]].text.chars().take(60).collect();
            let miss = || PolicyError::ReplayMiss { key: keys[missing[0]].clone(), head };
            let inner = self.inner.filter(|_| self.mode != CacheMode::Strict).ok_or_else(miss)?;
            let asked: Vec<Prefix<'_>> = missing.iter().map(|at| batch[*at].clone()).collect();
            let scores = crate::policy::checked_scores(inner.score(&asked)?, asked.len())?;
            let mut store = self.store.lock().expect("no holder of the store panics");
            for (at, score) in missing.iter().zip(scores) {
                store.put_score(&keys[*at], score)?;
                known[*at] = Some(score);
            }
        }
        Ok(known.into_iter().map(|score| score.expect("every miss was asked for")).collect())
    }
}

#[cfg(test)]
mod tests;
