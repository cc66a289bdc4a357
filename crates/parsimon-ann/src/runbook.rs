//! Runbooks: what is inserted, deleted and searched in which order, in the YAML of the big-ann streaming benchmark.
//!
//! An *id* is a row of the data file, a *tag* is the key of a vector in the index. Inserting sets the tag to the id; deleting is by tag;
//! replacing moves tags to new rows. Everything is checked before anything runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use parsimon_core::SplitMix64;

use crate::AnnError;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Insert these rows under their numbers.
    Insert(Range<u64>),
    /// Delete these tags.
    Delete(Range<u64>),
    /// Search for all queries.
    Search,
    /// Give each tag the row at the same place.
    Replace {
        /// Tags that are live.
        tags: Range<u64>,
        /// Rows of the same number.
        ids: Range<u64>,
    },
}

/// A data set's name and the steps to run on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runbook {
    /// The data set.
    pub name: String,
    /// Vectors that are live at once, at most.
    pub max_pts: u64,
    /// The steps in order.
    pub steps: Vec<Operation>,
}

fn error(step: usize, why: impl Into<String>) -> AnnError {
    AnnError::Runbook { step, why: why.into() }
}

/// A step as it is read: its keys and values.
#[derive(Default)]
struct Raw {
    operation: String,
    numbers: Vec<(String, u64)>,
}

impl Raw {
    fn range(&self, step: usize, start: &str, end: &str) -> Result<Range<u64>, AnnError> {
        let number = |key: &str| {
            let found = self.numbers.iter().find(|(name, _)| name == key);
            found.map(|found| found.1).ok_or_else(|| error(step, format!("`{key}` is missing")))
        };
        let range = number(start)?..number(end)?;
        if range.is_empty() { Err(error(step, format!("`{end}` must be above `{start}`"))) } else { Ok(range) }
    }

    fn operation(&self, step: usize) -> Result<Operation, AnnError> {
        match self.operation.as_str() {
            "insert" => Ok(Operation::Insert(self.range(step, "start", "end")?)),
            "delete" => Ok(Operation::Delete(self.range(step, "start", "end")?)),
            "search" => Ok(Operation::Search),
            "replace" => {
                let (tags, ids) =
                    (self.range(step, "tags_start", "tags_end")?, self.range(step, "ids_start", "ids_end")?);
                if tags.end - tags.start != ids.end - ids.start {
                    return Err(error(step, "as many tags as ids are needed"));
                }
                Ok(Operation::Replace { tags, ids })
            }
            other => Err(error(step, format!("unknown operation `{other}`"))),
        }
    }
}

impl Runbook {
    /// Reads a runbook: the first data set of the file.
    ///
    /// # Errors
    ///
    /// [`AnnError::Runbook`] with the step (0 is the head) where it stops making sense.
    pub fn parse(text: &str) -> Result<Runbook, AnnError> {
        let mut name = None;
        let mut max_pts = 0;
        let mut raw: Vec<Raw> = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim_end();
            let key_at = line.len() - line.trim_start().len();
            let Some((key, value)) = line.trim().split_once(':') else {
                if line.trim().is_empty() {
                    continue;
                }
                return Err(error(raw.len(), format!("`{}` is no `key: value`", line.trim())));
            };
            let (key, value) = (key.trim().trim_matches(['"', '\'']), value.trim().trim_matches(['"', '\'']));
            match (key_at, name.is_some()) {
                (0, false) => name = Some(key.to_owned()),
                // The next data set begins.
                (0, true) => break,
                _ if key == "max_pts" => max_pts = value.parse().map_err(|_| error(0, "`max_pts` is no number"))?,
                _ if key == "gt_url" => {}
                _ if value.is_empty() => {
                    raw.push(Raw::default());
                    if key.parse() != Ok(raw.len()) {
                        return Err(error(raw.len(), format!("steps count from 1 without a gap, this one is `{key}`")));
                    }
                }
                _ => {
                    let step = raw.len();
                    let current =
                        raw.last_mut().ok_or_else(|| error(0, format!("`{key}` stands before the first step")))?;
                    match key {
                        "operation" => current.operation = value.to_owned(),
                        _ => {
                            let number =
                                value.parse().map_err(|_| error(step, format!("`{key}` is no number: `{value}`")))?;
                            current.numbers.push((key.to_owned(), number));
                        }
                    }
                }
            }
        }
        let name = name.ok_or_else(|| error(0, "there is no data set"))?;
        let steps = raw.iter().enumerate().map(|(i, raw)| raw.operation(i + 1)).collect::<Result<Vec<_>, _>>()?;
        Ok(Runbook { name, max_pts, steps })
    }

    /// Checks the steps against a data file of `rows` rows.
    ///
    /// # Errors
    ///
    /// [`AnnError::Runbook`]: the first step is no insert, a row is outside the file, a tag is inserted twice, or replaced while absent.
    pub fn check(&self, rows: u64) -> Result<(), AnnError> {
        if !matches!(self.steps.first(), Some(Operation::Insert(_))) {
            return Err(error(1, "the first step must be an insert"));
        }
        let mut live = BTreeSet::new();
        for (i, operation) in self.steps.iter().enumerate() {
            let step = i + 1;
            let inside = |range: &Range<u64>| {
                if range.end <= rows { Ok(()) } else { Err(error(step, format!("row {} of {rows}", range.end - 1))) }
            };
            match operation {
                Operation::Insert(range) => {
                    inside(range)?;
                    if let Some(tag) = range.clone().find(|&tag| !live.insert(tag)) {
                        return Err(error(step, format!("tag {tag} is live already")));
                    }
                }
                Operation::Delete(range) => range.clone().for_each(|tag| {
                    live.remove(&tag);
                }),
                Operation::Search => {}
                Operation::Replace { tags, ids } => {
                    inside(ids)?;
                    if let Some(tag) = tags.clone().find(|tag| !live.contains(tag)) {
                        return Err(error(step, format!("tag {tag} is not live")));
                    }
                }
            }
        }
        Ok(())
    }

    /// The runbook as YAML.
    pub fn to_yaml(&self) -> String {
        let mut text = format!("{}:\n  max_pts: {}\n", self.name, self.max_pts);
        for (i, operation) in self.steps.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "  {}:\n    operation: ", i + 1);
            let _ = match operation {
                Operation::Insert(r) => writeln!(text, "\"insert\"\n    start: {}\n    end: {}", r.start, r.end),
                Operation::Delete(r) => writeln!(text, "\"delete\"\n    start: {}\n    end: {}", r.start, r.end),
                Operation::Search => writeln!(text, "\"search\""),
                Operation::Replace { tags, ids } => writeln!(
                    text,
                    "\"replace\"\n    tags_start: {}\n    tags_end: {}\n    ids_start: {}\n    ids_end: {}",
                    tags.start, tags.end, ids.start, ids.end
                ),
            };
        }
        text
    }

    /// `days` days: each deletes about `per_day` random live rows in ten runs of neighbours and inserts the next `per_day`, then searches.
    pub fn churn(name: &str, initial: u64, days: u64, per_day: u64, seed: u64) -> Runbook {
        let mut rng = SplitMix64::new(seed);
        let mut steps = vec![Operation::Insert(0..initial), Operation::Search];
        let mut live: Vec<u64> = (0..initial).collect();
        let run = (per_day / 10).max(1);
        for day in 0..days {
            let mut gone = 0;
            while gone < per_day && !live.is_empty() {
                let at = rng.below(live.len() as u64) as usize;
                let first = live[at];
                let neighbours = live[at..].iter().zip(first..).take_while(|(tag, want)| *tag == want);
                let count = neighbours.take(run.min(per_day - gone) as usize).count();
                steps.push(Operation::Delete(first..first + count as u64));
                live.drain(at..at + count);
                gone += count as u64;
            }
            let begin = initial + day * per_day;
            steps.push(Operation::Insert(begin..begin + per_day));
            live.extend(begin..begin + per_day);
            steps.push(Operation::Search);
        }
        Runbook { name: name.to_owned(), max_pts: initial + per_day, steps }
    }

    /// A window that slides over the rows: each day deletes the oldest `per_day` and inserts the next, then searches.
    pub fn sliding(name: &str, window: u64, days: u64, per_day: u64) -> Runbook {
        let mut steps = vec![Operation::Insert(0..window), Operation::Search];
        for day in 0..days {
            let (old, new) = (day * per_day, window + day * per_day);
            steps.extend([
                Operation::Delete(old..old + per_day),
                Operation::Insert(new..new + per_day),
                Operation::Search,
            ]);
        }
        Runbook { name: name.to_owned(), max_pts: window + per_day, steps }
    }
}

#[cfg(test)]
mod tests;
