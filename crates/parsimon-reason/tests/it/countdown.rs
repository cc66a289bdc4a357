//! Countdown: the generator, exact counts, and a small run of self-evolution.

use parsimon_core::{CancelFlag, Control, NoProgress, SplitMix64};
use parsimon_reason::countdown::{
    Ablation, EvolveConfig, Game, Mlp, RoundReport, Selected, TinyPolicy, evolve, generate, preference_loss,
    preference_slope, read_games, solving_leaves, value_of,
};

use parsimon_reason::Policy;
use parsimon_reason::policy::{Request, Sampling};

use crate::{items, json, number, size, text};

fn eval_games(dir: &std::path::Path) -> Vec<Game> {
    let file =
        std::fs::read_to_string(dir.join("countdown/eval_500_seed20250101.jsonl")).expect("the evaluation games");
    read_games(&file).expect("sound games").into_iter().map(|record| record.game).collect()
}

#[test]
fn generator_and_exact_counts() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let mut rng = SplitMix64::new(0);
        for expected in items(&json(dir, "countdown/splitmix64.json")["first8"]) {
            assert_eq!(rng.next_u64().to_string(), text(expected));
        }
        let first = json(dir, "countdown/generator_seed7_first20.json");
        for (game, expected) in generate(7, 20).iter().zip(items(&first)) {
            let numbers: Vec<usize> = items(&expected[0]).iter().map(size).collect();
            assert_eq!(game.numbers.map(|number| number as usize).to_vec(), numbers);
            assert_eq!(game.target as usize, size(&expected[1]));
        }
        let file =
            std::fs::read_to_string(dir.join("countdown/eval_500_seed20250101.jsonl")).expect("the evaluation games");
        let games = read_games(&file).expect("sound games");
        for record in &games {
            assert_eq!(solving_leaves(&record.game.start()), (record.leaves, record.solving_leaves), "{record:?}");
        }
        games.len()
    });
}

#[test]
fn losses_and_values() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/closed_forms.json");
        for row in items(&golden["bt_loss"]) {
            let margin = number(&row["margin"]);
            assert!((preference_loss(margin) - number(&row["loss"])).abs() < 1e-14);
            assert!((preference_slope(margin) - number(&row["dloss_dmargin"])).abs() < 1e-14);
        }
        for row in items(&golden["ppm_value"]) {
            assert!((value_of(number(&row["raw"])) - number(&row["value"])).abs() < 1e-15);
        }
        items(&golden["bt_loss"]).len()
    });
}

fn run(config: &EvolveConfig, eval: &[Game], resume: Option<(usize, Selected)>) -> Vec<(RoundReport, Selected)> {
    let cancel = CancelFlag::new();
    let mut rounds = Vec::new();
    evolve(config, eval, resume, Control { progress: &NoProgress, cancel: &cancel }, |report, models| {
        rounds.push((*report, models.clone()))
    })
    .expect("a run");
    rounds
}

#[test]
fn rounds_lift_accuracy_and_go_on_after_a_break() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let eval = &eval_games(dir)[..200];
        let config = EvolveConfig { train: 800, rounds: 3, seed: 2, ablation: Ablation::None };
        let rounds = run(&config, eval, None);
        let (first, last) = (&rounds[0].0, &rounds[2].0);
        assert!(last.methods.sample1 >= 1.1 * first.methods.sample1, "{first:?}\n{last:?}");
        assert!(last.methods.mcts >= last.methods.greedy + 0.1, "{last:?}");
        let resumed = run(&config, eval, Some((1, rounds[0].1.clone())));
        assert_eq!(resumed.len(), 2);
        assert_eq!(resumed[1], rounds[2], "a run that goes on ends as one that was never broken");
        eval.len()
    });
}

#[test]
fn the_small_policy_speaks_text() {
    let policy = TinyPolicy::new(Mlp::random(1));
    let game = generate(7, 1)[0];
    let request = |prompt: String| Request {
        problem: "g",
        tag: "0",
        prompt,
        n: 6,
        stops: vec!["\n".into()],
        sampling: Sampling::default(),
        seed: 3,
    };
    let mut text = game.prompt();
    for left in [3, 2, 1] {
        let reply = policy.propose(&[request(text.clone())]).expect("a state");
        let step = &reply.samples[0][0].text;
        assert_eq!(reply.samples[0].len(), 6);
        assert_eq!(step.split('(').nth(1).expect("what is left").split_whitespace().count(), left + 1, "{step}");
        text += &format!("{step}\n");
    }
    assert_eq!(policy.propose(&[request(text)]).expect("an end").samples[0][0].text, "");
    for wrong in ["no state", "1 2 3 4 > 9\n1 + 1 = 2 ( 4 3 2 )\n", "1 2 3 4 > 9\n4 + 3 = 8 ( 8 2 1 )\n", "1 > x\n"] {
        assert!(policy.propose(&[request(wrong.into())]).is_err(), "{wrong}");
    }
}
