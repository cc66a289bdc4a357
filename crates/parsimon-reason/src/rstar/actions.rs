//! The generator: which action may follow which, what each asks the model, and what becomes of the replies.

use serde::{Deserialize, Serialize};

use super::confidence::confidence;
use super::prompt::{Prompts, REPHRASED, hint, is_last_subquestion, is_last_thought};
use super::record::{Linear, Record, Valued};
use super::rollout::{Expansion, NewChild, RolloutConfig, rollouts};
use crate::action::Action;
use crate::answer::evaluators::Evaluator;
use crate::error::SolveError;
use crate::ledger::Ledger;
use crate::policy::{Request, Sample, Sampling, checked_reply, request_seed};
use crate::problem::Problem;
use crate::rstar_math::Env;
use crate::solution::{Answered, Candidate};
use crate::tree::{NodeId, Schedule, Tree};
use parsimon_core::SplitMix64;

/// What a node of the generator's tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// The user's question.
    Question,
    /// The question, rephrased.
    Rephrased,
    /// A whole solution.
    DirectAnswer,
    /// A sub-question with its answer.
    SubQuestion,
    /// Another answer of the last sub-question.
    ReAnswer,
    /// One thought.
    Thought,
}

impl Kind {
    /// The actions that may follow, in the order in which their children come: PAPER(rstar §3.2).
    pub fn actions(self) -> &'static [Action] {
        use Action::{Finish, OneThought, ReAnswer, Rephrase, SubQuestion};
        match self {
            Kind::Question => &[OneThought, Finish, SubQuestion, Rephrase],
            Kind::Rephrased | Kind::ReAnswer => &[OneThought, Finish, SubQuestion],
            Kind::SubQuestion => &[OneThought, Finish, SubQuestion, ReAnswer],
            Kind::Thought => &[OneThought, Finish],
            Kind::DirectAnswer => &[],
        }
    }
}

/// The settings of the generator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RstarConfig {
    /// Rollouts. PAPER(rstar §4.1): 32.
    pub rollouts: usize,
    /// Nodes at this depth are ends.
    pub max_depth: u16,
    /// Thoughts of a node.
    pub thoughts: usize,
    /// Sub-questions of a node.
    pub subquestions: usize,
    /// Answers of a sub-question.
    pub votes: usize,
    /// Answers of a last sub-question and of a direct answer.
    pub last_votes: usize,
    /// Weight of exploration.
    pub c: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Actions that are not used.
    pub disabled: Vec<String>,
    /// How replies are sampled.
    pub sampling: Sampling,
    /// Whether finished subtrees are left alone.
    pub exhaustion: bool,
}

impl Default for RstarConfig {
    fn default() -> Self {
        RstarConfig {
            rollouts: 32,
            max_depth: 5,
            thoughts: 5,
            subquestions: 5,
            votes: 10,
            last_votes: 32,
            c: 2.0,
            schedule: Schedule::Constant,
            disabled: Vec::new(),
            sampling: Sampling::default(),
            exhaustion: true,
        }
    }
}

impl RstarConfig {
    fn check(&self) -> Result<(), SolveError> {
        let zero = [
            ("rollouts", self.rollouts),
            ("max_depth", usize::from(self.max_depth)),
            ("thoughts", self.thoughts),
            ("subquestions", self.subquestions),
            ("votes", self.votes),
            ("last_votes", self.last_votes),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, value)| *value == 0) {
            return Err(SolveError::Config { field, value: "0".into(), allowed: "1 or more" });
        }
        for label in &self.disabled {
            if label.parse::<Action>().is_err() {
                return Err(SolveError::Config { field: "disabled", value: label.clone(), allowed: "A1 to A5" });
            }
        }
        Ok(())
    }
}

/// A node of the generator's tree.
#[derive(Clone, PartialEq, Debug)]
pub struct RstarNode {
    /// What it is.
    pub kind: Kind,
    /// The question as it stands below a rephrasing.
    pub question: String,
    /// The solution up to here.
    pub record: Record,
    /// The confidence of its answer, where it has one.
    pub value: f64,
    /// Whether its solution is complete.
    pub complete: bool,
}

/// A finished generation.
#[derive(Debug)]
pub struct Generated {
    /// The tree.
    pub tree: Tree<RstarNode>,
    /// All complete solutions of the tree and the end of every rollout.
    pub solutions: Vec<Linear>,
    /// Their answers.
    pub answered: Answered,
    /// What it cost.
    pub ledger: Ledger,
}

/// Grows a tree for a problem by the five actions.
///
/// # Errors
///
/// [`SolveError`].
pub fn generate(
    problem: &Problem,
    evaluator: Evaluator,
    config: &RstarConfig,
    prompts: &Prompts,
    env: &Env<'_>,
    seed: u64,
) -> Result<Generated, SolveError> {
    config.check()?;
    let mut tree = Tree::new(RstarNode {
        kind: Kind::Question,
        question: problem.text.clone(),
        record: Record::new(&problem.text),
        value: 0.0,
        complete: false,
    });
    let mut generator = Generator { problem, evaluator, config, prompts, env, seed, ledger: Ledger::default() };
    let settings = RolloutConfig {
        rollouts: config.rollouts,
        c: config.c,
        schedule: config.schedule,
        exhaustion: config.exhaustion,
    };
    let mut chooser = SplitMix64::new(request_seed(seed, &problem.id, "choose", 0, "", 0));
    let mut ends = Vec::new();
    let done = rollouts(&mut tree, &mut generator, &settings, &mut chooser, |_, _, end| ends.push(end))?;
    generator.ledger.rollouts = done as u64;
    generator.ledger.backups = done as u64;
    let complete: Vec<NodeId> = tree.ids().filter(|id| tree.data(*id).complete).chain(ends).collect();
    let mut answered = Answered::default();
    let mut solutions = Vec::new();
    for id in complete {
        let node = tree.data(id);
        let linear = node.record.linear();
        let answer = if node.complete { evaluator.answer(&linear.last).unwrap_or_default() } else { String::new() };
        answered.candidates.push(Candidate { answer, value: node.value, text: linear.text.clone() });
        solutions.push(linear);
    }
    if tree.len() == 1 {
        return Err(SolveError::NoCandidates);
    }
    Ok(Generated { tree, solutions, answered, ledger: generator.ledger })
}

struct Generator<'a> {
    problem: &'a Problem,
    evaluator: Evaluator,
    config: &'a RstarConfig,
    prompts: &'a Prompts,
    env: &'a Env<'a>,
    seed: u64,
    ledger: Ledger,
}

type Asked = (String, Vec<String>);

impl Generator<'_> {
    /// Asks several prompts in one batch, each with its number of samples and its longest reply.
    fn ask(
        &mut self,
        tag: &str,
        stage: &str,
        prompts: Vec<(Asked, usize, u32)>,
    ) -> Result<Vec<Vec<Sample>>, SolveError> {
        let batch: Vec<Request<'_>> = prompts
            .into_iter()
            .enumerate()
            .map(|(index, ((prompt, stops), n, max_tokens))| Request {
                problem: &self.problem.id,
                tag,
                prompt,
                n,
                stops,
                sampling: Sampling { max_tokens, ..self.config.sampling },
                seed: request_seed(self.seed, &self.problem.id, stage, 0, tag, index),
            })
            .collect();
        let reply = checked_reply(self.env.policy.propose(&batch)?, &batch)?;
        self.ledger.count(&batch, &reply);
        Ok(reply.samples)
    }

    fn enabled(&self, action: Action) -> bool {
        !self.config.disabled.iter().any(|label| label == action.label())
    }

    /// The winner of a vote as a text with its share; a value of 0 where no reply has an answer.
    fn vote(&self, samples: &[Sample]) -> Valued {
        let texts: Vec<&str> = samples.iter().map(|sample| sample.text.trim()).collect();
        match confidence(self.evaluator, &texts) {
            Some(winner) => Valued { text: texts[winner.index].to_owned(), value: winner.share },
            None => Valued { text: texts.first().copied().unwrap_or("").to_owned(), value: 0.0 },
        }
    }

    fn thoughts(&mut self, node: &RstarNode, tag: &str) -> Result<Vec<RstarNode>, SolveError> {
        let prompt = self.prompts.think(&node.question, &node.record);
        let samples = self.ask(tag, "A1", vec![(prompt, self.config.thoughts, 256)])?.remove(0);
        let mut texts: Vec<String> = Vec::new();
        for sample in samples {
            let text = sample.text.trim().to_owned();
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        let mut children: Vec<RstarNode> = Vec::new();
        for text in texts {
            let complete = is_last_thought(&text);
            let mut record = node.record.clone();
            record.push_thought(text);
            children.push(RstarNode {
                kind: Kind::Thought,
                question: node.question.clone(),
                record,
                value: 0.0,
                complete,
            });
        }
        // A thought that ends the solution is worth the share of equal answers among its complete siblings.
        let ends: Vec<String> = children
            .iter()
            .filter(|child| child.complete)
            .filter_map(|child| self.evaluator.answer(&child.record.linear().last))
            .collect();
        for child in children.iter_mut().filter(|child| child.complete) {
            let own = self.evaluator.answer(&child.record.linear().last);
            let equal = own.map_or(0, |own| ends.iter().filter(|other| self.evaluator.equal(other, &own)).count());
            child.value = equal as f64 / self.config.thoughts as f64;
        }
        Ok(children)
    }

    fn finish(&mut self, node: &RstarNode, tag: &str) -> Result<Vec<RstarNode>, SolveError> {
        let hint = hint(&node.record);
        let instruction = if hint.is_empty() { node.question.clone() } else { format!("{}\n\n{hint}", node.question) };
        let prompt = self.prompts.solve(&instruction, "");
        let samples = self.ask(tag, "A2", vec![(prompt, self.config.last_votes, 1024)])?.remove(0);
        let answer = self.vote(&samples);
        let mut record = node.record.clone();
        let value = answer.value;
        record.finish(answer);
        Ok(vec![RstarNode { kind: Kind::DirectAnswer, question: node.question.clone(), record, value, complete: true }])
    }

    fn subquestions(&mut self, node: &RstarNode, tag: &str) -> Result<Vec<RstarNode>, SolveError> {
        let prompt = self.prompts.ask(&node.question, &node.record);
        let samples = self.ask(tag, "A3", vec![(prompt, self.config.subquestions, 128)])?.remove(0);
        let mut asked: Vec<String> = Vec::new();
        for sample in samples {
            let text = sample.text.trim().to_owned();
            if !text.is_empty() && !asked.contains(&text) {
                asked.push(text);
            }
        }
        let ends: Vec<bool> = asked.iter().map(|text| is_last_subquestion(&node.question, text)).collect();
        let prompts = asked
            .iter()
            .zip(&ends)
            .map(|(text, last)| {
                let votes = if *last { self.config.last_votes } else { self.config.votes };
                (self.prompts.answer(&node.question, &node.record, text), votes, 512)
            })
            .collect();
        let answers = self.ask(tag, "A3 answer", prompts)?;
        let mut children = Vec::new();
        for ((text, complete), samples) in asked.into_iter().zip(ends).zip(answers) {
            let answer = self.vote(&samples);
            let mut record = node.record.clone();
            let value = answer.value;
            record.push_subquestion(text, answer);
            children.push(RstarNode {
                kind: Kind::SubQuestion,
                question: node.question.clone(),
                record,
                value,
                complete,
            });
        }
        Ok(children)
    }

    fn answer_again(&mut self, node: &RstarNode, tag: &str) -> Result<Vec<RstarNode>, SolveError> {
        let last =
            node.record.entries.values().next_back().and_then(|entry| entry.subquestion.clone()).unwrap_or_default();
        let instruction = format!("{}\n\n{last}", node.question);
        let prompt = self.prompts.solve(&instruction, "");
        let samples = self.ask(tag, "A4", vec![(prompt, self.config.votes, 1024)])?.remove(0);
        let answer = self.vote(&samples);
        let mut record = node.record.clone();
        let value = answer.value;
        record.answer_again(answer);
        Ok(vec![RstarNode { kind: Kind::ReAnswer, question: node.question.clone(), record, value, complete: false }])
    }

    fn rephrase(&mut self, node: &RstarNode, tag: &str) -> Result<Vec<RstarNode>, SolveError> {
        let prompt = self.prompts.rephrase(&node.question);
        let samples = self.ask(tag, "A5", vec![(prompt, 1, 512)])?.remove(0);
        let text = samples[0].text.trim();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let question = format!("{REPHRASED} {text}");
        let record = Record::new(&question);
        Ok(vec![RstarNode { kind: Kind::Rephrased, question, record, value: 0.0, complete: false }])
    }
}

impl Expansion for Generator<'_> {
    type Data = RstarNode;

    fn expand(&mut self, tree: &Tree<RstarNode>, id: NodeId) -> Result<Vec<NewChild<RstarNode>>, SolveError> {
        let (node, tag) = (tree.data(id).clone(), tree.tag(id));
        let mut children = Vec::new();
        for action in node.kind.actions() {
            if !self.enabled(*action) {
                continue;
            }
            children.extend(match action {
                Action::OneThought => self.thoughts(&node, &tag)?,
                Action::Finish => self.finish(&node, &tag)?,
                Action::SubQuestion => self.subquestions(&node, &tag)?,
                Action::ReAnswer => self.answer_again(&node, &tag)?,
                Action::Rephrase => self.rephrase(&node, &tag)?,
            });
        }
        self.ledger.expansions += 1;
        let last_depth = tree.node(id).depth + 1 >= self.config.max_depth;
        Ok(children.into_iter().map(|data| NewChild { terminal: data.complete || last_depth, data }).collect())
    }

    fn reward(&self, tree: &Tree<RstarNode>, id: NodeId) -> f64 {
        let node = tree.data(id);
        if node.complete { node.value } else { 0.0 }
    }

    fn stop(&mut self) -> bool {
        self.env.cancel.is_cancelled() || self.env.budget.exceeded(&self.ledger, self.env.clock.seconds()).is_some()
    }
}
