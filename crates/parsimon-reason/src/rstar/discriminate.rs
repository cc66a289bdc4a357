//! Mutual consistency: a second model continues prefixes of each trajectory, and what both models reach survives.
//!
//! PAPER(rstar §3.3). The verdict is a function of candidates, of the second model's completions and of nothing else: there is no way for
//! a gold answer to come in.

use serde::{Deserialize, Serialize};

use super::prompt::Prompts;
use super::record::Mask;
use crate::answer::evaluators::Evaluator;
use crate::error::SolveError;
use crate::ledger::Ledger;
use crate::policy::{Policy, Request, Sampling, checked_reply, request_seed};
use crate::problem::Problem;

/// How many completions of a trajectory's prefixes must reach its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// One.
    Loose,
    /// Half of them, rounded down.
    Mid,
    /// All.
    Strict,
    /// The most common answer of the completions.
    Majority,
}

/// The settings of the discriminator.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscriminateConfig {
    /// Which prefixes are continued.
    pub mask: Mask,
    /// What consistent means.
    pub consistency: Consistency,
    /// A majority of a larger share is believed without asking.
    pub threshold: f64,
    /// Longest answer that counts, in characters.
    pub answer_chars_max: usize,
}

impl Default for DiscriminateConfig {
    fn default() -> Self {
        DiscriminateConfig {
            mask: Mask::default(),
            consistency: Consistency::Mid,
            threshold: 0.999,
            answer_chars_max: 100,
        }
    }
}

/// A trajectory of the generator.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// Its text.
    pub text: String,
    /// Its answer.
    pub answer: Option<String>,
    /// How often the same text appeared.
    pub freq: usize,
}

/// Merges equal texts in first-seen order; the longest final step gives the answer.
pub fn merge_traces(evaluator: Evaluator, solutions: impl IntoIterator<Item = (String, String)>) -> Vec<Trace> {
    let mut merged: Vec<(Trace, String)> = Vec::new();
    for (text, last) in solutions {
        match merged.iter_mut().find(|(trace, _)| trace.text == text) {
            Some((trace, longest)) => {
                trace.freq += 1;
                if last.len() > longest.len() {
                    *longest = last;
                }
            }
            None => merged.push((Trace { text, answer: None, freq: 1 }, last)),
        }
    }
    merged.into_iter().map(|(trace, last)| Trace { answer: evaluator.answer(&last), ..trace }).collect()
}

/// How a verdict came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// No candidate has an answer.
    NoAnswer,
    /// The majority was large enough.
    Confident,
    /// No trajectory is consistent: the majority.
    FilteredEmpty,
    /// One trajectory is consistent.
    Single,
    /// The best score of several.
    Scored,
}

/// What the discriminator found.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// The answer.
    pub winner: Option<String>,
    /// The candidate it comes from.
    pub winner_index: Option<usize>,
    /// How.
    pub stage: Stage,
    /// The consistent candidates.
    pub survivors: Vec<usize>,
    /// Score of each surviving answer, by its first candidate.
    pub scores: Vec<(usize, f64)>,
    /// The answer of the generator's vote.
    pub majority: Option<String>,
    /// Its share.
    pub majority_share: f64,
    /// How many completions of the second model were asked for.
    pub completions: usize,
}

impl Verdict {
    fn none(completions: usize) -> Verdict {
        Verdict {
            winner: None,
            winner_index: None,
            stage: Stage::NoAnswer,
            survivors: Vec::new(),
            scores: Vec::new(),
            majority: None,
            majority_share: 0.0,
            completions,
        }
    }
}

/// Asks the second model about the candidates and decides.
///
/// # Errors
///
/// [`SolveError::Policy`] when the second model fails.
pub fn discriminate(
    problem: &Problem,
    traces: &[Trace],
    evaluator: Evaluator,
    config: &DiscriminateConfig,
    prompts: &Prompts,
    second: &dyn Policy,
    seed: u64,
    ledger: &mut Ledger,
) -> Result<Verdict, SolveError> {
    let early = verdict_of(traces, None, evaluator, config);
    if matches!(early.stage, Stage::NoAnswer | Stage::Confident) {
        return Ok(early);
    }
    let mut places = Vec::new();
    let mut tags = Vec::new();
    for (index, trace) in traces.iter().enumerate().filter(|(_, trace)| is_valid(trace, config)) {
        for (at, prefix) in config.mask.prefixes(&trace.text).into_iter().enumerate() {
            places.push((index, prefix));
            tags.push(format!("{index}.{at}"));
        }
    }
    let sampling = Sampling { temperature: 1.0, max_tokens: 512, ..Sampling::default() };
    let batch: Vec<Request<'_>> = places
        .iter()
        .zip(&tags)
        .map(|((_, prefix), tag)| {
            let (prompt, mut stops) = prompts.solve(&problem.text, prefix);
            stops.push("\n".into());
            let seed = request_seed(seed, &problem.id, "discriminate", 0, tag, 0);
            Request { problem: &problem.id, tag, prompt, n: 1, stops, sampling, seed }
        })
        .collect();
    let reply = checked_reply(second.propose(&batch)?, &batch)?;
    ledger.count(&batch, &reply);
    let mut answers: Vec<Vec<Option<String>>> = vec![Vec::new(); traces.len()];
    for ((index, prefix), samples) in places.iter().zip(&reply.samples) {
        // The answer may stand in the prefix already; then the continuation repeats nothing of it.
        let whole = format!("{prefix}{}", samples[0].text);
        answers[*index].push(evaluator.answer(&samples[0].text).or_else(|| evaluator.answer(&whole)));
    }
    Ok(verdict_of(traces, Some(&answers), evaluator, config))
}

fn is_valid(trace: &Trace, config: &DiscriminateConfig) -> bool {
    trace.answer.as_ref().is_some_and(|answer| answer.chars().count() <= config.answer_chars_max)
}

/// The verdict on candidates whose completions have these answers; without completions, what can be said before asking: then a stage other
/// than [`Stage::NoAnswer`] and [`Stage::Confident`] is provisional.
pub fn verdict_of(
    traces: &[Trace],
    completions: Option<&[Vec<Option<String>>]>,
    evaluator: Evaluator,
    config: &DiscriminateConfig,
) -> Verdict {
    let equal = |a: &str, b: &str| a == b || evaluator.equal(a, b);
    let valid: Vec<usize> = (0..traces.len()).filter(|index| is_valid(&traces[*index], config)).collect();
    let answer = |index: usize| traces[index].answer.as_deref().unwrap_or("");
    let group = |members: &[usize]| -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for index in members {
            match groups.iter_mut().find(|group| equal(answer(group[0]), answer(*index))) {
                Some(group) => group.push(*index),
                None => groups.push(vec![*index]),
            }
        }
        groups
    };
    let freq = |members: &[usize]| members.iter().map(|index| traces[*index].freq).sum::<usize>() as f64;
    let all: f64 = traces.iter().map(|trace| trace.freq).sum::<usize>() as f64;
    let groups = group(&valid);
    let mut verdict = Verdict::none(completions.map_or(0, |all| all.iter().map(Vec::len).sum()));
    let Some(majority) = groups.iter().reduce(|a, b| if freq(b) > freq(a) { b } else { a }) else { return verdict };
    verdict.majority = Some(answer(majority[0]).to_owned());
    verdict.majority_share = freq(majority) / all;
    let mut decide = |stage: Stage, index: usize, survivors: Vec<usize>, scores: Vec<(usize, f64)>| {
        verdict.winner = Some(answer(index).to_owned());
        verdict.winner_index = Some(index);
        (verdict.stage, verdict.survivors, verdict.scores) = (stage, survivors, scores);
    };
    if freq(majority) / all > config.threshold {
        decide(Stage::Confident, majority[0], Vec::new(), Vec::new());
        return verdict;
    }
    let survivors: Vec<usize> = valid
        .iter()
        .copied()
        .filter(|index| {
            completions.is_some_and(|all| is_consistent(answer(*index), &all[*index], config.consistency, &equal))
        })
        .collect();
    match survivors.as_slice() {
        [] => decide(Stage::FilteredEmpty, majority[0], survivors, Vec::new()),
        [single] => decide(Stage::Single, *single, survivors.clone(), Vec::new()),
        _ => {
            let surviving = group(&survivors);
            let scores: Vec<(usize, f64)> = surviving
                .iter()
                .map(|members| {
                    let of_valid: Vec<usize> =
                        valid.iter().copied().filter(|index| equal(answer(members[0]), answer(*index))).collect();
                    debug_assert!(!of_valid.is_empty());
                    (members[0], freq(members) / freq(&survivors) + freq(members) / freq(&of_valid))
                })
                .collect();
            let best =
                scores.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a }).expect("two survivors at least");
            decide(Stage::Scored, best.0, survivors, scores);
        }
    }
    verdict
}

fn is_consistent(
    answer: &str,
    completions: &[Option<String>],
    rule: Consistency,
    equal: &dyn Fn(&str, &str) -> bool,
) -> bool {
    let agreeing = completions.iter().flatten().filter(|other| equal(answer, other)).count();
    match rule {
        Consistency::Loose => agreeing >= 1,
        Consistency::Mid => agreeing >= completions.len() / 2,
        Consistency::Strict => agreeing == completions.len(),
        Consistency::Majority => {
            // Completions without an answer vote too: for none.
            let same = |a: Option<&str>, b: Option<&str>| {
                a.is_none() && b.is_none() || a.zip(b).is_some_and(|(a, b)| equal(a, b))
            };
            let mut groups: Vec<(Option<&str>, usize)> = Vec::new();
            for other in completions.iter().map(Option::as_deref) {
                match groups.iter_mut().find(|(first, _)| same(*first, other)) {
                    Some((_, count)) => *count += 1,
                    None => groups.push((other, 1)),
                }
            }
            groups
                .into_iter()
                .reduce(|a, b| if b.1 > a.1 { b } else { a })
                .is_some_and(|(first, _)| same(Some(answer), first))
        }
    }
}
