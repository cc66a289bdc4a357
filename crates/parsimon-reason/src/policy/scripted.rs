//! A policy that answers from a table: for tests, and for samples that were recorded by others.

use std::collections::HashMap;

use super::{Policy, Reply, Request, Sample};
use crate::error::PolicyError;

/// Answers by problem and tag of the asking node.
#[derive(Clone, Debug, Default)]
pub struct ScriptedPolicy {
    table: HashMap<(String, String), Vec<Sample>>,
}

impl ScriptedPolicy {
    /// A table without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the samples of a node.
    pub fn insert(&mut self, problem: &str, tag: &str, samples: Vec<Sample>) {
        self.table.insert((problem.to_owned(), tag.to_owned()), samples);
    }
}

impl Policy for ScriptedPolicy {
    fn id(&self) -> &str {
        "scripted"
    }

    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let mut reply = Reply::default();
        for request in batch {
            let key = (request.problem.to_owned(), request.tag.to_owned());
            let samples = self
                .table
                .get(&key)
                .ok_or_else(|| PolicyError::NoCandidate { what: format!("{}:{}", key.0, key.1) })?;
            reply.samples.push(samples.clone());
        }
        Ok(reply)
    }
}
