//! The solution that a path of the tree stands for, its text, and the prefixes that a second model continues.

use std::collections::BTreeMap;

use parsimon_core::SplitMix64;
use serde::{Deserialize, Serialize};

/// A text and the share of votes that it had.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Valued {
    /// The text.
    pub text: String,
    /// Its confidence.
    pub value: f64,
}

/// One sub-question with what was done about it; the first entry holds the question itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The question, in the first entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_question: Option<String>,
    /// The sub-question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subquestion: Option<String>,
    /// Its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subanswer: Option<Valued>,
    /// Thoughts by their running number on the path.
    #[serde(default)]
    pub ost_step: BTreeMap<u32, String>,
    /// The rest of the solution in one go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_answer: Option<Valued>,
}

/// The solution of a path: entry 0 for the question, one more for each sub-question.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record {
    /// The entries by their number.
    pub entries: BTreeMap<u32, Entry>,
}

/// What closed the text of a solution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The answer of the last sub-question.
    SubAnswer,
    /// A direct answer.
    Direct,
    /// A thought.
    Thought,
    /// Nothing.
    Open,
}

/// The text of a solution.
#[derive(Clone, PartialEq, Debug)]
pub struct Linear {
    /// All steps.
    pub text: String,
    /// The step that has the answer; empty where nothing closed the text.
    pub last: String,
    /// What closed it.
    pub closing: Closing,
}

const THINK: &str = "Let's think step by step. ";
const NOW: &str = "Now we can answer the question: ";

/// The text before the first "The answer is", trimmed.
fn cut(text: &str) -> &str {
    text.split("The answer is").next().unwrap_or(text).trim()
}

impl Record {
    /// The record of a question.
    pub fn new(question: &str) -> Record {
        let entry = Entry { user_question: Some(question.to_owned()), ..Entry::default() };
        Record { entries: BTreeMap::from([(0, entry)]) }
    }

    fn last(&mut self) -> &mut Entry {
        self.entries.values_mut().next_back().expect("a record has the question's entry")
    }

    /// Number of sub-questions.
    pub fn subquestions(&self) -> usize {
        self.entries.len().saturating_sub(1)
    }

    /// Adds a sub-question with its answer.
    pub fn push_subquestion(&mut self, subquestion: String, subanswer: Valued) {
        let number = self.entries.keys().next_back().map_or(0, |last| last + 1);
        self.entries
            .insert(number, Entry { subquestion: Some(subquestion), subanswer: Some(subanswer), ..Entry::default() });
    }

    /// Replaces the answer of the last sub-question.
    pub fn answer_again(&mut self, subanswer: Valued) {
        self.last().subanswer = Some(subanswer);
    }

    /// Adds a thought.
    pub fn push_thought(&mut self, thought: String) {
        let number = self.thoughts().map(|(number, _)| number).max().unwrap_or(0) + 1;
        self.last().ost_step.insert(number, thought);
    }

    /// Sets the direct answer.
    pub fn finish(&mut self, answer: Valued) {
        self.last().direct_answer = Some(answer);
    }

    /// All thoughts of the path with their numbers.
    pub fn thoughts(&self) -> impl Iterator<Item = (u32, &str)> {
        self.entries.values().flat_map(|entry| entry.ost_step.iter().map(|(number, text)| (*number, text.as_str())))
    }

    /// The steps as one text.
    pub fn linear(&self) -> Linear {
        let mut text = String::new();
        let (mut last, mut closing) = (String::new(), Closing::Open);
        for (i, entry) in self.entries.values().enumerate() {
            let ending = i + 1 == self.entries.len();
            let bare = entry.ost_step.is_empty();
            let direct = entry.direct_answer.as_ref();
            let answer = entry.subanswer.as_ref().map_or("", |answer| &answer.text);
            if i > 0 && !(ending && bare && direct.is_none()) {
                text.push_str(cut(answer));
                text.push(' ');
            }
            if ending && i > 0 && bare && direct.is_none() {
                text.push_str(NOW);
                text.push_str(answer.trim());
                (last, closing) = (answer.trim().to_owned(), Closing::SubAnswer);
                break;
            }
            if i > 0 && !ending && bare {
                continue;
            }
            for thought in entry.ost_step.values() {
                text.push_str(thought.trim());
                text.push(' ');
            }
            if let Some(direct) = direct {
                if !bare || i > 0 {
                    text.push_str(NOW);
                }
                text.push_str(direct.text.trim());
                (last, closing) = (direct.text.trim().to_owned(), Closing::Direct);
                break;
            }
            if let Some(thought) = entry.ost_step.values().next_back() {
                (last, closing) = (thought.trim().to_owned(), Closing::Thought);
                text = text.trim().to_owned();
            }
        }
        let text = format!("{THINK}{}", text.replace(THINK, ""));
        Linear { text: text.trim().to_owned(), last, closing }
    }
}

/// Which prefixes of a solution the second model continues.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// `count` prefixes whose shares of the words go evenly from `lo` to `hi`.
    Even {
        /// How many.
        count: usize,
        /// Share of the shortest.
        lo: f64,
        /// Share of the longest.
        hi: f64,
    },
    /// `count` prefixes of random shares. PAPER(rstar §3.3): the paper hides 20 to 80 % at random.
    Random {
        /// How many.
        count: usize,
        /// Least share.
        lo: f64,
        /// Greatest share.
        hi: f64,
        /// Seed of the shares.
        seed: u64,
    },
}

impl Default for Mask {
    /// The released setting: 4 prefixes from .2 to .5.
    fn default() -> Self {
        Mask::Even { count: 4, lo: 0.2, hi: 0.5 }
    }
}

impl Mask {
    /// The prefixes of a text, cut between words.
    pub fn prefixes(self, text: &str) -> Vec<String> {
        let words: Vec<&str> = text.split(' ').collect();
        let shares: Vec<f64> = match self {
            Mask::Even { count: 1, lo, .. } => vec![lo],
            Mask::Even { count, lo, hi } => {
                (0..count).map(|i| lo + i as f64 * ((hi - lo) / (count - 1) as f64)).collect()
            }
            Mask::Random { count, lo, hi, seed } => {
                let mut rng = SplitMix64::new(seed);
                (0..count).map(|_| lo + (hi - lo) * rng.next_f64()).collect()
            }
        };
        let len = words.len() as f64;
        shares
            .into_iter()
            .map(|share| words[..((len * share).ceil() as usize).clamp(1, words.len())].join(" "))
            .collect()
    }
}
