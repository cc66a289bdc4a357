//! What a search cost, and what it may cost.

use serde::{Deserialize, Serialize};

use crate::policy::{Reply, Request, Usage};

/// Counters of one problem or of a run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// Prompts that were sent to the policy.
    pub policy_requests: u64,
    /// Completions.
    pub sequences: u64,
    /// Texts that the value model scored.
    pub value_inputs: u64,
    /// Programs that were run.
    pub runs: u64,
    /// Processor time of the programs.
    pub run_cpu_ms: u64,
    /// Programs that ran out of time.
    pub run_timeouts: u64,
    /// Programs from which the sandbox withheld something.
    pub run_denied: u64,
    /// Nodes that were expanded.
    pub expansions: u64,
    /// Rollouts that were finished.
    pub rollouts: u64,
    /// Values that went to the root.
    pub backups: u64,
    /// Completions that were cut by the token limit or could not be read.
    pub malformed: u64,
    /// Tokens and requests.
    #[serde(flatten)]
    pub usage: Usage,
}

impl Ledger {
    /// Counts a batch.
    pub fn count(&mut self, batch: &[Request<'_>], reply: &Reply) {
        self.policy_requests += batch.len() as u64;
        self.sequences += reply.samples.iter().map(|samples| samples.len() as u64).sum::<u64>();
        self.usage += reply.usage;
    }
}

impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, other: Ledger) {
        self.policy_requests += other.policy_requests;
        self.sequences += other.sequences;
        self.value_inputs += other.value_inputs;
        self.runs += other.runs;
        self.run_cpu_ms += other.run_cpu_ms;
        self.run_timeouts += other.run_timeouts;
        self.run_denied += other.run_denied;
        self.expansions += other.expansions;
        self.rollouts += other.rollouts;
        self.backups += other.backups;
        self.malformed += other.malformed;
        self.usage += other.usage;
    }
}

/// The time that has passed, in seconds; a parameter, because a library reads no clock.
pub trait Clock: Send + Sync {
    /// Seconds since some fixed moment.
    fn seconds(&self) -> f64;
}

/// A clock that stands still: without a limit in seconds none is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClock;

impl Clock for NoClock {
    fn seconds(&self) -> f64 {
        0.0
    }
}

/// What a search may spend. It stops after the batch that passes a limit, and keeps the best answer so far.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Budget {
    /// Most prompts.
    pub calls: Option<u64>,
    /// Most completion tokens.
    pub tokens: Option<u64>,
    /// Most seconds of the clock.
    pub seconds: Option<f64>,
}

impl Budget {
    /// Which limit is passed, if one is.
    pub fn exceeded(&self, ledger: &Ledger, seconds: f64) -> Option<&'static str> {
        if self.calls.is_some_and(|limit| ledger.policy_requests >= limit) {
            return Some("calls");
        }
        if self.tokens.is_some_and(|limit| ledger.usage.completion >= limit) {
            return Some("tokens");
        }
        self.seconds.is_some_and(|limit| seconds >= limit).then_some("seconds")
    }
}
