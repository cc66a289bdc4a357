//! rStar and rStar-Math: their published tables, and in shape what this machine reaches without their models: Countdown for self-evolution,
//! the noisy policy for mutual consistency. Ours are never comparable as numbers, because no model of theirs is here.

use std::collections::HashMap;

use anyhow::Context;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_reason::answer::evaluators::Evaluator;
use parsimon_reason::countdown::{Ablation, EvolveConfig, evolve, generate};
use parsimon_reason::ledger::NoClock;
use parsimon_reason::policy::{Chain, Noise, NoisyChains};
use parsimon_reason::rstar::{DiscriminateConfig, Prompts, RstarConfig, discriminate, generate as grow, merge_traces};
use parsimon_reason::rstar_math::Env;
use parsimon_reason::{Budget, Ledger, Problem};

use super::Row;

fn row(paper: &'static str, table: &'static str, row: String, published: Option<f64>, conditions: &str) -> Row {
    Row {
        paper,
        table,
        row,
        published,
        published_conditions: conditions.to_owned(),
        ours: None,
        unit: "% right",
        conditions: String::new(),
        deviation: None,
    }
}

const GSM8K: [(&str, [f64; 5]); 5] = [
    ("few-shot chain of thought", [12.51, 36.46, 47.23, 74.53, 83.45]),
    ("self-consistency, 128 samples", [23.05, 57.25, 67.55, 84.69, 88.68]),
    ("RAP", [24.34, 56.25, 57.99, 80.59, 81.88]),
    ("rStar's generator, majority", [27.22, 64.59, 74.38, 88.70, 90.44]),
    ("rStar", [63.91, 81.88, 85.52, 91.13, 90.67]),
];
const MODELS: [&str; 5] = ["LLaMA2-7B", "Mistral-7B", "LLaMA3-8B", "LLaMA3-8B-Instruct", "Phi3-mini"];

/// rStar's GSM8K table, and mutual consistency with a policy of known error rate.
pub(super) fn rstar() -> anyhow::Result<Vec<Row>> {
    let note = "GSM8K; the released discriminator sees the gold answer, so that an honest run may be lower";
    let mut rows: Vec<Row> = GSM8K
        .iter()
        .flat_map(|(name, values)| {
            MODELS
                .iter()
                .zip(values)
                .map(move |(model, value)| row("rstar", "GSM8K", format!("{name}, {model}"), Some(*value), note))
        })
        .collect();
    for (noise, p, second_p) in
        [(Noise::Systematic, 0.4, 0.05), (Noise::Systematic, 0.4, 0.2), (Noise::Scatter, 0.4, 0.2)]
    {
        let (majority, verdict, n) = mutual(noise, p, second_p)?;
        for (what, share) in [("vote of the generator", majority), ("with the second model", verdict)] {
            let name = format!("{noise:?} errors p={p}, second model p={second_p}: {what}").to_lowercase();
            let ours = Row {
                ours: Some(100.0 * share),
                conditions: format!("{n} synthetic chains of 2 to 4 steps, 16 rollouts, no gold anywhere"),
                ..row("rstar", "mutual consistency, noisy policy", name, None, "")
            };
            rows.push(ours);
        }
    }
    Ok(rows)
}

/// Shares of right answers of the vote and of the verdict on synthetic chains.
fn mutual(noise: Noise, p: f64, second_p: f64) -> anyhow::Result<(f64, f64, usize)> {
    const N: usize = 60;
    let mut chains = HashMap::new();
    let mut golds = Vec::new();
    for i in 0..N {
        let (a, b, c) = (i + 3, i % 7 + 2, i % 5 + 4);
        let (x, y, z) = (a * b, a * b + c, (a * b + c) * 2);
        let solution = format!("a <<{a}*{b}={x}>>{x}\nb <<{x}+{c}={y}>>{y}\nc <<{y}*2={z}>>{z}\n#### {z}");
        chains.insert(i.to_string(), Chain::read(&solution).context("a chain computes")?);
        golds.push(z.to_string());
    }
    let (first, second) =
        (NoisyChains::new(chains.clone(), noise, p), NoisyChains::new(chains, Noise::Scatter, second_p));
    let cancel = CancelFlag::new();
    let env =
        Env { policy: &first, value: None, runner: None, clock: &NoClock, budget: Budget::default(), cancel: &cancel };
    let (config, prompts, evaluator) =
        (RstarConfig { rollouts: 16, ..RstarConfig::default() }, Prompts::default(), Evaluator::Number);
    let (mut majority, mut verdicts) = (0, 0);
    for (i, gold) in golds.iter().enumerate() {
        let problem = Problem { id: i.to_string(), text: "A chain of three steps. What is the result?".into() };
        let found = grow(&problem, evaluator, &config, &prompts, &env, 7)?;
        let traces =
            merge_traces(evaluator, found.solutions.iter().map(|linear| (linear.text.clone(), linear.last.clone())));
        let settings = DiscriminateConfig::default();
        let verdict =
            discriminate(&problem, &traces, evaluator, &settings, &prompts, &second, 7, &mut Ledger::default())?;
        let right = |answer: &Option<String>| answer.as_deref().is_some_and(|answer| evaluator.equal(gold, answer));
        majority += usize::from(right(&verdict.majority));
        verdicts += usize::from(right(&verdict.winner));
    }
    Ok((majority as f64 / N as f64, verdicts as f64 / N as f64, N))
}

/// Round, coverage, the policy alone, and with search: the paper's table of self-evolution.
const ROUNDS: [(usize, f64, f64, f64); 4] =
    [(1, 60.17, 69.6, 75.2), (2, 66.60, 73.6, 86.6), (3, 77.86, 75.8, 87.0), (4, 90.25, 78.4, 89.4)];

/// rStar-Math's rounds, and rounds on Countdown with all methods at equal budgets.
pub(super) fn rstar_math(train: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (round, coverage, policy, search) in ROUNDS {
        let note = "7B model, MATH, 747 thousand training problems";
        rows.push(row(
            "rstar-math",
            "rounds",
            format!("round {round}: coverage of the training problems"),
            Some(coverage),
            note,
        ));
        rows.push(row("rstar-math", "rounds", format!("round {round}: the policy alone, MATH"), Some(policy), note));
        rows.push(row("rstar-math", "rounds", format!("round {round}: with search, MATH"), Some(search), note));
    }
    let config = EvolveConfig { train, rounds: 5, seed: 2, ablation: Ablation::None };
    let cancel = CancelFlag::new();
    let conditions = format!(
        "Countdown, {train} training and 500 evaluation games, seed 2, a policy of 26,881 weights that scores legal steps"
    );
    evolve(
        &config,
        &generate(20_250_101, 500),
        None,
        Control { progress: &NoProgress, cancel: &cancel },
        |report, _| {
            let m = &report.methods;
            let lines = [
                ("coverage of the training games".to_owned(), report.coverage),
                ("one sample".to_owned(), m.sample1),
                ("greedy".to_owned(), m.greedy),
                (
                    format!(
                        "search of 16 rollouts ({:.0} prefixes, {:.0} steps)",
                        m.prefix_evaluations, m.generated_steps
                    ),
                    m.mcts,
                ),
                (format!("best of {:.0}, as many prefixes as the search", m.k_prefix), m.best_of_prefix),
                (format!("best of {:.0}, as many steps as the search", m.k), m.best_of),
                (format!("weighted vote of {:.0}, as many steps", m.k), m.weighted),
                (format!("majority of {:.0}, as many steps", m.k), m.majority),
                (
                    format!(
                        "forest of 5 trees ({:.0} prefixes, {:.0} steps)",
                        m.forest_prefix_evaluations, m.forest_generated_steps
                    ),
                    m.forest,
                ),
                ("best of as many steps as the forest".to_owned(), m.best_of_forest_steps),
            ];
            for (name, share) in lines {
                rows.push(Row {
                    ours: Some(100.0 * share),
                    conditions: conditions.clone(),
                    ..row(
                        "rstar-math",
                        "self-evolution on Countdown",
                        format!("round {}: {name}", report.round),
                        None,
                        "",
                    )
                });
            }
        },
    )?;
    Ok(rows)
}
