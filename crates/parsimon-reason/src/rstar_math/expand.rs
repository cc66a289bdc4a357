//! How a node of the math search gets its children: sample, read, run, score.

use std::collections::HashMap;

use super::config::{MathConfig, Mode};
use super::step::{self, Reading};
use super::{Env, TerminalReward};
use crate::answer::{Grader, Parsed};
use crate::error::SolveError;
use crate::ledger::Ledger;
use crate::policy::{
    Finish, Job, Prefix, Request, RunOutcome, RunStatus, Sample, checked_reply, checked_scores, request_seed,
};
use crate::problem::Problem;
use crate::search::{Child, Outcome, Steps};
use crate::tree::{NodeId, Tree};

/// A node of the math search.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Step {
    /// The step with its stop string and, where its code was closed, the output.
    pub text: String,
    /// What running it printed.
    pub observation: String,
    /// The answer, or one of the texts that say why the branch ended; empty while it is open.
    pub final_answer: String,
    /// Consecutive failing steps up to here.
    pub errors: u8,
}

impl Step {
    /// The root: no text.
    pub fn root() -> Self {
        Step::default()
    }

    /// Whether the branch ended without an answer.
    pub fn failed(&self) -> bool {
        [step::TOO_MANY_CODE_ERRORS, step::TOO_MANY_STEPS, step::NO_VALID_CHILD].contains(&self.final_answer.as_str())
    }
}

/// [`Steps`] of code-augmented trajectories.
pub struct Expander<'a> {
    problem: &'a Problem,
    config: &'a MathConfig,
    env: &'a Env<'a>,
    reward: Option<&'a dyn TerminalReward>,
    seed: u64,
    prompt: String,
    /// Outcomes by program, so that equal steps of different branches run once.
    memo: HashMap<String, RunOutcome>,
    ledger: Ledger,
}

impl<'a> Expander<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        config: &'a MathConfig,
        env: &'a Env<'a>,
        reward: Option<&'a dyn TerminalReward>,
        seed: u64,
    ) -> Result<Self, SolveError> {
        let bad = |field, value: &str, allowed| Err(SolveError::Config { field, value: value.into(), allowed });
        if config.candidates == 0 {
            return bad("candidates", "0", "1 or more");
        }
        if config.mode != Mode::TerminalGuided && env.value.is_none() {
            return bad("value", "absent", "a value model, or the mode terminal-guided");
        }
        if config.mode != Mode::TestTime && reward.is_none() {
            return bad("mode", "a training mode without rewards", "test-time, or `annotate` with a reward");
        }
        let prompt = step::prompt(&problem.text);
        Ok(Expander { problem, config, env, reward, seed, prompt, memo: HashMap::new(), ledger: Ledger::default() })
    }

    pub(super) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    fn prefix(&self, tree: &Tree<Step>, id: NodeId) -> String {
        let mut text = self.prompt.clone();
        for id in tree.path(id) {
            text.push_str(&tree.data(id).text);
        }
        text
    }

    /// The samples of one leaf that become children, each text once.
    fn distinct(&mut self, samples: Vec<Sample>) -> Vec<Sample> {
        let mut kept: Vec<Sample> = Vec::new();
        for sample in samples {
            if !self.config.compat && sample.finish == Finish::Length {
                self.ledger.malformed += 1;
                continue;
            }
            if !kept.iter().any(|other| other.text == sample.text) {
                kept.push(sample);
            }
        }
        if self.config.compat
            && let Some(at) = kept.iter().position(|sample| sample.stop.as_deref() == Some(step::END_OF_ANSWER))
        {
            return vec![kept.swap_remove(at)];
        }
        self.distinct_answers(kept)
    }

    /// Of several equal answers the first.
    fn distinct_answers(&self, samples: Vec<Sample>) -> Vec<Sample> {
        let mut seen: Vec<Parsed> = Vec::new();
        samples
            .into_iter()
            .filter(|sample| match step::read(&sample.with_stop()) {
                Reading::Answer(answer) if !self.config.compat => {
                    let parsed = Parsed::read(&answer);
                    let new = !seen.iter().any(|other| Grader::strict().compare(other, &parsed).equal);
                    seen.push(parsed);
                    new
                }
                _ => true,
            })
            .collect()
    }

    fn run(&mut self, tag: &str, program: &str) -> Result<RunOutcome, SolveError> {
        if let Some(outcome) = self.memo.get(program) {
            return Ok(outcome.clone());
        }
        let Some(runner) = self.env.runner else { return Ok(RunOutcome::ok("")) };
        let outcome = runner.run(&Job { problem: &self.problem.id, tag, program })?;
        self.ledger.runs += 1;
        self.ledger.run_cpu_ms += outcome.cpu_ms;
        self.ledger.run_timeouts += u64::from(outcome.status == RunStatus::Timeout);
        self.ledger.run_denied += u64::from(outcome.denied);
        // The released runner is asked by node, so that its recorded observations differ for equal programs.
        if !self.config.compat {
            self.memo.insert(program.to_owned(), outcome.clone());
        }
        Ok(outcome)
    }

    fn child(
        &mut self,
        tree: &Tree<Step>,
        leaf: NodeId,
        tag: &str,
        sample: &Sample,
    ) -> Result<Child<Step>, SolveError> {
        let text = sample.with_stop();
        let parent_errors = tree.data(leaf).errors;
        let depth = usize::from(tree.node(leaf).depth) + 1;
        let failed = |text, observation, why: &str, errors| Child {
            data: Step { text, observation, final_answer: why.to_owned(), errors },
            outcome: Outcome::Failed,
            prior: 1.0,
        };
        match step::read(&text) {
            Reading::Malformed(_) => {
                self.ledger.malformed += 1;
                Ok(failed(text, String::new(), step::NO_VALID_CHILD, 0))
            }
            Reading::Answer(answer) => {
                // At test time the value is filled in by the batch of scores.
                let value = self
                    .reward
                    .filter(|_| self.config.mode != Mode::TestTime)
                    .map_or(f64::NAN, |reward| reward.reward(&answer));
                let data = Step { text, observation: String::new(), final_answer: answer, errors: 0 };
                Ok(Child { data, outcome: Outcome::Answer { value }, prior: 1.0 })
            }
            Reading::Code => {
                let path = tree.path(leaf);
                let program = step::program(path.iter().map(|id| tree.data(*id).text.as_str()), &text);
                let outcome = self.run(tag, &program)?;
                let observation = outcome.observation;
                let error = if self.config.compat {
                    observation.to_lowercase().contains("error")
                } else {
                    outcome.status != RunStatus::Ok
                };
                let closes = text.contains(step::END_OF_CODE);
                let errors = if error { parent_errors.saturating_add(1) } else { 0 };
                let wrapped = format!("\n{}{observation}{}", step::OUTPUT, step::END_OF_OUTPUT);
                if error && errors >= self.config.errors_max {
                    let text = match (closes, self.config.compat) {
                        (true, true) => {
                            format!("{text}\n{o}{o}{observation}{e}{e}", o = step::OUTPUT, e = step::END_OF_OUTPUT)
                        }
                        (true, false) => text + &wrapped,
                        (false, _) => text + step::END_OF_CODE + &wrapped,
                    };
                    return Ok(failed(text, observation, step::TOO_MANY_CODE_ERRORS, errors));
                }
                let text = if closes { text + &wrapped } else { text };
                if depth > self.config.search.max_depth {
                    return Ok(failed(text, observation, step::TOO_MANY_STEPS, errors));
                }
                let data = Step { text, observation, final_answer: String::new(), errors };
                Ok(Child { data, outcome: Outcome::Open { value: None }, prior: 1.0 })
            }
        }
    }

    /// Scores what needs a score, in one batch.
    fn score(
        &mut self,
        tree: &Tree<Step>,
        leaves: &[NodeId],
        children: &mut [Vec<Child<Step>>],
    ) -> Result<(), SolveError> {
        let Some(model) = self.env.value.filter(|_| self.config.mode != Mode::TerminalGuided) else { return Ok(()) };
        let mut places = Vec::new();
        let mut batch = Vec::new();
        for (at, (leaf, list)) in leaves.iter().zip(children.iter()).enumerate() {
            let (prefix, tag) = (self.prefix(tree, *leaf), tree.tag(*leaf));
            for (index, child) in list.iter().enumerate() {
                let wanted = match child.outcome {
                    Outcome::Open { .. } => true,
                    Outcome::Answer { .. } => self.config.mode == Mode::TestTime,
                    Outcome::Failed => false,
                };
                if wanted {
                    places.push((at, index));
                    let text = format!("{prefix}{}", child.data.text);
                    batch.push(Prefix { problem: &self.problem.id, tag: format!("{tag}.{}", index + 1), text });
                }
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.ledger.value_inputs += batch.len() as u64;
        let scores = checked_scores(model.score(&batch)?, batch.len())?;
        for ((at, index), score) in places.into_iter().zip(scores) {
            let value = f64::from(score);
            let outcome = &mut children[at][index].outcome;
            *outcome = match outcome {
                Outcome::Open { .. } => Outcome::Open { value: Some(value) },
                _ => Outcome::Answer { value },
            };
        }
        Ok(())
    }
}

impl Steps for Expander<'_> {
    type Data = Step;

    fn expand(&mut self, tree: &Tree<Step>, leaves: &[NodeId]) -> Result<Vec<Vec<Child<Step>>>, SolveError> {
        let tags: Vec<String> = leaves.iter().map(|leaf| tree.tag(*leaf)).collect();
        let batch: Vec<Request<'_>> = leaves
            .iter()
            .zip(&tags)
            .map(|(leaf, tag)| Request {
                problem: &self.problem.id,
                tag,
                prompt: self.prefix(tree, *leaf),
                n: self.config.candidates,
                stops: self.config.stops.clone(),
                sampling: self.config.sampling,
                seed: request_seed(self.seed, &self.problem.id, "step", 0, tag, 0),
            })
            .collect();
        let reply = self.env.policy.propose(&batch)?;
        // The released search takes what it gets; a golden trace has fewer samples than were asked for.
        let reply = if self.config.compat { reply } else { checked_reply(reply, &batch)? };
        self.ledger.count(&batch, &reply);
        self.ledger.expansions += leaves.len() as u64;
        let mut children = Vec::with_capacity(leaves.len());
        for ((leaf, tag), samples) in leaves.iter().zip(&tags).zip(reply.samples) {
            let mut list = Vec::new();
            for sample in self.distinct(samples) {
                let tag = format!("{tag}.{}", list.len() + 1);
                list.push(self.child(tree, *leaf, &tag, &sample)?);
            }
            children.push(list);
        }
        self.score(tree, leaves, &mut children)?;
        Ok(children)
    }

    fn stop(&mut self) -> bool {
        self.env.cancel.is_cancelled() || self.env.budget.exceeded(&self.ledger, self.env.clock.seconds()).is_some()
    }
}
