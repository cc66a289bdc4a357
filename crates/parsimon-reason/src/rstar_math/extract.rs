//! Training rows from finished trees: trajectories for the policy, and pairs of steps for the preference model.

use serde::{Deserialize, Serialize};

use super::step::{self, TOO_MANY_CODE_ERRORS};
use crate::tree::{NodeId, Tree};

/// What extraction needs to know of a node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Leaf {
    /// The text of the step.
    pub text: String,
    /// The final answer, or why the branch ended; empty inside.
    pub final_answer: String,
}

/// A row for supervised training.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SftRow {
    /// The question.
    pub query: String,
    /// The trajectory.
    pub response: String,
}

/// A trajectory with its values.
#[derive(Clone, PartialEq, Debug)]
pub struct Trajectory {
    /// The text after the prompt.
    pub text: String,
    /// Mean values of the nodes after the root.
    pub q_values: Vec<f64>,
    /// The last node.
    pub leaf: NodeId,
}

/// A pair of steps, one preferred.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepPair {
    /// The prompt and the shared steps.
    pub prefix: String,
    /// The better step.
    pub chosen_step: String,
    /// The better step and its best continuation.
    pub chosen_steps: String,
    /// The worse step.
    pub rejected_step: String,
    /// The worse step and its worst continuation.
    pub rejected_steps: String,
    /// Difference of the steps' values.
    pub step_margin: f64,
    /// Difference of the continuations' values.
    pub steps_margin: f64,
    /// How many worse steps the better one is compared with.
    pub neg_count: usize,
    /// How many better steps the worse one is compared with.
    pub pos_count: usize,
}

/// One step is preferred to another after the same prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preference {
    /// The better step.
    pub better: NodeId,
    /// The worse step.
    pub worse: NodeId,
    /// How many worse steps the better one is compared with.
    pub neg_count: usize,
    /// How many better steps the worse one is compared with.
    pub pos_count: usize,
    /// Whether right ends lie below the worse step too.
    pub mixed: bool,
}

/// Which nodes below a node are looked at next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow {
    /// All with right and wrong ends below.
    All,
    /// Of them only the most visited.
    MostVisited,
}

/// The view of a tree that extraction works on: right and wrong ends below every node.
pub struct Ends<'a, D> {
    tree: &'a Tree<D>,
    describe: &'a dyn Fn(&D) -> Leaf,
    right: Vec<u32>,
    wrong: Vec<u32>,
}

impl<'a, D> Ends<'a, D> {
    /// Counts the ends: a leaf is right when its mean is 1 and its answer is one, wrong when its mean is -1 and it is no code error.
    pub fn new(tree: &'a Tree<D>, describe: &'a dyn Fn(&D) -> Leaf) -> Self {
        let mut ends = Ends { tree, describe, right: vec![0; tree.len()], wrong: vec![0; tree.len()] };
        for id in tree.ids().collect::<Vec<_>>().into_iter().rev() {
            if tree.children(id).len() == 0 {
                let (right, wrong) = ends.is_end(id);
                ends.right[id.0 as usize] += u32::from(right);
                ends.wrong[id.0 as usize] += u32::from(wrong);
            }
            // Children have larger ids, so that a node is complete when its turn comes.
            if let Some(parent) = tree.parent(id) {
                ends.right[parent.0 as usize] += ends.right[id.0 as usize];
                ends.wrong[parent.0 as usize] += ends.wrong[id.0 as usize];
            }
        }
        ends
    }

    fn q(&self, id: NodeId) -> f64 {
        self.tree.node(id).q()
    }

    fn is_end(&self, id: NodeId) -> (bool, bool) {
        let leaf = (self.describe)(self.tree.data(id));
        let failed =
            [step::TOO_MANY_STEPS, step::NO_VALID_CHILD, TOO_MANY_CODE_ERRORS].contains(&leaf.final_answer.as_str());
        let valid = !leaf.final_answer.is_empty() && !failed;
        let q = self.q(id);
        (q == 1.0 && valid, q == -1.0 && leaf.final_answer != TOO_MANY_CODE_ERRORS && !leaf.final_answer.is_empty())
    }

    fn rights(&self, id: NodeId) -> u32 {
        self.right[id.0 as usize]
    }

    fn wrongs(&self, id: NodeId) -> u32 {
        self.wrong[id.0 as usize]
    }

    /// All trajectories from the root to a leaf, depth first, with whether each is right.
    pub fn trajectories(&self) -> Vec<(Trajectory, bool)> {
        let mut found = Vec::new();
        let mut stack = vec![NodeId::ROOT];
        while let Some(id) = stack.pop() {
            if self.tree.children(id).len() == 0 && id != NodeId::ROOT {
                let leaf = (self.describe)(self.tree.data(id));
                let (right, wrong) = self.is_end(id);
                if right || wrong || leaf.final_answer == TOO_MANY_CODE_ERRORS {
                    let path = self.tree.path(id);
                    let text = path.iter().map(|id| (self.describe)(self.tree.data(*id)).text).collect();
                    let q_values = path[1..].iter().map(|id| self.q(*id)).collect();
                    found.push((Trajectory { text, q_values, leaf: id }, right));
                }
            }
            stack.extend(self.tree.children(id).rev());
        }
        found
    }

    /// The best right trajectories, by mean value and then by least value: `n` of them at most, none with an error in its text.
    ///
    /// PAPER(rstar-math §3.4): the two of the highest mean value train the policy.
    pub fn sft_rows(&self, question: &str, n: usize) -> Vec<SftRow> {
        let mut right: Vec<Trajectory> =
            self.trajectories().into_iter().filter(|(_, right)| *right).map(|(row, _)| row).collect();
        let mean = |row: &Trajectory| row.q_values.iter().sum::<f64>() / row.q_values.len() as f64;
        let least = |row: &Trajectory| row.q_values.iter().copied().fold(f64::INFINITY, f64::min);
        right.sort_by(|a, b| mean(b).total_cmp(&mean(a)).then(least(b).total_cmp(&least(a))));
        let clean = right.into_iter().take(n).filter(|row| !row.text.to_lowercase().contains("error"));
        clean.map(|row| SftRow { query: question.to_owned(), response: row.text }).collect()
    }

    /// From a node on, the child with right ends and the highest value (or with wrong ends and the lowest) until there is none: the text
    /// and the mean value of the nodes, the first included.
    fn follow(&self, from: NodeId, best: bool) -> (String, f64) {
        let (mut text, mut sum, mut n) = (String::new(), 0.0, 0.0);
        let mut at = Some(from);
        while let Some(id) = at {
            text.push_str(&(self.describe)(self.tree.data(id)).text);
            sum += self.q(id);
            n += 1.0;
            let children = self
                .tree
                .children(id)
                .filter(|child| if best { self.rights(*child) > 0 } else { self.wrongs(*child) > 0 });
            at = children.reduce(|a, b| {
                let better = if best { self.q(b) > self.q(a) } else { self.q(b) < self.q(a) };
                if better { b } else { a }
            });
        }
        (text, sum / n)
    }

    /// Preferences between children of one node, in breadth-first order.
    ///
    /// Two better against two worse steps; where one side has a single step, up to four of the other.
    pub fn preferences(&self, follow: Follow) -> Vec<Preference> {
        let mut found = Vec::new();
        let mut queue = std::collections::VecDeque::from([NodeId::ROOT]);
        while let Some(id) = queue.pop_front() {
            let children: Vec<NodeId> = self.tree.children(id).collect();
            let mut better: Vec<NodeId> = children.iter().copied().filter(|child| self.rights(*child) > 0).collect();
            let mut worse: Vec<NodeId> = children.iter().copied().filter(|child| self.wrongs(*child) > 0).collect();
            better.sort_by(|a, b| self.q(*b).total_cmp(&self.q(*a)));
            worse.sort_by(|a, b| self.q(*a).total_cmp(&self.q(*b)));
            let (few_better, few_worse) = (better.len().min(2), worse.len().min(2));
            better.truncate(if few_worse == 1 { 4 } else { 2 });
            worse.truncate(if few_better == 1 { 4 } else { 2 });
            for better_step in &better {
                for worse_step in &worse {
                    if self.q(*better_step) > self.q(*worse_step) {
                        found.push(Preference {
                            better: *better_step,
                            worse: *worse_step,
                            neg_count: worse.len(),
                            pos_count: better.len(),
                            mixed: self.rights(*worse_step) > 0,
                        });
                    }
                }
            }
            queue.extend(self.next(&children, follow));
        }
        found
    }

    /// Pairs of steps with a shared prefix, with their best and worst continuations.
    pub fn step_pairs(&self, prompt: &str, follow: Follow) -> Vec<StepPair> {
        let text = |id: NodeId| (self.describe)(self.tree.data(id)).text;
        let pairs = self.preferences(follow).into_iter().filter_map(|preference| {
            let Preference { better, worse, neg_count, pos_count, .. } = preference;
            let ((chosen_steps, high), (rejected_steps, low)) = (self.follow(better, true), self.follow(worse, false));
            if high <= low {
                return None;
            }
            let parent = self.tree.parent(better).expect("a child has a parent");
            Some(StepPair {
                prefix: self.tree.path(parent).into_iter().fold(prompt.to_owned(), |prefix, id| prefix + &text(id)),
                chosen_step: text(better),
                chosen_steps,
                rejected_step: text(worse),
                rejected_steps,
                step_margin: self.q(better) - self.q(worse),
                steps_margin: high - low,
                neg_count,
                pos_count,
            })
        });
        pairs.collect()
    }

    fn next(&self, children: &[NodeId], follow: Follow) -> Vec<NodeId> {
        let mixed = children.iter().copied().filter(|child| self.rights(*child) > 0 && self.wrongs(*child) > 0);
        match follow {
            Follow::All => mixed.collect(),
            Follow::MostVisited => {
                let visits = |id: NodeId| self.tree.node(id).visits;
                mixed.reduce(|a, b| if visits(b) > visits(a) { b } else { a }).into_iter().collect()
            }
        }
    }
}

/// A row of the preference file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairRow {
    /// The prompt and the shared steps.
    pub prompt: String,
    /// The worse step.
    pub neg: String,
    /// The better step.
    pub pos: String,
    /// How many worse ones.
    pub neg_count: usize,
    /// How many better ones.
    pub pos_count: usize,
}

/// The pairs that are clear: values at least 0.5 apart and texts at least 20 edits apart.
pub fn clear_pairs(pairs: &[StepPair]) -> Vec<PairRow> {
    let clear = pairs
        .iter()
        .filter(|pair| pair.step_margin >= 0.5 && edit_distance(&pair.chosen_step, &pair.rejected_step) >= 20);
    clear
        .map(|pair| PairRow {
            prompt: pair.prefix.clone(),
            neg: pair.rejected_step.clone(),
            pos: pair.chosen_step.clone(),
            neg_count: pair.neg_count,
            pos_count: pair.pos_count,
        })
        .collect()
}

/// Levenshtein's distance in characters.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}
