//! Finding the questions of benchmarks in a corpus, by runs of words.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::text;

/// Words of a run.
const RUN: usize = 12;

/// The runs of a set of benchmarks. `PAPER(redstone §3.6)`
#[derive(Clone, Default, Debug)]
pub struct Decontaminator {
    tasks: Vec<String>,
    /// The task of each run; the first that had it.
    runs: HashMap<u64, u32>,
}

impl Decontaminator {
    /// Adds a question of `task` with its answer: the runs of both, and those across the boundary between them.
    pub fn add(&mut self, task: &str, prompt: &str, answer: &str) {
        let at = self.tasks.iter().position(|known| known == task).unwrap_or_else(|| {
            self.tasks.push(task.to_owned());
            self.tasks.len() - 1
        });
        for run in runs(&format!("{prompt}\n{answer}")) {
            self.runs.entry(run).or_insert(at as u32);
        }
    }

    /// The number of runs.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The benchmark that a text repeats 12 words of.
    ///
    /// ```
    /// use parsimon_data::decontam::Decontaminator;
    /// let mut index = Decontaminator::default();
    /// index.add("quiz", "Which of the two large rivers in the north of the country is longer?", "The second");
    /// let page = "We were asked which of the two large rivers in the north of the country is longer, and knew.";
    /// assert_eq!(index.check(page), Some("quiz"));
    /// assert_eq!(index.check("Rivers are long."), None);
    /// ```
    pub fn check(&self, text: &str) -> Option<&str> {
        let hit = runs(text).find_map(|run| self.runs.get(&run).copied())?;
        Some(&self.tasks[hit as usize])
    }
}

fn runs(text: &str) -> impl Iterator<Item = u64> {
    let simple = text::simplify(text);
    let mut ends: Vec<usize> = memchr::memchr_iter(b' ', simple.as_bytes()).collect();
    ends.push(simple.len());
    (RUN - 1..ends.len()).map(move |last| {
        let start = if last < RUN { 0 } else { ends[last - RUN] + 1 };
        xxh3_64(&simple.as_bytes()[start..ends[last]])
    })
}
