//! From scores to block lists.

use super::Real;
use crate::{AttnError, BlockList, BlockShape};

/// Which blocks of a row are selected.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rule {
    /// Scores strictly above a threshold.
    Threshold(f64),
    /// The `max(1, floor((1 - sqrt(1 - r)) n_blk))` largest logits of every row, so that about `r` of the causal blocks are selected; rows that see no
    /// more blocks see all. Of equal ones the first.
    NzRatio(f64),
    /// The `floor(budget / B)` largest scores. Of equal ones the first.
    TokenBudget(usize),
    /// The fewest largest scores with a sum of at least `p`. Of equal ones the first.
    Nucleus(f64),
}

/// Blocks that are selected whatever their scores.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Forced {
    /// The row's own block.
    pub diagonal: bool,
    /// So many blocks from the first.
    pub first: usize,
    /// The own block and so many before it; 0 for none.
    pub local: usize,
}

/// A rule and what is added to it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Selection {
    /// The rule.
    pub rule: Rule,
    /// What is always selected.
    pub forced: Forced,
    /// Whether the last two rows see everything.
    pub last_rows_dense: bool,
    /// Whether a score that is not finite is an error.
    pub strict: bool,
}

impl Selection {
    /// A rule as the released prefill code applies it: nothing forced, the last two rows dense.
    pub fn upstream(rule: Rule) -> Self {
        Selection { rule, forced: Forced::default(), last_rows_dense: true, strict: false }
    }
}

/// What was selected.
#[derive(Clone, PartialEq, Debug)]
pub struct Selected {
    /// The list.
    pub blocks: BlockList,
    /// Listed blocks over visible ones.
    pub density: f64,
    /// Rows with scores that are no numbers; of them only forced blocks are selected.
    pub nan_rows: usize,
}

impl Rule {
    /// Whether the rule is about logits; the others are about their softmax.
    pub fn reads_logits(&self) -> bool {
        matches!(self, Rule::NzRatio(_))
    }

    /// How many blocks the rule selects at most of `n_blk` blocks of `size` positions; `None` where the scores decide.
    pub fn count(&self, n_blk: usize, size: usize) -> Option<usize> {
        match *self {
            Rule::NzRatio(ratio) => {
                let share = 1.0 - (1.0 - ratio.clamp(0.0, 1.0)).sqrt();
                Some(((share * n_blk as f64).floor() as usize).max(1))
            }
            Rule::TokenBudget(budget) => Some(budget / size),
            Rule::Threshold(_) | Rule::Nucleus(_) => None,
        }
    }

    /// Adds the selected of the visible blocks `values`, of `n_blk` in all.
    pub(super) fn select_row<R: Real>(&self, values: &[R], (n_blk, size): (usize, usize), cols: &mut Vec<u32>) {
        match (*self, self.count(n_blk, size)) {
            (_, Some(count)) => top_k_blocks(values, count, cols),
            (Rule::Threshold(threshold), _) => {
                cols.extend((0..values.len()).filter(|&j| values[j].wide() > threshold).map(|j| j as u32));
            }
            (Rule::Nucleus(p), _) => {
                let mut sum = 0.0;
                for j in descending(values) {
                    if sum >= p {
                        break;
                    }
                    sum += values[j as usize].wide();
                    cols.push(j);
                }
            }
            _ => unreachable!("the other rules count"),
        }
    }
}

/// Blocks by descending value, of equal ones the first first.
fn descending<R: Real>(values: &[R]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|&a, &b| values[b as usize].wide().total_cmp(&values[a as usize].wide()).then(a.cmp(&b)));
    order
}

/// Adds the `count` blocks with the largest values, of equal ones the first.
pub fn top_k_blocks<R: Real>(values: &[R], count: usize, cols: &mut Vec<u32>) {
    if count >= values.len() {
        cols.extend(0..values.len() as u32);
    } else {
        cols.extend(&descending(values)[..count]);
    }
}

impl Selection {
    /// Selects from `values [heads, rows, cols]`, logits or scores as the rule reads them; blocks after the own are never selected.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when there are not as many values as blocks; [`AttnError::NonFinite`] for a NaN where the selection is strict.
    pub fn select<R: Real>(&self, values: &[R], shape: BlockShape, heads: usize) -> Result<Selected, AttnError> {
        let (rows, n_blk) = shape.blocks();
        crate::kv::check_len("gate values", heads * rows * n_blk, values.len())?;
        let (mut nan_rows, mut error) = (0, None);
        let blocks = BlockList::from_rows(shape, heads, |head, row, cols| {
            let visible = shape.causal_blocks(row);
            let values = &values[(head * rows + row) * n_blk..][..visible];
            let is_nan = values.iter().any(|value| value.is_nan());
            nan_rows += usize::from(is_nan);
            if is_nan && self.strict {
                error.get_or_insert(AttnError::NonFinite { head, row });
            }
            if self.last_rows_dense && row + 2 >= rows {
                cols.extend(0..visible as u32);
                return;
            }
            if !is_nan {
                self.rule.select_row(values, (n_blk, shape.k.size()), cols);
            }
            self.force(visible, cols);
        });
        match error {
            Some(error) => Err(error),
            None => Ok(Selected { density: blocks.density(&shape), blocks, nan_rows }),
        }
    }

    fn force(&self, visible: usize, cols: &mut Vec<u32>) {
        let Forced { diagonal, first, local } = self.forced;
        cols.extend(0..first.min(visible) as u32);
        if diagonal || local > 0 {
            cols.extend(visible.saturating_sub(local + 1) as u32..visible as u32);
        }
    }
}

/// How much of what attention does a list keeps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Recall {
    /// Of the listed blocks of a row, how many are among as many blocks with the largest probabilities; the mean over rows.
    pub blocks: f64,
    /// The share of the oracle's mass (the row of `map` normalized to 1) that lies in listed blocks; the mean over rows.
    pub mass: f64,
}

/// Compares a list with the oracle: `map [heads, rows, cols]`, of as many heads as the list has. Rows without a listed block, or without mass, are left out.
pub fn oracle_recall(blocks: &BlockList, map: &[f32], cols: usize) -> Recall {
    let (mut sums, mut n) = (Recall { blocks: 0.0, mass: 0.0 }, 0);
    for head in 0..blocks.heads() {
        for row in 0..blocks.rows() {
            let (listed, oracle) = (blocks.row(head, row), &map[(head * blocks.rows() + row) * cols..][..cols]);
            let total: f64 = oracle.iter().map(|&a| f64::from(a)).sum();
            if listed.is_empty() || total == 0.0 {
                continue;
            }
            let mut best = Vec::new();
            top_k_blocks(oracle, listed.len(), &mut best);
            let hits = listed.iter().filter(|col| best.contains(col)).count();
            sums.blocks += hits as f64 / listed.len() as f64;
            sums.mass += listed.iter().map(|&col| f64::from(oracle[col as usize])).sum::<f64>() / total;
            n += 1;
        }
    }
    let n = f64::from(n.max(1));
    Recall { blocks: sums.blocks / n, mass: sums.mass / n }
}
