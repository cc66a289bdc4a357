//! Rounds of self-evolution on Countdown: `countdown EVAL.jsonl TRAIN ROUNDS SEED [ABLATION]` prints the table of methods.

use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_reason::countdown::{Ablation, EvolveConfig, evolve, read_games};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, file, train, rounds, seed, rest @ ..] = args.as_slice() else {
        eprintln!("usage: countdown EVAL.jsonl TRAIN ROUNDS SEED [no-final|no-ppm|pqm|orm]");
        std::process::exit(2);
    };
    let text = std::fs::read_to_string(file).expect("the evaluation games");
    let eval: Vec<_> = read_games(&text).expect("games").into_iter().map(|record| record.game).collect();
    let ablation = match rest.first().map(String::as_str) {
        None => Ablation::None,
        Some(name) => serde_json::from_value(name.into()).unwrap_or(Ablation::None),
    };
    let config = EvolveConfig {
        train: train.parse().expect("a number"),
        rounds: rounds.parse().expect("a number"),
        seed: seed.parse().expect("a number"),
        ablation,
    };
    let cancel = CancelFlag::new();
    let start = std::time::Instant::now();
    evolve(&config, &eval, None, Control { progress: &NoProgress, cancel: &cancel }, |report, _| {
        println!("{:.1} s {}", start.elapsed().as_secs_f64(), serde_json::to_string(report).expect("a report"));
    })
    .expect("the run");
}
