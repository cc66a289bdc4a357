//! The small policy behind the text interface: prompts like `24 7 3 50 > 37`, steps like `50 - 7 = 43 ( 43 24 3 )`.

use parsimon_core::SplitMix64;

use super::domain::State;
use super::mlp::Mlp;
use super::play::{Player, draw};
use crate::error::PolicyError;
use crate::policy::{Policy, Reply, Request, Sample, Usage};

/// A trained perceptron as a [`Policy`] on texts.
#[derive(Clone, Debug)]
pub struct TinyPolicy {
    mlp: Mlp,
}

impl TinyPolicy {
    /// Wraps a trained policy.
    pub fn new(mlp: Mlp) -> Self {
        TinyPolicy { mlp }
    }
}

/// The state that a text ends in: the numbers of its last step, or of its prompt.
pub(super) fn read_state(text: &str) -> Option<State> {
    let at = text.rfind('>')?;
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let mut numbers = numbers(&text[line_start..at])?;
    let rest = &text[at + 1..];
    let target: u32 = rest.split_whitespace().next()?.parse().ok()?;
    for step in rest.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let (head, left) = step.split_once('(')?;
        let left = self::numbers(left.trim().trim_end_matches(')'))?;
        // A step whose arithmetic, operands or remaining numbers are wrong is no state.
        let state = (2..=4).contains(&numbers.len()).then(|| State::new(&numbers, target))?;
        let legal = state
            .steps()
            .iter()
            .any(|legal| legal.to_string().split('(').next() == Some(head) && legal.next.numbers() == left);
        if !legal {
            return None;
        }
        numbers = left;
    }
    ((1..=4).contains(&numbers.len()) && numbers.iter().all(|number| *number < 1 << 16 || numbers.len() < 3))
        .then(|| State::new(&numbers, target))
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

impl Policy for TinyPolicy {
    fn id(&self) -> &str {
        "tiny"
    }

    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let player = Player { policy: Some(&self.mlp), value: None };
        let mut reply = Reply::default();
        for request in batch {
            let state = read_state(&request.prompt)
                .ok_or_else(|| PolicyError::NoCandidate { what: "a prompt that is no Countdown state".into() })?;
            if state.is_end() {
                reply.samples.push(vec![Sample::ended(""); request.n]);
                continue;
            }
            let steps = state.steps();
            let chances = player.chances(&steps, request.sampling.temperature.max(1e-3));
            let mut rng = SplitMix64::new(request.seed);
            let samples: Vec<Sample> = (0..request.n)
                .map(|_| {
                    let text = steps[draw(&chances, &mut rng)].to_string();
                    Sample { tokens: text.len() as u64, ..Sample::stopped(text, "\n") }
                })
                .collect();
            let completion = samples.iter().map(|sample| sample.tokens).sum();
            reply.usage += Usage { prompt: request.prompt.len() as u64, completion, ..Usage::default() };
            reply.samples.push(samples);
        }
        Ok(reply)
    }
}
