//! rStar-Math: the 15 traces of the released tree search, in its three modes.

use std::collections::HashMap;

use parsimon_core::CancelFlag;
use parsimon_reason::ledger::NoClock;
use parsimon_reason::policy::{CodeRunner, Job, Prefix, RunOutcome, Sample, ScriptedPolicy};
use parsimon_reason::rstar_math::{Env, MathConfig, MathSearch, Mode, TerminalReward, annotate, solve};
use parsimon_reason::search::GuidedConfig;
use parsimon_reason::{Budget, PolicyError, Problem, RunnerError, ValueModel};
use serde_json::Value;

use crate::{items, json, number, size, text};

struct Table(HashMap<String, f64>);

impl ValueModel for Table {
    fn id(&self) -> &str {
        "table"
    }
    fn score(&self, batch: &[Prefix<'_>]) -> Result<Vec<f32>, PolicyError> {
        Ok(batch
            .iter()
            .map(|prefix| *self.0.get(&prefix.tag).unwrap_or_else(|| panic!("a value of {}", prefix.tag)) as f32)
            .collect())
    }
}

struct Observations(HashMap<String, String>);

impl CodeRunner for Observations {
    fn run(&self, job: &Job<'_>) -> Result<RunOutcome, RunnerError> {
        Ok(RunOutcome::ok(self.0.get(job.tag).cloned().unwrap_or_default()))
    }
}

struct Gold(String);

impl TerminalReward for Gold {
    fn reward(&self, answer: &str) -> f64 {
        if answer == self.0 { 1.0 } else { -1.0 }
    }
}

fn map<T>(value: &Value, read: impl Fn(&Value) -> T) -> HashMap<String, T> {
    value.as_object().map(|map| map.iter().map(|(tag, value)| (tag.clone(), read(value))).collect()).unwrap_or_default()
}

fn run(case: &Value, rollouts: usize, printed: &HashMap<String, String>) -> MathSearch {
    let mut policy = ScriptedPolicy::new();
    for (tag, samples) in case["candidates"].as_object().expect("candidates") {
        policy.insert(
            "toy",
            tag,
            items(samples).iter().map(|pair| Sample::stopped(text(&pair[0]), text(&pair[1]))).collect(),
        );
    }
    let value = Table(map(&case["ppm"], number));
    let mut observations = map(&case["observations"], |value| text(value).to_owned());
    for (tag, output) in printed {
        observations.entry(tag.clone()).or_insert_with(|| output.clone());
    }
    let runner = Observations(observations);
    let cancel = CancelFlag::new();
    let env = Env {
        policy: &policy,
        value: case["ppm"].is_object().then_some(&value as &dyn ValueModel),
        runner: Some(&runner),
        clock: &NoClock,
        budget: Budget::default(),
        cancel: &cancel,
    };
    let sampling = case["is_sampling"].as_bool().expect("a flag");
    let config = MathConfig {
        mode: match (sampling, case["ppm"].is_object()) {
            (true, false) => Mode::TerminalGuided,
            (true, true) => Mode::PpmAugmented,
            (false, _) => Mode::TestTime,
        },
        search: GuidedConfig {
            rollouts,
            max_depth: size(&case["max_depth"]),
            c: number(&case["c"]),
            ..Default::default()
        },
        errors_max: size(&case["errors_threshold"]) as u8,
        compat: true,
        ..MathConfig::default()
    };
    let problem = Problem { id: "toy".into(), text: "toy".into() };
    let result = if sampling {
        annotate(&problem, &config, &env, &Gold(text(&case["ground_truth"]).into()), 0)
    } else {
        solve(&problem, &config, &env, 0)
    };
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// What the code printed, from the texts of closed steps: the table of observations has failures alone.
fn printed(case: &Value) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for (tag, node) in case["texts"].as_object().expect("texts") {
        if let Some((_, rest)) = text(node).split_once("<output>")
            && let Some((output, _)) = rest.split_once("<end_of_output>")
        {
            found.insert(tag.clone(), output.trim_start_matches("<output>").to_owned());
        }
    }
    found
}

#[test]
fn traces_are_equal() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/math_tree.json");
        for (index, case) in items(&golden).iter().enumerate() {
            let history = items(&case["history"]);
            let printed = printed(case);
            for (k, state) in history.iter().enumerate().filter(|(_, state)| state["nodes"].is_object()) {
                let found = run(case, k + 1, &printed);
                let tree = &found.tree;
                let expected = state["nodes"].as_object().expect("nodes");
                assert_eq!(tree.len(), expected.len(), "nodes of case {index} after rollout {k}");
                for id in tree.ids() {
                    let (tag, node) = (tree.tag(id), tree.node(id));
                    let other = &expected[&tag];
                    let first = if node.first_value.is_nan() { 0.0 } else { f64::from(node.first_value) };
                    // The table is rounded to nine decimals and its values to three; ours keep f32 scores.
                    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
                    assert!(
                        near(node.q(), number(&other["q"])),
                        "q of {tag} in case {index} after {k}: {} for {other}",
                        node.q()
                    );
                    assert_eq!(node.visits as usize, size(&other["n"]), "visits of {tag} in case {index} after {k}");
                    assert!(
                        near(first, number(&other["v"])),
                        "value of {tag} in case {index} after {k}: {first} for {other}"
                    );
                    assert_eq!(tree.data(id).final_answer, text(&other["final"]), "{tag} in case {index}");
                    if k + 1 == history.len() && tag != "0" {
                        assert_eq!(tree.data(id).text, text(&case["texts"][&tag]), "{tag} in case {index}");
                    }
                }
            }
            let metric = &case["metric"];
            if !items(&metric["answers"]).is_empty() {
                let found = run(case, history.len(), &printed);
                let best: Vec<(usize, &str, f64)> = found
                    .per_rollout
                    .iter()
                    .enumerate()
                    .filter_map(|(rollout, best)| best.map(|best| (rollout, &found.answered.candidates[best])))
                    .map(|(rollout, candidate)| (rollout, candidate.answer.as_str(), candidate.value))
                    .collect();
                let answers: Vec<&str> = best.iter().map(|(_, answer, _)| *answer).collect();
                assert_eq!(answers, items(&metric["answers"]).iter().map(text).collect::<Vec<_>>());
                assert_eq!(
                    best.iter().map(|(rollout, ..)| *rollout).collect::<Vec<_>>(),
                    items(&metric["rollout_indexs"]).iter().map(size).collect::<Vec<_>>()
                );
                for ((.., value), expected) in best.iter().zip(items(&metric["value_estimate"])) {
                    assert!((value - number(expected)).abs() < 1e-6);
                }
            }
        }
        items(&golden).len()
    });
}
