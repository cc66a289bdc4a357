//! Self-evolution: each round's policy and preference model search the training games, and the next ones are trained on what was found.
//!
//! PAPER(rstar-math §3.4). Round 1 plays uniformly at random with many rollouts; from round 2 on the policy of the round before plays, from
//! round 3 on its preference model gives steps their first values, and in rounds 4 and 5 games that stayed unsolved are searched twice
//! more with more rollouts and candidates. Models are always trained from scratch.

use parsimon_core::{Cancelled, Control, SplitMix64, Unit};
use serde::{Deserialize, Serialize};

use super::domain::{Game, Step};
use super::features::{FEATURES, features};
use super::mlp::Mlp;
use super::play::{Player, SearchSettings};
use super::train::{CountdownTrainer, Pair, PolicyRow, Trainer};
use crate::error::SolveError;
use crate::policy::request_seed;
use crate::rstar_math::extract::{Ends, Follow, Leaf};
use crate::search::GuidedConfig;
use crate::solution::{first_max, pass_at_k};
use crate::tree::{NodeId, Tree};

/// What is left out, to see what it is worth.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ablation {
    /// Nothing.
    #[default]
    None,
    /// Pairs of whole trajectories.
    NoFinal,
    /// The preference model inside the training search.
    NoPpm,
    /// Preferences: the values of all visited steps are learned instead.
    Pqm,
    /// Steps: only the values of ends are learned.
    Orm,
}

/// The settings of a run.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct EvolveConfig {
    /// Training games.
    pub train: usize,
    /// Rounds, 1 or more.
    pub rounds: usize,
    /// Seed of games, searches and models.
    pub seed: u64,
    /// What is left out.
    pub ablation: Ablation,
}

/// A run stopped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EvolveError {
    #[error("{0}")]
    Search(#[from] SolveError),
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
    #[error("round {round} found no solution to train on: use more games")]
    NoRows { round: usize },
}

impl parsimon_core::Diagnose for EvolveError {}

/// The models after a round.
#[derive(Clone, PartialEq, Debug)]
pub struct Selected {
    /// The policy.
    pub policy: Mlp,
    /// The preference model.
    pub value: Mlp,
    /// Which training games were ever solved.
    pub solved: Vec<bool>,
}

/// Shares of the evaluation games that each method answers right, and what it costs a game.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct MethodTable {
    /// One sample, in the mean.
    pub sample1: f64,
    /// The most probable steps.
    pub greedy: f64,
    /// Tree search, the answer of the best value.
    pub mcts: f64,
    /// Tree search where the verifier picks the answer: an oracle.
    pub mcts_verifier: f64,
    /// A forest of smaller trees, the answer of the best value.
    pub forest: f64,
    /// Prefixes that the policy was asked about, for the search.
    pub prefix_evaluations: f64,
    /// Steps that were sampled, for the search.
    pub generated_steps: f64,
    /// The same for the forest.
    pub forest_prefix_evaluations: f64,
    /// The same for the forest.
    pub forest_generated_steps: f64,
    /// Samples a game at as many generated steps as the search.
    pub k: f64,
    /// Best value of those samples.
    pub best_of: f64,
    /// Sum of values by answer.
    pub weighted: f64,
    /// Vote.
    pub majority: f64,
    /// An oracle's pick.
    pub pass_k: f64,
    /// Best value of as many samples as the forest's generated steps allow.
    pub best_of_forest_steps: f64,
    /// Samples a game at as many prefix evaluations as the search.
    pub k_prefix: f64,
    /// Best value of those.
    pub best_of_prefix: f64,
}

/// What a round did.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RoundReport {
    /// From 1.
    pub round: usize,
    /// Share of the training games that this round solved.
    pub coverage: f64,
    /// Share that some round solved.
    pub coverage_cumulative: f64,
    /// Steps that trained the policy.
    pub policy_rows: usize,
    /// Pairs that trained the preference model.
    pub pairs: usize,
    /// Accuracy on the evaluation games.
    #[serde(flatten)]
    pub methods: MethodTable,
}

struct Plan {
    rollouts: usize,
    candidates: usize,
    temperature: f32,
    retries: usize,
    use_value: bool,
}

fn plan(round: usize, ablation: Ablation) -> Plan {
    Plan {
        rollouts: if round == 1 { 64 } else { 16 },
        candidates: 8,
        temperature: 1.0,
        retries: if round >= 4 { 2 } else { 0 },
        use_value: round >= 3 && ablation != Ablation::NoPpm,
    }
}

fn settings(rollouts: usize, candidates: usize, temperature: f32, verifier: bool) -> SearchSettings {
    let guided = GuidedConfig { rollouts, max_depth: 3, c: 2.0, ..GuidedConfig::default() };
    SearchSettings { guided, candidates, temperature, restarts: 1, verifier }
}

#[derive(Default)]
struct Rows {
    policy: Vec<PolicyRow>,
    pairs: Vec<Pair>,
    values: Vec<([f32; FEATURES], f32)>,
}

/// Runs the rounds; `observe` gets each report with its models. `resume` are the models of a finished round and its number: the run goes
/// on after it, and ends as it would have without the break.
///
/// # Errors
///
/// [`EvolveError`].
pub fn evolve(
    config: &EvolveConfig,
    eval: &[Game],
    resume: Option<(usize, Selected)>,
    control: Control<'_>,
    mut observe: impl FnMut(&RoundReport, &Selected),
) -> Result<(), EvolveError> {
    if config.rounds == 0 || config.train == 0 {
        return Err(SolveError::Config {
            field: "rounds",
            value: config.rounds.to_string(),
            allowed: "1 or more, and 1 or more games",
        }
        .into());
    }
    let games = super::domain::generate(config.seed, config.train);
    let (first, mut models) = match resume {
        Some((round, models)) => (round + 1, Some(models)),
        None => (1, None),
    };
    let mut ever = models.as_ref().map_or_else(|| vec![false; games.len()], |models| models.solved.clone());
    for round in first..=config.rounds {
        let (rows, solved) = play_round(config, round, &games, models.as_ref(), control)?;
        for (ever, now) in ever.iter_mut().zip(&solved) {
            *ever |= now;
        }
        if rows.policy.is_empty() {
            return Err(EvolveError::NoRows { round });
        }
        let trainer = CountdownTrainer::default();
        let seed = |stage: &str| request_seed(config.seed, "models", stage, round, "", 0);
        let policy = trainer.fit_policy(&rows.policy, seed("policy"));
        let value = match config.ablation {
            Ablation::Pqm | Ablation::Orm => trainer.fit_values(&rows.values, seed("value")),
            _ => trainer.fit_value(&rows.pairs, seed("value")),
        };
        let now = Selected { policy, value, solved: ever.clone() };
        let share = |flags: &[bool]| flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64;
        let report = RoundReport {
            round,
            coverage: share(&solved),
            coverage_cumulative: share(&ever),
            policy_rows: rows.policy.len(),
            pairs: rows.pairs.len(),
            methods: evaluate(&now, eval, config.seed, round)?,
        };
        observe(&report, &now);
        models = Some(now);
    }
    Ok(())
}

fn play_round(
    config: &EvolveConfig,
    round: usize,
    games: &[Game],
    models: Option<&Selected>,
    control: Control<'_>,
) -> Result<(Rows, Vec<bool>), EvolveError> {
    let plan = plan(round, config.ablation);
    let player = Player {
        policy: models.map(|models| &models.policy),
        value: models.filter(|_| plan.use_value).map(|models| &models.value),
    };
    let mut rows = Rows::default();
    let mut solved = vec![false; games.len()];
    control.progress.start(&format!("round {round}"), Some(games.len() as u64), Unit::Items("games"));
    for (index, game) in games.iter().enumerate() {
        control.cancel.check()?;
        for attempt in 0..=plan.retries {
            let settings = match attempt {
                0 => settings(plan.rollouts, plan.candidates, plan.temperature, true),
                _ => settings(64, 16, 1.2, true),
            };
            let seed = request_seed(config.seed, &index.to_string(), "search", round, "", attempt);
            let found = player.search(game.start(), &settings, seed, |tree| {
                collect(tree, game, seed, config.ablation, &mut rows);
            })?;
            let target = game.target.to_string();
            solved[index] |= found.answered.candidates.iter().any(|candidate| candidate.answer == target);
            if solved[index] {
                break;
            }
        }
        control.progress.advance(1);
    }
    control.progress.finish();
    Ok((rows, solved))
}

/// The training rows of one finished tree.
fn collect(tree: &Tree<Option<Step>>, game: &Game, seed: u64, ablation: Ablation, rows: &mut Rows) {
    let describe = |step: &Option<Step>| Leaf {
        text: String::new(),
        final_answer: if step.as_ref().is_some_and(|step| step.next.is_end()) { "end".into() } else { String::new() },
    };
    if matches!(ablation, Ablation::Pqm | Ablation::Orm) {
        for id in tree.ids().filter(|id| tree.node(*id).visits > 0) {
            if let Some(step) = tree.data(id)
                && (ablation == Ablation::Pqm || step.next.is_end())
            {
                rows.values.push((features(step), tree.node(id).q() as f32));
            }
        }
    }
    let ends = Ends::new(tree, &describe);
    let (mut right, mut wrong): (Vec<_>, Vec<_>) = ends.trajectories().into_iter().partition(|(_, right)| *right);
    if right.is_empty() {
        return;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    right.sort_by(|a, b| mean(&b.0.q_values).total_cmp(&mean(&a.0.q_values)));
    wrong.sort_by(|a, b| mean(&a.0.q_values).total_cmp(&mean(&b.0.q_values)));
    for (trajectory, _) in right.iter().take(2) {
        let mut state = game.start();
        for id in &tree.path(trajectory.leaf)[1..] {
            let step = tree.data(*id).expect("below the root are steps");
            let index = state.steps().iter().position(|legal| *legal == step).expect("the tree has legal steps");
            rows.policy.push(PolicyRow { state, step: index });
            state = step.next;
        }
    }
    let row = |id: NodeId| features(tree.data(id).as_ref().expect("below the root are steps"));
    for pair in ends.preferences(Follow::All) {
        let margin = tree.node(pair.better).q() - tree.node(pair.worse).q();
        if margin >= 0.5 && !pair.mixed {
            let weight = 1.0 / (pair.pos_count * pair.neg_count) as f32;
            rows.pairs.push(Pair { better: row(pair.better), worse: row(pair.worse), weight });
        }
    }
    if ablation != Ablation::NoFinal {
        let mut worse: Vec<NodeId> = wrong.iter().take(2).map(|(trajectory, _)| trajectory.leaf).collect();
        if wrong.len() > 4 {
            // Two more at random: the two lowest alone are often alike.
            let mut rng = SplitMix64::new(seed);
            worse.extend((0..2).map(|_| wrong[2 + rng.below(wrong.len() as u64 - 2) as usize].0.leaf));
        }
        let better: Vec<NodeId> = right.iter().take(2).map(|(trajectory, _)| trajectory.leaf).collect();
        let weight = 1.0 / (better.len() * worse.len()).max(1) as f32;
        for better in &better {
            rows.pairs.extend(worse.iter().map(|worse| Pair { better: row(*better), worse: row(*worse), weight }));
        }
    }
}

/// All methods on the evaluation games at equal budgets.
pub(super) fn evaluate(models: &Selected, eval: &[Game], seed: u64, round: usize) -> Result<MethodTable, SolveError> {
    let player = Player { policy: Some(&models.policy), value: Some(&models.value) };
    let mut table = MethodTable::default();
    let search = settings(16, 8, 1.0, false);
    let forest =
        SearchSettings { guided: GuidedConfig { rollouts: 5, ..search.guided }, candidates: 3, restarts: 5, ..search };
    let right = |flag: bool| f64::from(u8::from(flag));
    for (index, game) in eval.iter().enumerate() {
        let seed = |stage: &str| request_seed(seed, &index.to_string(), stage, round, "", 0);
        let start = game.start();
        let found = player.search(start, &search, seed("mcts"), |_| {})?;
        table.mcts += right(found.is_right(found.answered.best(), game.target));
        table.mcts_verifier +=
            right((0..found.answered.candidates.len()).any(|at| found.is_right(Some(at), game.target)));
        table.prefix_evaluations += found.prefix_evaluations as f64;
        table.generated_steps += found.generated_steps as f64;
        let trees = player.search(start, &forest, seed("forest"), |_| {})?;
        table.forest += right(trees.is_right(trees.answered.best(), game.target));
        table.forest_prefix_evaluations += trees.prefix_evaluations as f64;
        table.forest_generated_steps += trees.generated_steps as f64;

        let k = (found.generated_steps / 3).max(1) as usize;
        let samples = player.sample(start, k, 1.0, &mut SplitMix64::new(seed("samples")));
        let hits = (0..k).filter(|at| samples.is_right(Some(*at), game.target)).count();
        let best_of = |n: usize| {
            first_max(samples.answered.candidates.iter().take(n).enumerate().map(|(at, one)| (at, one.value)))
        };
        table.k += k as f64;
        table.sample1 += hits as f64 / k as f64;
        table.pass_k += pass_at_k(k as u64, hits as u64, k as u64);
        table.best_of += right(samples.is_right(best_of(k), game.target));
        table.weighted += right(samples.is_right(vote(&samples.answered, true), game.target));
        table.majority += right(samples.is_right(vote(&samples.answered, false), game.target));
        let forest_k = (trees.generated_steps / 3).max(1) as usize;
        table.best_of_forest_steps += right(samples.is_right(best_of(forest_k), game.target));
        // The first prefix is shared by all samples, each of which asks about two more.
        let k_prefix = (found.prefix_evaluations.saturating_sub(1) / 2).max(1) as usize;
        table.k_prefix += k_prefix as f64;
        table.best_of_prefix += right(samples.is_right(best_of(k_prefix), game.target));
        let end = player.greedy(start);
        table.greedy += right(end.is_solved());
    }
    let n = eval.len().max(1) as f64;
    for value in [
        &mut table.sample1,
        &mut table.greedy,
        &mut table.mcts,
        &mut table.mcts_verifier,
        &mut table.forest,
        &mut table.prefix_evaluations,
        &mut table.generated_steps,
        &mut table.forest_prefix_evaluations,
        &mut table.forest_generated_steps,
        &mut table.k,
        &mut table.best_of,
        &mut table.weighted,
        &mut table.majority,
        &mut table.pass_k,
        &mut table.best_of_forest_steps,
        &mut table.k_prefix,
        &mut table.best_of_prefix,
    ] {
        *value /= n;
    }
    Ok(table)
}

/// The answer with the most votes or the largest sum of values; final numbers are compared as they are.
fn vote(answered: &crate::solution::Answered, weighted: bool) -> Option<usize> {
    let candidates = &answered.candidates;
    let groups = answered.groups_by(|_| true, |a, b| candidates[a].answer == candidates[b].answer);
    first_max(groups.iter().map(|group| (group.first, if weighted { group.value } else { group.members.len() as f64 })))
}
