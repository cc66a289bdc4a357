//! Self-consistency: the share of the most common answer, which is rStar's reward. PAPER(rstar §3.2).

use crate::answer::evaluators::Evaluator;

/// The winner of a vote.
#[derive(Clone, PartialEq, Debug)]
pub struct Confidence {
    /// The answer of the largest group; `None` only in the released counting.
    pub answer: Option<String>,
    /// The first completion of that group.
    pub index: usize,
    /// Size of the group over the number of all completions.
    pub share: f64,
}

/// The vote of a list of completions: the largest group of equal answers, the first seen of equals. Completions without an answer count in
/// the denominator and never win; `None` when there is no answer at all.
pub fn confidence(evaluator: Evaluator, completions: &[&str]) -> Option<Confidence> {
    let answers: Vec<Option<String>> = completions.iter().map(|completion| evaluator.answer(completion)).collect();
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let same = |first: usize| answers[first].as_deref().is_some_and(|other| evaluator.equal(other, answer));
        match groups.iter_mut().find(|(first, _)| same(*first)) {
            Some((_, count)) => *count += 1,
            None => groups.push((index, 1)),
        }
    }
    let (first, count) = groups.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    Some(Confidence { answer: answers[first].clone(), index: first, share: count as f64 / completions.len() as f64 })
}
