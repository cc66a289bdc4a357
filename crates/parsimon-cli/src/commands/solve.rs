//! `parsimon solve`: problems solved by search or by sampling, with a model behind any interface.

mod html;
mod policy;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::{Args, ValueEnum};
use parsimon::reason::answer::evaluators::Evaluator;
use parsimon::reason::cache::{CacheMode, CachedPolicy, Store};
use parsimon::reason::ledger::Clock;
use parsimon::reason::problem::{Format, LabeledProblem, read_problems};
use parsimon::reason::rstar_math::Env;
use parsimon::reason::run::RunFolder;
use parsimon::reason::sandbox::{Isolation, Limits, Sandbox};
use parsimon::reason::solution::wilson95;
use parsimon::reason::solver::{Method, Solution, SolverConfig, solve_problem};
use parsimon::reason::{Budget, CodeRunner, Ledger, Policy, SolveError, ValueModel};
use parsimon::tensor::Unit;
use serde::Serialize;

use crate::context::Context;
use crate::failure::BadInput;

/// Solve problems by tree search or sampling.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon solve --task gsm8k.jsonl --policy vllm+http://127.0.0.1:8000#model --method rstar --out run --gold"
)]
pub(crate) struct Solve {
    /// The problems: GSM8K's, rStar's or rStar-Math's JSON, or a question a line.
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// vllm+URL#model, openai+URL#model, vllm-chat+URL#model, openai-chat+URL#model, llamacpp+URL, sglang+URL, sim:scatter,p=0.2,
    /// or a model folder.
    #[arg(long, value_name = "SPEC")]
    policy: String,
    /// How.
    #[arg(long, value_enum, default_value = "rstar")]
    method: MethodName,
    /// How answers are read.
    #[arg(long, value_enum, default_value = "number")]
    answers: Answers,
    /// A second model that checks the first, for rstar.
    #[arg(long, value_name = "SPEC")]
    discriminator: Option<String>,
    /// A value model: pooling+URL#model or classify+URL#model.
    #[arg(long, value_name = "SPEC")]
    reward: Option<String>,
    /// Completions of the sampling methods, width of a beam.
    #[arg(long, default_value_t = 8)]
    n: usize,
    /// Rollouts of the searches.
    #[arg(long)]
    rollouts: Option<usize>,
    /// Only the first problems.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Problems at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// calls=N, tokens=N, seconds=N a problem; the answer so far is kept.
    #[arg(long, value_name = "KEY=N", value_delimiter = ',')]
    budget: Vec<String>,
    /// Record replies here, and use those that are there.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// With --record: what is not there is an error, and no model is asked.
    #[arg(long, requires = "record")]
    strict: bool,
    /// The folder of the run.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with a run that was stopped.
    #[arg(long)]
    resume: bool,
    /// Grade afterwards with the file's answers.
    #[arg(long)]
    gold: bool,
    /// Also write report.html, with the trees.
    #[arg(long)]
    report: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodName {
    Greedy,
    Sc,
    Wvote,
    Bon,
    Beam,
    Rstar,
    RstarMath,
}

#[derive(Clone, Copy, ValueEnum)]
enum Answers {
    Number,
    Math,
    YesNo,
    Choice,
}

#[derive(Serialize)]
struct Report {
    n: usize,
    answered: usize,
    /// With --gold.
    correct: Option<usize>,
    ungradable: Option<usize>,
    /// Wilson's interval of 95 %.
    accuracy95: Option<(f64, f64)>,
    budget_exhausted: usize,
    /// Problems that failed, by what happened.
    failed: Vec<(String, String)>,
    ledger: Ledger,
}

/// The time since a problem was begun is what its budget counts.
struct Since(Instant);

impl Clock for Since {
    fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// What the workers share.
struct Searches<'a> {
    cx: &'a Context,
    problems: &'a [LabeledProblem],
    config: &'a SolverConfig,
    budget: Budget,
    policy: &'a dyn Policy,
    second: Option<&'a dyn Policy>,
    value: Option<&'a dyn ValueModel>,
    runner: Option<&'a dyn CodeRunner>,
    /// The run, and the problems that failed.
    state: Mutex<(RunFolder, Vec<(String, String)>)>,
}

impl Searches<'_> {
    fn run(&self, workers: usize) -> anyhow::Result<()> {
        self.cx.control().progress.start("solve", Some(self.problems.len() as u64), Unit::Items("problems"));
        let next = AtomicUsize::new(0);
        let work = || -> anyhow::Result<()> {
            while let Some(labeled) = self.problems.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.one(labeled)?;
                self.cx.control().progress.advance(1);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers.min(self.problems.len())).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        self.cx.control().progress.finish();
        Ok(())
    }

    fn one(&self, labeled: &LabeledProblem) -> anyhow::Result<()> {
        let (problem, cancel) = (&labeled.problem, self.cx.cancel());
        cancel.check()?;
        if self.state.lock().expect("no holder panics").0.finished(&problem.id).is_some() {
            return Ok(());
        }
        let clock = Since(Instant::now());
        let env = Env {
            policy: self.policy,
            value: self.value,
            runner: self.runner,
            clock: &clock,
            budget: self.budget,
            cancel,
        };
        let result = solve_problem(problem, self.config, &env, self.second);
        // What a cancelled search found is not the answer of the whole search.
        cancel.check()?;
        let mut state = self.state.lock().expect("no holder panics");
        match result {
            Ok((solution, tree)) => state.0.push(solution, tree.as_ref())?,
            Err(SolveError::NoCandidates) => state.1.push((problem.id.clone(), "NoCandidates".to_owned())),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Solve {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.task)
            .map_err(|error| BadInput { file: Some(self.task.clone()), message: error.to_string() })?;
        let mut problems = read_problems(&text, Format::guess(&text))?;
        problems.truncate(self.limit.unwrap_or(usize::MAX));
        let config = self.config();
        let budget = self.budget()?;
        let policy = policy::open(&self.policy, &text)?;
        let second = self.discriminator.as_deref().map(|spec| policy::open(spec, &text)).transpose()?;
        let reward = self.reward.as_deref().map(policy::open_reward).transpose()?;
        let store = self.record.as_deref().map(Store::open).transpose()?.map(Mutex::new);
        let mode = if self.strict { CacheMode::Strict } else { CacheMode::Replay };
        let cached = |inner: &'_ dyn Policy| inner.id().to_owned();
        let recorded =
            store.as_ref().map(|store| CachedPolicy::new(cached(policy.as_ref()), Some(policy.as_ref()), mode, store));
        let policy: &dyn Policy = recorded.as_ref().map_or(policy.as_ref(), |recorded| recorded);
        let recorded_second = second.as_deref().and_then(|second| {
            store.as_ref().map(|store| CachedPolicy::new(cached(second), Some(second), mode, store))
        });
        let second: Option<&dyn Policy> = match &recorded_second {
            Some(recorded) => Some(recorded),
            None => second.as_deref(),
        };
        let runner = self.runner()?;
        let manifest = serde_json::json!({
            "schema": 1,
            "config": config,
            "policy": self.policy,
            "discriminator": self.discriminator,
            "reward": self.reward,
            "problems_xxh": text_hash(&problems),
            "isolation": runner.as_ref().map(|runner| runner.report().clone()),
        });
        let run = RunFolder::open(&self.out, &manifest, self.resume)?;
        let searches = Searches {
            cx,
            problems: &problems,
            config: &config,
            budget,
            policy,
            second,
            value: reward.as_deref().map(|reward| reward as &dyn ValueModel),
            runner: runner.as_ref().map(|runner| runner as &dyn CodeRunner),
            state: Mutex::new((run, Vec::new())),
        };
        searches.run(usize::from(self.workers))?;
        let (run, failed) = searches.state.into_inner().expect("no holder panics");
        run.finish(problems.iter().map(|labeled| labeled.problem.id.as_str()))?;
        let solutions: Vec<&Solution> =
            problems.iter().filter_map(|labeled| run.finished(&labeled.problem.id)).collect();
        let report = self.summary(&problems, &run, &solutions, failed, config.evaluator);
        if self.report {
            html::write(&self.out, &solutions)?;
        }
        cx.report(&report, render)
    }

    fn config(&self) -> SolverConfig {
        let mut config = SolverConfig {
            method: match self.method {
                MethodName::Greedy => Method::Greedy,
                MethodName::Sc => Method::SelfConsistency,
                MethodName::Wvote => Method::WeightedVote,
                MethodName::Bon => Method::BestOfN,
                MethodName::Beam => Method::Beam,
                MethodName::Rstar => Method::Rstar,
                MethodName::RstarMath => Method::RstarMath,
            },
            evaluator: match self.answers {
                Answers::Number => Evaluator::Number,
                Answers::Math => Evaluator::Math,
                Answers::YesNo => Evaluator::YesNo,
                Answers::Choice => Evaluator::Choice,
            },
            n: self.n,
            seed: self.seed,
            ..SolverConfig::default()
        };
        if let Some(rollouts) = self.rollouts {
            config.rstar.rollouts = rollouts;
            config.math.search.rollouts = rollouts;
        }
        config
    }

    fn budget(&self) -> anyhow::Result<Budget> {
        let mut budget = Budget::default();
        for setting in &self.budget {
            let bad = || BadInput::new(format!("`{setting}` is no calls=N, tokens=N or seconds=N"));
            let (key, number) = setting.split_once('=').ok_or_else(bad)?;
            match key {
                "calls" => budget.calls = Some(number.parse().map_err(|_| bad())?),
                "tokens" => budget.tokens = Some(number.parse().map_err(|_| bad())?),
                "seconds" => budget.seconds = Some(number.parse().map_err(|_| bad())?),
                _ => return Err(bad().into()),
            }
        }
        Ok(budget)
    }

    /// The sandbox, for the methods that run code.
    fn runner(&self) -> anyhow::Result<Option<Sandbox>> {
        if !matches!(self.method, MethodName::RstarMath | MethodName::Beam) {
            return Ok(None);
        }
        let config = super::sandbox::config("python3".into(), Vec::new(), Limits::default(), Isolation::Required)?;
        Ok(Some(Sandbox::new(config)?))
    }

    fn summary(
        &self,
        problems: &[LabeledProblem],
        run: &RunFolder,
        solutions: &[&Solution],
        failed: Vec<(String, String)>,
        evaluator: Evaluator,
    ) -> Report {
        let mut ledger = Ledger::default();
        solutions.iter().for_each(|solution| ledger += solution.ledger);
        let (mut correct, mut ungradable) = (0, 0);
        if self.gold {
            for labeled in problems {
                let gold = labeled.gold.as_deref().and_then(|gold| evaluator.gold(gold));
                let answer = run.finished(&labeled.problem.id).and_then(|solution| solution.answer.as_deref());
                match (gold, answer) {
                    (None, _) => ungradable += 1,
                    (Some(gold), Some(answer)) => correct += usize::from(evaluator.equal(&gold, answer)),
                    (Some(_), None) => {}
                }
            }
        }
        Report {
            n: problems.len(),
            answered: solutions.iter().filter(|solution| solution.answer.is_some()).count(),
            correct: self.gold.then_some(correct),
            ungradable: self.gold.then_some(ungradable),
            accuracy95: self.gold.then(|| wilson95(correct as u64, problems.len() as u64)),
            budget_exhausted: solutions.iter().filter(|solution| solution.budget_exhausted.is_some()).count(),
            failed,
            ledger,
        }
    }
}

/// A hash of what is solved, so that a run is not resumed on other problems; gold answers are no part of it.
fn text_hash(problems: &[LabeledProblem]) -> String {
    let text: String =
        problems.iter().map(|labeled| format!("{}\0{}\0", labeled.problem.id, labeled.problem.text)).collect();
    format!("{:016x}", parsimon::tensor::fnv1a64(text.as_bytes()))
}

fn render(report: &Report) -> String {
    let graded = match (report.correct, report.accuracy95) {
        (Some(correct), Some((lo, hi))) => {
            format!(", {correct} right (95 %: {:.1} to {:.1} %)", 100.0 * lo, 100.0 * hi)
        }
        _ => String::new(),
    };
    let ledger = &report.ledger;
    format!(
        "{} problems, {} answered{graded}; {} prompts, {} completions, {} tokens, {} programs, {} from the record; {} stopped by the budget, {} failed",
        report.n,
        report.answered,
        ledger.policy_requests,
        ledger.sequences,
        ledger.usage.completion,
        ledger.runs,
        ledger.usage.cache_hits,
        report.budget_exhausted,
        report.failed.len()
    )
}
