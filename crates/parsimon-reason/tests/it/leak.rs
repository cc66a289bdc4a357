//! Gold answers cannot reach a search, runs can be broken, and replays ask nobody.

use std::collections::HashMap;
use std::sync::Mutex;

use parsimon_core::CancelFlag;
use parsimon_reason::answer::evaluators::Evaluator;
use parsimon_reason::cache::{CacheMode, CachedPolicy, Store};
use parsimon_reason::ledger::NoClock;
use parsimon_reason::policy::{Chain, Noise, NoisyChains};
use parsimon_reason::problem::{Format, read_problems};
use parsimon_reason::rstar::RstarConfig;
use parsimon_reason::rstar_math::Env;
use parsimon_reason::run::{RunError, RunFolder};
use parsimon_reason::solver::{Method, Solution, SolverConfig, solve_problem};
use parsimon_reason::{Budget, LabeledProblem, LoadError, Policy};

/// A few problems as a file with the given golds.
fn file(golds: &[&str]) -> String {
    let question =
        |i: usize| format!("Ann has {} boxes of 4 pens and gives 2 pens away. How many pens are left?", i + 2);
    golds
        .iter()
        .enumerate()
        .map(|(i, gold)| format!("{{\"question\": \"{}\", \"answer\": \"{gold}\"}}\n", question(i)))
        .collect()
}

fn chains(n: usize) -> HashMap<String, Chain> {
    let solution =
        |i: usize| format!("a <<{0}*4={1}>>{1}\nb <<{1}-2={2}>>{2}\n#### {2}", i + 2, (i + 2) * 4, (i + 2) * 4 - 2);
    (0..n).map(|i| (i.to_string(), Chain::read(&solution(i)).expect("it computes"))).collect()
}

fn config(method: Method) -> SolverConfig {
    SolverConfig {
        method,
        rstar: RstarConfig { rollouts: 6, ..RstarConfig::default() },
        seed: 4,
        ..SolverConfig::default()
    }
}

fn solve_all(
    problems: &[LabeledProblem],
    method: Method,
    policy: &dyn Policy,
    second: Option<&dyn Policy>,
) -> Vec<Solution> {
    let cancel = CancelFlag::new();
    let env = Env { policy, value: None, runner: None, clock: &NoClock, budget: Budget::default(), cancel: &cancel };
    problems
        .iter()
        .map(|labeled| solve_problem(&labeled.problem, &config(method), &env, second).expect("chains never fail").0)
        .collect()
}

#[test]
fn answers_do_not_depend_on_gold() {
    let policy = NoisyChains::new(chains(4), Noise::Systematic, 0.4);
    let second = NoisyChains::new(chains(4), Noise::Scatter, 0.1);
    let golds = ["#### 6", "#### 10", "#### 14", "#### 18"];
    for method in [Method::Greedy, Method::SelfConsistency, Method::Rstar] {
        for second in [None, Some(&second as &dyn Policy)] {
            let right = read_problems(&file(&golds), Format::Gsm8k).expect("problems");
            let permuted =
                read_problems(&file(&["#### 18", "#### 6", "#### 10", "none"]), Format::Gsm8k).expect("problems");
            let line = |solutions: Vec<Solution>| serde_json::to_string(&solutions).expect("plain data");
            assert_eq!(
                line(solve_all(&right, method, &policy, second)),
                line(solve_all(&permuted, method, &policy, second))
            );
        }
    }
}

#[test]
fn a_broken_run_ends_as_one_that_was_not() {
    let policy = NoisyChains::new(chains(4), Noise::Scatter, 0.3);
    let problems = read_problems(&file(&["#### 6", "#### 10", "#### 14", "#### 18"]), Format::Gsm8k).expect("problems");
    let whole = solve_all(&problems, Method::Rstar, &policy, None);
    let manifest = serde_json::json!({ "seed": 4, "rstar": { "rollouts": 6 } });
    let dir = tempfile::tempdir().expect("a folder");
    let ids = || problems.iter().map(|labeled| labeled.problem.id.as_str());
    {
        let mut run = RunFolder::open(dir.path(), &manifest, false).expect("a new run");
        run.push(whole[1].clone(), None).expect("written");
        run.push(whole[0].clone(), None).expect("written");
    }
    // A kill in the middle of a line.
    let part = dir.path().join("answers.part.jsonl");
    let mut bytes = std::fs::read(&part).expect("lines");
    bytes.extend(b"{\"problem\":\"2\",\"ans");
    std::fs::write(&part, bytes).expect("written");
    assert!(matches!(RunFolder::open(dir.path(), &manifest, false), Err(RunError::Exists { .. })));
    let other = serde_json::json!({ "seed": 4, "rstar": { "rollouts": 7 } });
    match RunFolder::open(dir.path(), &other, true) {
        Err(RunError::ConfigMismatch { keys, .. }) => assert_eq!(keys, ["rstar.rollouts"]),
        other => panic!("{other:?}"),
    }
    let mut run = RunFolder::open(dir.path(), &manifest, true).expect("the run goes on");
    for (labeled, solution) in problems.iter().zip(&whole) {
        match run.finished(&labeled.problem.id) {
            Some(done) => assert_eq!(done.answer, solution.answer),
            None => run.push(solution.clone(), None).expect("written"),
        }
    }
    run.finish(ids()).expect("written");
    let text = std::fs::read_to_string(dir.path().join("answers.jsonl")).expect("answers");
    let unbroken: String =
        whole.iter().map(|solution| serde_json::to_string(solution).expect("plain data") + "\n").collect();
    assert_eq!(text, unbroken, "byte for byte");
}

#[test]
fn a_strict_replay_gives_the_same_answers() {
    let policy = NoisyChains::new(chains(3), Noise::Scatter, 0.3);
    let problems = read_problems(&file(&["#### 6", "#### 10", "#### 14"]), Format::Gsm8k).expect("problems");
    let dir = tempfile::tempdir().expect("a folder");
    let first = {
        let store = Mutex::new(Store::open(dir.path()).expect("a store"));
        solve_all(&problems, Method::Rstar, &CachedPolicy::new("m", Some(&policy), CacheMode::Record, &store), None)
    };
    let store = Mutex::new(Store::open(dir.path()).expect("a store"));
    let again = solve_all(&problems, Method::Rstar, &CachedPolicy::new("m", None, CacheMode::Strict, &store), None);
    let answers = |solutions: &[Solution]| {
        solutions.iter().map(|one| (one.answer.clone(), one.value, one.n_solutions)).collect::<Vec<_>>()
    };
    assert_eq!(answers(&first), answers(&again));
}

#[test]
fn budgets_stop_with_the_best_answer_so_far() {
    let policy = NoisyChains::new(chains(1), Noise::Scatter, 0.1);
    let problems = read_problems(&file(&["#### 6"]), Format::Gsm8k).expect("problems");
    let cancel = CancelFlag::new();
    let budget = Budget { calls: Some(12), ..Budget::default() };
    let env = Env { policy: &policy, value: None, runner: None, clock: &NoClock, budget, cancel: &cancel };
    let (solution, _) = solve_problem(&problems[0].problem, &config(Method::Rstar), &env, None).expect("an answer");
    assert_eq!(solution.budget_exhausted.as_deref(), Some("calls"));
    assert!(solution.answer.is_some() && solution.ledger.rollouts < 6);
}

#[test]
fn bad_problem_files_name_the_line() {
    let check = |text: &str, format: Format| read_problems(text, format).expect_err("bad");
    assert!(matches!(check("{\"question\": 1}\n", Format::Gsm8k), LoadError::MissingField { line: 1, .. }));
    assert!(matches!(check("{\"question\": \"a\"}\n{bad\n", Format::Gsm8k), LoadError::Json { line: 2, .. }));
    assert!(matches!(
        check("{\"id\": 1, \"question\": \"a\"}\n{\"id\": 1, \"question\": \"b\"}", Format::Gsm8k),
        LoadError::DuplicateId { .. }
    ));
    assert!(matches!(check("\n\n", Format::Plain), LoadError::Empty));
    assert!(matches!(check(&"x".repeat(2 << 20), Format::Plain), LoadError::Text { line: 1, .. }));
    assert_eq!(Evaluator::Number.answer(&"no answer here ".repeat(70_000)), None);
}
