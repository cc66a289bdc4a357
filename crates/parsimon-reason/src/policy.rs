//! What the search asks of a model: samples, values, and the running of code. The crate knows policies and rewards, not models.

mod scripted;
mod sim;

use crate::error::{PolicyError, RunnerError};

pub use scripted::ScriptedPolicy;
pub use sim::{Chain, Noise, NoisyChains};

/// How a completion is sampled.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Least mass of the tokens that are kept.
    pub top_p: f32,
    /// Most tokens that are kept; 0 keeps all.
    pub top_k: u32,
    /// Above 1 makes repeated tokens less probable.
    pub repetition_penalty: f32,
    /// Longest completion in tokens.
    pub max_tokens: u32,
}

impl Default for Sampling {
    /// The settings released with rStar: temperature 0.8, top 40, nucleus 0.95, penalty 1.1, 1,024 tokens.
    fn default() -> Self {
        Sampling { temperature: 0.8, top_p: 0.95, top_k: 40, repetition_penalty: 1.1, max_tokens: 1024 }
    }
}

/// One prompt and how many completions of it are wanted.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The id of the problem, for recorded and scripted policies.
    pub problem: &'a str,
    /// The tag of the node that asks.
    pub tag: &'a str,
    /// The text to continue.
    pub prompt: String,
    /// How many completions.
    pub n: usize,
    /// Texts that end a completion; they are not part of it.
    pub stops: Vec<String>,
    /// How to sample.
    pub sampling: Sampling,
    /// Seed of the first completion; a pure function of run, problem, node and index.
    pub seed: u64,
}

/// Why a completion ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// A stop string.
    Stop,
    /// The model ended the text.
    Eos,
    /// The token limit: the text is incomplete.
    Length,
}

/// One completion.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// The text without the stop string.
    pub text: String,
    /// The stop string that fired.
    pub stop: Option<String>,
    /// Whether the server did not say which stop fired, so that it was inferred from the text.
    #[serde(default)]
    pub stop_inferred: bool,
    /// Why it ended.
    pub finish: Finish,
    /// Its length, where it is known.
    #[serde(default)]
    pub tokens: u64,
}

impl Sample {
    /// A completion that ended with `stop`.
    pub fn stopped(text: impl Into<String>, stop: impl Into<String>) -> Self {
        Sample { text: text.into(), stop: Some(stop.into()), stop_inferred: false, finish: Finish::Stop, tokens: 0 }
    }

    /// A completion that the model ended.
    pub fn ended(text: impl Into<String>) -> Self {
        Sample { text: text.into(), stop: None, stop_inferred: false, finish: Finish::Eos, tokens: 0 }
    }

    /// The text with the stop string put back, as trajectories are stored.
    pub fn with_stop(&self) -> String {
        format!("{}{}", self.text, self.stop.as_deref().unwrap_or(""))
    }
}

/// What a call cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt: u64,
    /// Those of them that the server had cached.
    pub cached: u64,
    /// Tokens of the completions.
    pub completion: u64,
    /// Replies that did not say.
    pub unknown: u64,
    /// Requests over the network, retries included.
    pub http_requests: u64,
    /// Retries.
    pub retries: u64,
    /// Samples from a record.
    pub cache_hits: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.completion += other.completion;
        self.unknown += other.unknown;
        self.http_requests += other.http_requests;
        self.retries += other.retries;
        self.cache_hits += other.cache_hits;
    }
}

/// The completions of a batch, in its order, and their cost.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Reply {
    /// For each request exactly `n` samples.
    pub samples: Vec<Vec<Sample>>,
    /// The cost of the batch.
    pub usage: Usage,
}

/// A model that continues texts.
pub trait Policy: Send + Sync {
    /// A name for records.
    fn id(&self) -> &str;

    /// Continues every prompt of a batch.
    ///
    /// # Errors
    ///
    /// [`PolicyError`]: nothing of the batch is kept.
    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError>;
}

/// A text to be scored.
#[derive(Clone, Debug)]
pub struct Prefix<'a> {
    /// The id of the problem.
    pub problem: &'a str,
    /// The tag of the node.
    pub tag: String,
    /// The prompt and the partial solution.
    pub text: String,
}

/// A process preference model: scores partial solutions in [-1, 1].
pub trait ValueModel: Send + Sync {
    /// A name for records.
    fn id(&self) -> &str;

    /// One finite score a prefix.
    ///
    /// # Errors
    ///
    /// [`PolicyError`], also for scores that are not finite.
    fn score(&self, batch: &[Prefix<'_>]) -> Result<Vec<f32>, PolicyError>;
}

/// Scores of the right number, all of them finite.
pub(crate) fn checked_scores(scores: Vec<f32>, expected: usize) -> Result<Vec<f32>, PolicyError> {
    if scores.len() != expected {
        return Err(PolicyError::ChoiceCount { expected, actual: scores.len() });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(PolicyError::BadScore { index }),
        None => Ok(scores),
    }
}

/// Replies with exactly the number of samples that was asked for.
pub(crate) fn checked_reply(reply: Reply, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
    if reply.samples.len() != batch.len() {
        return Err(PolicyError::ChoiceCount { expected: batch.len(), actual: reply.samples.len() });
    }
    match reply.samples.iter().zip(batch).find(|(samples, request)| samples.len() != request.n) {
        Some((samples, request)) => Err(PolicyError::ChoiceCount { expected: request.n, actual: samples.len() }),
        None => Ok(reply),
    }
}

/// A program and where it comes from.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The id of the problem.
    pub problem: &'a str,
    /// The tag of the node.
    pub tag: &'a str,
    /// Python.
    pub program: &'a str,
}

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RunStatus {
    /// To its end.
    Ok,
    /// With an exception.
    Exception {
        /// Its class.
        #[serde(rename = "type")]
        kind: String,
        /// Its text.
        msg: String,
    },
    /// Through `sys.exit`.
    Exit {
        /// The status.
        code: i64,
    },
    /// The wall clock ran out.
    Timeout,
    /// The processor time ran out.
    CpuLimit,
    /// It asked for more memory than it may have.
    MemoryLimit,
    /// It wrote more than it may.
    OutputLimit,
    /// The interpreter died.
    Crashed {
        /// How.
        how: String,
    },
}

/// What running a program gave.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct RunOutcome {
    /// How it ended.
    #[serde(flatten)]
    pub status: RunStatus,
    /// What goes back to the model.
    pub observation: String,
    /// What it printed, cut at the limit.
    pub stdout: String,
    /// Whether the sandbox refused something.
    pub denied: bool,
    /// Processor time.
    pub cpu_ms: u64,
    /// Wall clock.
    pub wall_ms: u64,
}

impl RunOutcome {
    /// A program that ended well with this observation.
    pub fn ok(observation: impl Into<String>) -> Self {
        let observation = observation.into();
        RunOutcome {
            status: RunStatus::Ok,
            stdout: observation.clone(),
            observation,
            denied: false,
            cpu_ms: 0,
            wall_ms: 0,
        }
    }
}

/// Runs model-written programs.
pub trait CodeRunner: Send + Sync {
    /// Runs one program; its failure is an outcome, not an error.
    ///
    /// # Errors
    ///
    /// [`RunnerError`] when no program can be run.
    fn run(&self, job: &Job<'_>) -> Result<RunOutcome, RunnerError>;
}

/// The seed of a request: the same for the same place of the same search, whatever the scheduling.
pub fn request_seed(run: u64, problem: &str, stage: &str, rollout: usize, tag: &str, index: usize) -> u64 {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(b"parsimon-reason/1\0");
    for part in [&run.to_string(), problem, stage, &rollout.to_string(), tag, &index.to_string()] {
        hash.update(part.as_bytes());
        hash.update(b"\0");
    }
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}
