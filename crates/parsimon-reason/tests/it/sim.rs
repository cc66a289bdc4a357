//! The noisy policy: its usable chains, its curves of votes, and the searches over it.

use std::collections::HashMap;

use parsimon_core::CancelFlag;
use parsimon_reason::answer::evaluators::Evaluator;
use parsimon_reason::ledger::NoClock;
use parsimon_reason::policy::{Chain, Noise, NoisyChains, Request, Sampling, request_seed};
use parsimon_reason::rstar::{DiscriminateConfig, Prompts, RstarConfig, discriminate, generate, merge_traces};
use parsimon_reason::rstar_math::Env;
use parsimon_reason::solution::{Answered, Candidate};
use parsimon_reason::{Budget, Ledger, Policy, Problem};

use crate::{items, json, json_lines, number, size, text};

fn chains(dir: &std::path::Path) -> (HashMap<String, Chain>, Vec<(Problem, String)>) {
    let mut chains = HashMap::new();
    let mut problems = Vec::new();
    for (index, row) in json_lines(dir, "gsm8k/test_socratic_even.jsonl").iter().enumerate() {
        let (question, answer) = (text(&row["question"]), text(&row["answer"]));
        if let Some(chain) = Chain::read(answer) {
            chains.insert(index.to_string(), chain);
            let gold = answer.rsplit_once("####").expect("a gold answer").1.trim().to_owned();
            problems.push((Problem { id: index.to_string(), text: question.to_owned() }, gold));
        }
    }
    (chains, problems)
}

#[test]
fn usable_chains_and_votes() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/noisy_socratic.json");
        let (chains, problems) = chains(dir);
        let usable = items(&golden["usable_rows"]);
        for row in usable {
            let chain =
                chains.get(&size(&row["row"]).to_string()).unwrap_or_else(|| panic!("row {} is usable", row["row"]));
            assert_eq!(chain.len(), size(&row["steps"]));
        }
        assert_eq!(chains.len(), usable.len());
        for curve in items(&golden["curves"]) {
            let noise = if text(&curve["mode"]) == "scatter" { Noise::Scatter } else { Noise::Systematic };
            let policy = NoisyChains::new(chains.clone(), noise, number(&curve["p"]));
            let mut right = [0.0f64; 3];
            let mut first = 0usize;
            for (problem, gold) in &problems {
                let request = Request {
                    problem: &problem.id,
                    tag: "0",
                    prompt: problem.text.clone(),
                    n: 128,
                    stops: Vec::new(),
                    sampling: Sampling::default(),
                    seed: request_seed(1, &problem.id, "sample", 0, "0", 0),
                };
                let reply = policy.propose(&[request]).expect("chains never fail");
                let answers: Vec<String> = reply.samples[0]
                    .iter()
                    .map(|sample| Evaluator::Number.answer(&sample.text).expect("an answer"))
                    .collect();
                let is_right = |answer: &str| Evaluator::Number.equal(&gold.replace(',', ""), answer);
                first += answers.iter().filter(|answer| is_right(answer)).count();
                // All disjoint groups of k, so that the mean is steadier than one vote a problem.
                for (share, k) in right.iter_mut().zip([4, 8, 32]) {
                    for group in answers.chunks(k) {
                        let candidates = group
                            .iter()
                            .map(|answer| Candidate { answer: answer.clone(), value: 0.0, text: String::new() })
                            .collect();
                        let vote = Answered { candidates }.majority().expect("answers");
                        *share += f64::from(u8::from(is_right(&group[vote]))) * k as f64 / answers.len() as f64;
                    }
                }
            }
            let n = problems.len() as f64;
            let tolerance = number(&golden["tolerance"]);
            let close = |actual: f64, key: &str| {
                // The curve is one draw of n votes: three standard errors of it, where that is more than its tolerance.
                let expected = number(&curve[key]);
                let allowed = tolerance.max(3.0 * (expected * (1.0 - expected) / n).sqrt());
                assert!((actual - expected).abs() <= allowed, "{key} of {curve}: {actual:.3}");
            };
            close(first as f64 / (128.0 * n), "pass1");
            for (share, key) in right.into_iter().zip(["maj4", "maj8", "maj32"]) {
                close(share / n, key);
            }
        }
        usable.len()
    });
}

#[test]
fn a_second_model_helps_against_systematic_errors() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let (chains, problems) = chains(dir);
        let first = NoisyChains::new(chains.clone(), Noise::Systematic, 0.4);
        let second = NoisyChains::new(chains, Noise::Scatter, 0.05);
        let cancel = CancelFlag::new();
        let env = Env {
            policy: &first,
            value: None,
            runner: None,
            clock: &NoClock,
            budget: Budget::default(),
            cancel: &cancel,
        };
        let config = RstarConfig { rollouts: 16, ..RstarConfig::default() };
        let (prompts, evaluator) = (Prompts::default(), Evaluator::Number);
        let (mut majority, mut verdicts, mut n) = (0usize, 0usize, 0usize);
        for (problem, gold) in problems.iter().take(80) {
            let found = generate(problem, evaluator, &config, &prompts, &env, 3).expect("chains never fail");
            assert_eq!(found.tree.node(parsimon_reason::tree::NodeId::ROOT).visits, found.ledger.rollouts as u32);
            let traces = merge_traces(
                evaluator,
                found.solutions.iter().map(|linear| (linear.text.clone(), linear.last.clone())),
            );
            let mut ledger = Ledger::default();
            let verdict = discriminate(
                problem,
                &traces,
                evaluator,
                &DiscriminateConfig::default(),
                &prompts,
                &second,
                3,
                &mut ledger,
            )
            .expect("chains never fail");
            let right = |answer: &Option<String>| {
                answer.as_deref().is_some_and(|answer| evaluator.equal(&gold.replace(',', ""), answer))
            };
            majority += usize::from(right(&verdict.majority));
            verdicts += usize::from(right(&verdict.winner));
            n += 1;
        }
        eprintln!("of {n}: majority {majority}, with the second model {verdicts}");
        assert!(verdicts > majority, "the second model is better, and its errors differ");
        n
    });
}
