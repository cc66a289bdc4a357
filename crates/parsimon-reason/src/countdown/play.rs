//! Playing Countdown: sampling, greedy play, and the tree search with and without the verifier.

use parsimon_core::SplitMix64;

use super::domain::{State, Step};
use super::features::features;
use super::mlp::Mlp;
use super::train::{softmax, value_of};
use crate::error::SolveError;
use crate::search::{Child, GuidedConfig, Outcome, Steps, search};
use crate::solution::{Answered, Candidate};
use crate::tree::{NodeId, Tree};

/// A policy and a value model, either of which may be absent: then steps are drawn uniformly, and no step has a value.
#[derive(Clone, Copy, Debug)]
pub struct Player<'a> {
    /// Scores legal steps.
    pub policy: Option<&'a Mlp>,
    /// Scores steps and what they leave.
    pub value: Option<&'a Mlp>,
}

/// What a search is allowed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SearchSettings {
    /// Rollouts, score and waves.
    pub guided: GuidedConfig,
    /// Samples an expansion.
    pub candidates: usize,
    /// Divides the logits.
    pub temperature: f32,
    /// Independent trees that share the rollouts' budget and one pool of answers.
    pub restarts: usize,
    /// Whether answers are graded: training, or the oracle's row of a report.
    pub verifier: bool,
}

/// What playing found and cost.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The final numbers with their values.
    pub answered: Answered,
    /// Times that the policy was asked about a prefix.
    pub prefix_evaluations: u64,
    /// Steps that were sampled, duplicates included.
    pub generated_steps: u64,
}

impl Found {
    /// Whether an answer is the target.
    pub fn is_right(&self, index: Option<usize>, target: u32) -> bool {
        index.is_some_and(|index| self.answered.candidates[index].answer == target.to_string())
    }

    fn push(&mut self, step: &Step, value: f64) {
        self.answered.candidates.push(Candidate {
            answer: step.next.numbers()[0].to_string(),
            value,
            text: String::new(),
        });
    }
}

impl Player<'_> {
    /// The chances of the legal steps.
    pub fn chances(&self, steps: &[Step], temperature: f32) -> Vec<f32> {
        match self.policy {
            Some(policy) => softmax(&policy.forward(&steps.iter().map(features).collect::<Vec<_>>()), temperature),
            None => vec![1.0 / steps.len() as f32; steps.len()],
        }
    }

    /// The values of steps; zeros without a value model.
    pub fn values(&self, steps: &[Step]) -> Vec<f64> {
        match self.value {
            Some(model) => {
                let raw = model.forward(&steps.iter().map(features).collect::<Vec<_>>());
                raw.into_iter().map(|raw| value_of(f64::from(raw))).collect()
            }
            None => vec![0.0; steps.len()],
        }
    }

    /// The most probable steps to the end.
    pub fn greedy(&self, start: State) -> State {
        let mut state = start;
        while !state.is_end() {
            let steps = state.steps();
            let chances = self.chances(&steps, 1.0);
            let best = crate::solution::first_max(chances.iter().enumerate().map(|(at, p)| (at, f64::from(*p))))
                .expect("two numbers can be added");
            state = steps[best].next;
        }
        state
    }

    /// `k` independent samples with the values of their last steps. The policy is asked once about each distinct prefix.
    pub fn sample(&self, start: State, k: usize, temperature: f32, rng: &mut SplitMix64) -> Found {
        let mut found = Found::default();
        let mut known: Vec<(State, Vec<Step>, Vec<f32>)> = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..k {
            let mut state = start;
            loop {
                let at = known.iter().position(|(other, ..)| *other == state).unwrap_or_else(|| {
                    let steps = state.steps();
                    let chances = self.chances(&steps, temperature);
                    known.push((state, steps, chances));
                    known.len() - 1
                });
                let (_, steps, chances) = &known[at];
                let step = steps[draw(chances, rng)];
                found.generated_steps += 1;
                found.prefix_evaluations += 1;
                state = step.next;
                if state.is_end() {
                    ends.push(step);
                    break;
                }
            }
        }
        // The first prefix of all samples is the same prompt: asked once for k samples.
        found.prefix_evaluations -= k.saturating_sub(1) as u64;
        for (step, value) in ends.iter().zip(self.values(&ends)) {
            found.push(step, value);
        }
        found
    }

    /// The tree search; with `trees` the finished trees are handed out.
    ///
    /// # Errors
    ///
    /// [`SolveError::Config`].
    pub fn search(
        &self,
        start: State,
        settings: &SearchSettings,
        seed: u64,
        mut trees: impl FnMut(&Tree<Option<Step>>),
    ) -> Result<Found, SolveError> {
        let mut found = Found::default();
        for restart in 0..settings.restarts.max(1) {
            let mut tree = Tree::new(None);
            let rng = SplitMix64::new(seed.wrapping_add(0x9E37_79B9 * (restart as u64 + 1)));
            let mut steps =
                CountdownSteps { player: *self, start, settings, rng, prefix_evaluations: 0, generated_steps: 0 };
            search(&mut tree, &mut steps, &settings.guided, |tree, traces| {
                for id in traces.iter().flat_map(|trace| &trace.answers) {
                    let step = tree.data(*id).as_ref().expect("an answer is a step");
                    found.push(step, f64::from(tree.node(*id).first_value));
                }
            })?;
            found.prefix_evaluations += steps.prefix_evaluations;
            found.generated_steps += steps.generated_steps;
            trees(&tree);
        }
        Ok(found)
    }
}

/// An index with the given chances.
pub(super) fn draw(chances: &[f32], rng: &mut SplitMix64) -> usize {
    let mut left = rng.next_f64() as f32;
    for (at, p) in chances.iter().enumerate() {
        left -= p;
        if left < 0.0 {
            return at;
        }
    }
    chances.len() - 1
}

struct CountdownSteps<'a> {
    player: Player<'a>,
    start: State,
    settings: &'a SearchSettings,
    rng: SplitMix64,
    prefix_evaluations: u64,
    generated_steps: u64,
}

impl Steps for CountdownSteps<'_> {
    type Data = Option<Step>;

    fn expand(
        &mut self,
        tree: &Tree<Option<Step>>,
        leaves: &[NodeId],
    ) -> Result<Vec<Vec<Child<Option<Step>>>>, SolveError> {
        let mut all = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let state = tree.data(*leaf).as_ref().map_or(self.start, |step| step.next);
            let steps = state.steps();
            let chances = self.player.chances(&steps, self.settings.temperature);
            self.prefix_evaluations += 1;
            let mut drawn: Vec<usize> = Vec::with_capacity(self.settings.candidates);
            for _ in 0..self.settings.candidates {
                self.generated_steps += 1;
                let index = draw(&chances, &mut self.rng);
                if !drawn.contains(&index) {
                    drawn.push(index);
                }
            }
            let kept: Vec<Step> = drawn.iter().map(|index| steps[*index]).collect();
            let values = if self.player.value.is_some() { Some(self.player.values(&kept)) } else { None };
            let children = kept.iter().enumerate().map(|(at, step)| {
                let value = values.as_ref().map(|values| values[at]);
                let outcome = match (step.next.is_end(), self.settings.verifier) {
                    (false, _) => Outcome::Open { value },
                    (true, true) => Outcome::Answer { value: if step.next.is_solved() { 1.0 } else { -1.0 } },
                    (true, false) => Outcome::Answer { value: value.unwrap_or(0.0) },
                };
                Child { data: Some(*step), outcome, prior: chances[drawn[at]] }
            });
            all.push(children.collect());
        }
        Ok(all)
    }
}
