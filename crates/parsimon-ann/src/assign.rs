//! Which postings hold a vector: closure and the RNG rule. PAPER(spfresh SPANN §3).
//!
//! A vector goes to its nearest head and to others that are not much farther, unless a head that was taken lies nearer to them than
//! the vector does: such a head would be read by nearly the same searches.

use crate::config::IndexConfig;
use crate::heads::{HeadScratch, Heads};
use crate::space::{Query, Space};

/// What the rule says about a vector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selection {
    /// It belongs into these postings, the nearest first.
    Heads(Vec<u32>),
    /// It belongs where it is already.
    NoNeed,
}

/// Chooses the postings of the row that `query` was made from. With `stop`, [`Selection::NoNeed`] as soon as that head is chosen.
pub(crate) fn select(
    space: &Space,
    config: &IndexConfig,
    heads: &Heads,
    query: &Query,
    stop: Option<u32>,
    scratch: &mut HeadScratch,
) -> Selection {
    let candidates = heads.search(query, config.candidates, scratch);
    let nearest = candidates.iter().map(|c| c.distance).find(|&d| d > 0.0);
    let bound = nearest.map_or(f32::INFINITY, |d| space.factor(1.0 + config.closure) * d);
    let mut chosen: Vec<(u32, Query)> = Vec::with_capacity(config.replicas);
    for candidate in candidates {
        if chosen.len() == config.replicas || candidate.distance > bound {
            break;
        }
        let row = heads.row(candidate.head).expect("a head that was found has a row");
        let covered = |(_, by): &(u32, Query)| config.rng_factor * space.distance(by, row) <= candidate.distance;
        if chosen.iter().any(covered) {
            continue;
        }
        if Some(candidate.head) == stop {
            return Selection::NoNeed;
        }
        chosen.push((candidate.head, space.row_query(row)));
    }
    Selection::Heads(chosen.into_iter().map(|(head, _)| head).collect())
}

#[cfg(test)]
mod tests;
