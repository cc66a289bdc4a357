//! Answers that a search or a sampler found, and how one is chosen: votes, values, and unbiased estimates.

use serde::{Deserialize, Serialize};

use crate::answer::{Grader, Parsed};

/// One answer with its value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// The answer as it was written; empty where a reply had none.
    pub answer: String,
    /// Its value, by a model or a share of votes.
    pub value: f64,
    /// The whole solution.
    pub text: String,
}

/// The answers to one problem in the order in which they were found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Answered {
    /// All of them.
    pub candidates: Vec<Candidate>,
}

/// Candidates whose answers are equal.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// The first of them, by index.
    pub first: usize,
    /// All of them, by index.
    pub members: Vec<usize>,
    /// The sum of their values.
    pub value: f64,
}

impl Answered {
    /// Groups of equal answers in first-seen order; candidates without an answer are in none.
    pub fn groups(&self) -> Vec<Group> {
        let parsed: Vec<Parsed> = self.candidates.iter().map(|candidate| Parsed::read(&candidate.answer)).collect();
        let same = |a: usize, b: usize| {
            self.candidates[a].answer == self.candidates[b].answer
                || Grader::strict().compare(&parsed[a], &parsed[b]).equal
        };
        self.groups_by(|index| !self.candidates[index].answer.trim().is_empty(), same)
    }

    /// As [`Answered::groups`], with the caller's notion of equality.
    pub fn groups_by(&self, valid: impl Fn(usize) -> bool, same: impl Fn(usize, usize) -> bool) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for index in (0..self.candidates.len()).filter(|index| valid(*index)) {
            let value = self.candidates[index].value;
            match groups.iter_mut().find(|group| same(group.first, index)) {
                Some(group) => {
                    group.members.push(index);
                    group.value += value;
                }
                None => groups.push(Group { first: index, members: vec![index], value }),
            }
        }
        groups
    }

    /// The largest group of equal answers, the first seen of equals; `None` without answers.
    pub fn majority(&self) -> Option<usize> {
        first_max(self.groups().iter().map(|group| (group.first, group.members.len() as f64)))
    }

    /// The group with the largest sum of values.
    pub fn weighted(&self) -> Option<usize> {
        first_max(self.groups().iter().map(|group| (group.first, group.value)))
    }

    /// The candidate of the largest value, the first of equals.
    pub fn best(&self) -> Option<usize> {
        let answered = self.candidates.iter().enumerate().filter(|(_, candidate)| !candidate.answer.trim().is_empty());
        first_max(answered.map(|(index, candidate)| (index, candidate.value)))
    }

    /// The majority among the `k` candidates of the largest values; ties go to the larger value.
    pub fn top_k_majority(&self, k: usize) -> Option<usize> {
        let mut order: Vec<usize> = (0..self.candidates.len()).collect();
        order.sort_by(|a, b| self.candidates[*b].value.total_cmp(&self.candidates[*a].value));
        order.truncate(k);
        let top = Answered { candidates: order.iter().map(|index| self.candidates[*index].clone()).collect() };
        top.majority().map(|index| order[index])
    }
}

/// The key of the largest number, the first of equals.
pub fn first_max<K>(items: impl IntoIterator<Item = (K, f64)>) -> Option<K> {
    let mut best: Option<(K, f64)> = None;
    for (key, value) in items {
        if best.as_ref().is_none_or(|(_, highest)| value > *highest) {
            best = Some((key, value));
        }
    }
    best.map(|(key, _)| key)
}

/// The unbiased estimate of the chance that one of `k` samples is right, of `n` samples with `c` right: `1 - C(n-c, k) / C(n, k)`.
pub fn pass_at_k(n: u64, c: u64, k: u64) -> f64 {
    if n - c < k {
        return 1.0;
    }
    1.0 - (n - c + 1..=n).fold(1.0, |product, i| product * (1.0 - k as f64 / i as f64))
}

/// Wilson's interval of 95 % (z = 1.96) for `successes` of `n`.
pub fn wilson95(successes: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (z, n) = (1.96, n as f64);
    let p = successes as f64 / n;
    let denominator = 1.0 + z * z / n;
    let center = (p + z * z / (2.0 * n)) / denominator;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / denominator;
    (center - half, center + half)
}

/// How the values of the steps of a trajectory become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepValues {
    /// The last.
    Last,
    /// The least.
    Min,
    /// The product.
    Prod,
    /// The mean.
    Mean,
}

impl StepValues {
    /// The value of a trajectory; `None` without steps.
    pub fn combine(self, values: &[f64]) -> Option<f64> {
        let last = *values.last()?;
        Some(match self {
            StepValues::Last => last,
            StepValues::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            StepValues::Prod => values.iter().product(),
            StepValues::Mean => values.iter().sum::<f64>() / values.len() as f64,
        })
    }
}
