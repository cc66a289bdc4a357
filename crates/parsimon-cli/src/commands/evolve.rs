//! `parsimon evolve countdown`: rounds of self-evolution, resumable after every round.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use parsimon::reason::countdown::{
    Ablation, EvolveConfig, Game, Mlp, RoundReport, Selected, evolve, generate, read_games,
};
use parsimon::tensor::io::{AtomicFile, read_json, write_json};
use serde::Serialize;

use crate::context::Context;
use crate::failure::BadInput;

/// Let a policy and a preference model teach each other.
#[derive(Args)]
pub(crate) struct Evolve {
    #[command(subcommand)]
    domain: Domain,
}

#[derive(Subcommand)]
enum Domain {
    /// Four numbers and a target: everything is trained on this machine, nothing is downloaded.
    Countdown(Countdown),
}

#[derive(Args)]
#[command(after_help = "Example: parsimon evolve countdown --train 1500 --eval 500 --rounds 5 --seed 2 --out evolved")]
struct Countdown {
    /// Training games.
    #[arg(long, default_value_t = 1500)]
    train: usize,
    /// Evaluation games: a file of them, or how many to make.
    #[arg(long, default_value = "500", value_name = "FILE|N")]
    eval: String,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seed of games, searches and models.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder of the run; the same command goes on with it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What is left out.
    #[arg(long, value_enum)]
    ablation: Option<Without>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Without {
    /// Pairs of whole trajectories.
    NoFinal,
    /// The preference model inside the training search.
    NoPpm,
    /// Preferences: the values of all steps are learned instead.
    Pqm,
    /// Steps: only the values of ends are learned.
    Orm,
}

#[derive(Serialize)]
struct Report {
    rounds: Vec<RoundReport>,
}

/// The seed of evaluation games that are made here: far from any training seed.
const EVAL_SEED: u64 = 20_250_101;

impl Evolve {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let Domain::Countdown(args) = self.domain;
        args.run(cx)
    }
}

impl Countdown {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let eval = self.games()?;
        let ablation = match self.ablation {
            None => Ablation::None,
            Some(Without::NoFinal) => Ablation::NoFinal,
            Some(Without::NoPpm) => Ablation::NoPpm,
            Some(Without::Pqm) => Ablation::Pqm,
            Some(Without::Orm) => Ablation::Orm,
        };
        let config = EvolveConfig { train: self.train, rounds: self.rounds, seed: self.seed, ablation };
        std::fs::create_dir_all(&self.out)?;
        let manifest = self.out.join("manifest.json");
        let settings = serde_json::json!({ "config": EvolveConfig { rounds: 0, ..config }, "eval": eval });
        if manifest.exists() {
            let known: serde_json::Value = read_json(&manifest)?;
            if known != settings {
                return Err(BadInput {
                    file: Some(manifest),
                    message: "the run in this folder has other settings".into(),
                }
                .into());
            }
        } else {
            write_json(&manifest, &settings)?;
        }
        let mut reports: Vec<RoundReport> = Vec::new();
        let mut last = None;
        for round in 1..=self.rounds {
            let Some((report, models)) = read_round(&self.out, round)? else { break };
            reports.push(report);
            last = Some((round, models));
        }
        let mut failed = None;
        let result = evolve(&config, &eval, last, cx.control(), |report, models| {
            reports.push(*report);
            if let Err(error) = write_round(&self.out, report, models) {
                failed.get_or_insert(error);
                cx.cancel().cancel();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        result?;
        cx.report(&Report { rounds: reports }, render)
    }

    fn games(&self) -> anyhow::Result<Vec<Game>> {
        if let Ok(n) = self.eval.parse::<usize>() {
            return Ok(generate(EVAL_SEED, n));
        }
        let file = PathBuf::from(&self.eval);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| BadInput { file: Some(file), message: error.to_string() })?;
        Ok(read_games(&text)?.into_iter().map(|record| record.game).collect())
    }
}

fn folder(out: &Path, round: usize) -> PathBuf {
    out.join(format!("round_{round}"))
}

/// A finished round: its metrics are written last.
fn read_round(out: &Path, round: usize) -> anyhow::Result<Option<(RoundReport, Selected)>> {
    let dir = folder(out, round);
    if !dir.join("metrics.json").exists() {
        return Ok(None);
    }
    let model = |name: &str| -> anyhow::Result<Mlp> { Ok(Mlp::from_bytes(&std::fs::read(dir.join(name))?)?) };
    let solved: Vec<bool> = read_json(&dir.join("solved.json"))?;
    Ok(Some((
        read_json(&dir.join("metrics.json"))?,
        Selected { policy: model("policy.bin")?, value: model("ppm.bin")?, solved },
    )))
}

fn write_round(out: &Path, report: &RoundReport, models: &Selected) -> anyhow::Result<()> {
    use std::io::Write;
    let dir = folder(out, report.round);
    std::fs::create_dir_all(&dir)?;
    for (name, model) in [("policy.bin", &models.policy), ("ppm.bin", &models.value)] {
        let mut file = AtomicFile::create(&dir.join(name))?;
        file.write_all(&model.to_bytes())?;
        file.commit()?;
    }
    write_json(&dir.join("solved.json"), &models.solved)?;
    Ok(write_json(&dir.join("metrics.json"), report)?)
}

fn render(report: &Report) -> String {
    let mut text = String::from(
        "round  coverage  sample@1  greedy  search  | at its steps: best-of-k  weighted  majority (k)  | at its prefixes: best-of-k (k)  | forest  best-of-k\n",
    );
    for round in &report.rounds {
        let m = &round.methods;
        text += &format!(
            "{:>5}  {:>8.3}  {:>8.3}  {:>6.3}  {:>6.3}  | {:>23.3}  {:>8.3}  {:>8.3} ({:>2.0})  | {:>25.3} ({:>2.0})  | {:>6.3}  {:>9.3}\n",
            round.round,
            round.coverage,
            m.sample1,
            m.greedy,
            m.mcts,
            m.best_of,
            m.weighted,
            m.majority,
            m.k,
            m.best_of_prefix,
            m.k_prefix,
            m.forest,
            m.best_of_forest_steps
        );
    }
    text + "search: 16 rollouts guided by the preference model; no answer is compared with its target before it is chosen"
}
