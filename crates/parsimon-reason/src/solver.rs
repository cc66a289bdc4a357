//! One problem, any method: sampling and its votes, beams, rStar with or without a second model, rStar-Math.

use serde::{Deserialize, Serialize};

use crate::answer::evaluators::Evaluator;
use crate::error::SolveError;
use crate::ledger::Ledger;
use crate::policy::{Policy, Request, Sampling, checked_reply, request_seed};
use crate::problem::Problem;
use crate::rstar::{DiscriminateConfig, Prompts, RstarConfig, discriminate, generate, merge_traces};
use crate::rstar_math::{BeamConfig, Env, MathConfig, beam, solve};
use crate::solution::{Answered, Candidate};
use crate::tree::{TreeRecord, tree_record};

/// How a problem is solved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// One completion of the most probable tokens.
    Greedy,
    /// Many completions, the most common answer.
    SelfConsistency,
    /// Many completions scored by the value model, the answer with the largest sum.
    WeightedVote,
    /// Many completions scored by the value model, the best.
    BestOfN,
    /// Steps of code, the best of which go on.
    Beam,
    /// rStar's tree, a vote, and the second model's verdict where there is one.
    Rstar,
    /// rStar-Math's tree, the trajectory of the highest value.
    RstarMath,
}

/// The settings of all methods.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SolverConfig {
    /// How.
    pub method: Method,
    /// How answers are read and compared.
    pub evaluator: Evaluator,
    /// Completions of the sampling methods, and the width of a beam.
    pub n: usize,
    /// rStar's settings.
    pub rstar: RstarConfig,
    /// The discriminator's settings.
    pub discriminate: DiscriminateConfig,
    /// rStar-Math's settings.
    pub math: MathConfig,
    /// How the sampling methods sample.
    pub sampling: Sampling,
    /// Seed of everything.
    pub seed: u64,
}

impl Default for SolverConfig {
    fn default() -> Self {
        SolverConfig {
            method: Method::Rstar,
            evaluator: Evaluator::Number,
            n: 8,
            rstar: RstarConfig::default(),
            discriminate: DiscriminateConfig::default(),
            math: MathConfig::default(),
            sampling: Sampling::default(),
            seed: 0,
        }
    }
}

/// An answer and how it came about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Solution {
    /// The id of the problem.
    pub problem: String,
    /// The answer; absent where nothing was found.
    pub answer: Option<String>,
    /// Its value: a model's, or its share of the votes.
    pub value: f64,
    /// How it was chosen.
    pub stage: String,
    /// How many solutions were found.
    pub n_solutions: usize,
    /// Which limit ended the search, if one did.
    pub budget_exhausted: Option<String>,
    /// What it cost.
    pub ledger: Ledger,
}

/// Solves one problem. The gold answer is no parameter: a [`Problem`] does not have it.
///
/// # Errors
///
/// [`SolveError`].
pub fn solve_problem(
    problem: &Problem,
    config: &SolverConfig,
    env: &Env<'_>,
    second: Option<&dyn Policy>,
) -> Result<(Solution, Option<TreeRecord>), SolveError> {
    match config.method {
        Method::Rstar => rstar(problem, config, env, second),
        Method::RstarMath => rstar_math(problem, config, env),
        Method::Beam => {
            let (answered, ledger) = beam(problem, BeamConfig { width: config.n }, &config.math, env, config.seed)?;
            let pick = answered.best();
            Ok((finish(problem, &answered, pick, "best-value", ledger, env), None))
        }
        _ => sampling(problem, config, env).map(|solution| (solution, None)),
    }
}

fn finish(
    problem: &Problem,
    answered: &Answered,
    pick: Option<usize>,
    stage: &str,
    ledger: Ledger,
    env: &Env<'_>,
) -> Solution {
    let winner = pick.map(|pick| &answered.candidates[pick]);
    Solution {
        problem: problem.id.clone(),
        answer: winner.map(|winner| winner.answer.clone()),
        value: winner.map_or(0.0, |winner| winner.value),
        stage: if winner.is_some() { stage.to_owned() } else { "no-answer".to_owned() },
        n_solutions: answered.candidates.len(),
        budget_exhausted: env.budget.exceeded(&ledger, env.clock.seconds()).map(str::to_owned),
        ledger,
    }
}

fn sampling(problem: &Problem, config: &SolverConfig, env: &Env<'_>) -> Result<Solution, SolveError> {
    let greedy = config.method == Method::Greedy;
    let n = if greedy { 1 } else { config.n };
    if n == 0 {
        return Err(SolveError::Config { field: "n", value: "0".into(), allowed: "1 or more" });
    }
    let (prompt, stops) = Prompts::default().solve(&problem.text, "");
    let sampling = if greedy { Sampling { temperature: 0.0, ..config.sampling } } else { config.sampling };
    let seed = request_seed(config.seed, &problem.id, "sample", 0, "0", 0);
    let batch = [Request { problem: &problem.id, tag: "0", prompt: prompt.clone(), n, stops, sampling, seed }];
    let reply = checked_reply(env.policy.propose(&batch)?, &batch)?;
    let mut ledger = Ledger::default();
    ledger.count(&batch, &reply);
    let texts: Vec<&str> = reply.samples[0].iter().map(|sample| sample.text.as_str()).collect();
    let values: Vec<f32> = match env.value.filter(|_| matches!(config.method, Method::WeightedVote | Method::BestOfN)) {
        Some(model) => {
            let prefixes: Vec<_> = texts
                .iter()
                .map(|text| crate::policy::Prefix {
                    problem: &problem.id,
                    tag: "0".into(),
                    text: format!("{prompt}{text}"),
                })
                .collect();
            ledger.value_inputs += prefixes.len() as u64;
            crate::policy::checked_scores(model.score(&prefixes)?, prefixes.len())?
        }
        None if matches!(config.method, Method::WeightedVote | Method::BestOfN) => {
            return Err(SolveError::Config {
                field: "value",
                value: "absent".into(),
                allowed: "a value model for this method",
            });
        }
        None => vec![0.0; texts.len()],
    };
    let mut answered = Answered::default();
    for (text, value) in texts.iter().zip(values) {
        let answer = config.evaluator.answer(text).unwrap_or_default();
        ledger.malformed += u64::from(answer.is_empty());
        answered.candidates.push(Candidate { answer, value: f64::from(value), text: (*text).to_owned() });
    }
    let pick = match config.method {
        Method::WeightedVote => answered.weighted(),
        Method::BestOfN => answered.best(),
        _ => answered.majority(),
    };
    let stage = if greedy { "greedy" } else { "vote" };
    Ok(finish(problem, &answered, pick, stage, ledger, env))
}

fn rstar(
    problem: &Problem,
    config: &SolverConfig,
    env: &Env<'_>,
    second: Option<&dyn Policy>,
) -> Result<(Solution, Option<TreeRecord>), SolveError> {
    let prompts = Prompts::default();
    let found = generate(problem, config.evaluator, &config.rstar, &prompts, env, config.seed)?;
    let tree = tree_record(&found.tree, &problem.text, |_, node| {
        let linear = node.record.linear();
        let answer =
            if node.complete { config.evaluator.answer(&linear.last).unwrap_or_default() } else { String::new() };
        (format!("[{:?}] {}", node.kind, linear.last), answer)
    });
    let mut ledger = found.ledger;
    let Some(second) = second else {
        let groups = found.answered.groups();
        let pick = found.answered.majority();
        let share = groups
            .iter()
            .find(|group| Some(group.first) == pick)
            .map_or(0.0, |group| group.members.len() as f64 / found.answered.candidates.len() as f64);
        let mut solution = finish(problem, &found.answered, pick, "vote", ledger, env);
        solution.value = share;
        return Ok((solution, Some(tree)));
    };
    let traces =
        merge_traces(config.evaluator, found.solutions.iter().map(|linear| (linear.text.clone(), linear.last.clone())));
    let verdict = discriminate(
        problem,
        &traces,
        config.evaluator,
        &config.discriminate,
        &prompts,
        second,
        config.seed,
        &mut ledger,
    )?;
    let stage = serde_json::to_value(verdict.stage)
        .ok()
        .and_then(|stage| stage.as_str().map(str::to_owned))
        .unwrap_or_default();
    let score = verdict
        .scores
        .iter()
        .find(|(index, _)| Some(*index) == verdict.winner_index)
        .map_or(verdict.majority_share, |(_, score)| *score);
    let mut solution = finish(problem, &found.answered, None, &stage, ledger, env);
    (solution.answer, solution.value, solution.stage) = (verdict.winner, score, stage);
    Ok((solution, Some(tree)))
}

fn rstar_math(
    problem: &Problem,
    config: &SolverConfig,
    env: &Env<'_>,
) -> Result<(Solution, Option<TreeRecord>), SolveError> {
    let found = solve(problem, &config.math, env, config.seed)?;
    let tree = tree_record(&found.tree, &problem.text, |_, step| (step.text.clone(), step.final_answer.clone()));
    let mut solution = finish(problem, &found.answered, found.answered.best(), "best-value", found.ledger, env);
    solution.budget_exhausted = found.budget_exhausted.map(str::to_owned);
    Ok((solution, Some(tree)))
}
