//! Counters: per stage, what came in, what went out, and why the rest did not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The counters of one stage. `docs_in = docs_out + sum of reasons`, always.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub struct StageCounts {
    /// The stage.
    pub stage: String,
    /// Documents that came in.
    pub docs_in: u64,
    /// Documents that went on.
    pub docs_out: u64,
    /// Bytes that went on: of payloads before the extraction, of text after it.
    pub bytes_out: u64,
    /// Dropped documents by reason.
    pub reasons: BTreeMap<String, u64>,
}

/// The counters of a chain of stages. Merging is associative, so shards can be counted alone and added up in any grouping.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct Funnel {
    stages: Vec<StageCounts>,
}

impl Funnel {
    /// A funnel of these stages.
    pub fn new(stages: &[&str]) -> Funnel {
        let stage = |name: &&str| StageCounts { stage: (*name).to_owned(), ..StageCounts::default() };
        Funnel { stages: stages.iter().map(stage).collect() }
    }

    /// The stages in order.
    pub fn stages(&self) -> &[StageCounts] {
        &self.stages
    }

    /// The counters of a stage.
    pub fn stage(&self, name: &str) -> Option<&StageCounts> {
        self.stages.iter().find(|stage| stage.stage == name)
    }

    /// Counts a document that passed `stage` with `bytes`.
    pub fn pass(&mut self, stage: &str, bytes: u64) {
        let counts = self.entry(stage);
        counts.docs_in += 1;
        counts.docs_out += 1;
        counts.bytes_out += bytes;
    }

    /// Counts a document that `stage` dropped.
    pub fn drop(&mut self, stage: &str, reason: &str) {
        let counts = self.entry(stage);
        counts.docs_in += 1;
        *counts.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// Adds the counters of another funnel; its new stages go behind.
    pub fn merge(&mut self, other: &Funnel) {
        for theirs in &other.stages {
            let ours = self.entry(&theirs.stage);
            ours.docs_in += theirs.docs_in;
            ours.docs_out += theirs.docs_out;
            ours.bytes_out += theirs.bytes_out;
            for (reason, count) in &theirs.reasons {
                *ours.reasons.entry(reason.clone()).or_default() += count;
            }
        }
    }

    /// Whether every stage adds up and takes in what the one before it let through.
    pub fn adds_up(&self) -> bool {
        let each =
            self.stages.iter().all(|stage| stage.docs_in == stage.docs_out + stage.reasons.values().sum::<u64>());
        each && self.stages.windows(2).all(|pair| pair[1].docs_in == pair[0].docs_out)
    }

    fn entry(&mut self, name: &str) -> &mut StageCounts {
        let at = self.stages.iter().position(|stage| stage.stage == name).unwrap_or_else(|| {
            self.stages.push(StageCounts { stage: name.to_owned(), ..StageCounts::default() });
            self.stages.len() - 1
        });
        &mut self.stages[at]
    }
}

#[cfg(test)]
mod tests;
