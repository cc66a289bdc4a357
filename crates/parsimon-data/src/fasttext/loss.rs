//! From the hidden vector to probabilities.

use super::Loss;
use super::matrix::Matrix;

/// The output matrix with what its loss needs.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(super) loss: Loss,
    pub(super) matrix: Matrix,
    /// The Huffman tree over labels, of the hierarchical loss.
    tree: Vec<Node>,
}

/// A node of the tree: leaves are the labels, in order; the root is last.
#[derive(Clone, Copy, Debug)]
struct Node {
    left: usize,
    right: usize,
    count: i64,
}

impl Output {
    pub(super) fn new(loss: Loss, matrix: Matrix, label_counts: &[i64]) -> Output {
        let tree = if loss == Loss::Hierarchical { huffman(label_counts) } else { Vec::new() };
        Output { loss, matrix, tree }
    }

    /// Every label with its probability as fastText reports it.
    pub(super) fn probabilities(&self, hidden: &[f32]) -> Vec<(usize, f32)> {
        match self.loss {
            Loss::Hierarchical => self.descend(hidden),
            Loss::Softmax => {
                let mut scores = self.scores(hidden);
                softmax(&mut scores);
                scores.iter().map(|&p| (p + LOG_FLOOR).ln().exp()).enumerate().collect()
            }
            Loss::OneVsAll => {
                let scores = self.scores(hidden).into_iter().map(table_sigmoid);
                scores.map(|p| (p + LOG_FLOOR).ln().exp()).enumerate().collect()
            }
        }
    }

    fn scores(&self, hidden: &[f32]) -> Vec<f32> {
        (0..self.matrix.n_rows()).map(|row| self.matrix.dot_row(row, hidden)).collect()
    }

    fn descend(&self, hidden: &[f32]) -> Vec<(usize, f32)> {
        let n_labels = self.tree.len().div_ceil(2);
        let mut found = Vec::with_capacity(n_labels);
        let mut open = vec![(self.tree.len() - 1, 0.0f32)];
        while let Some((at, score)) = open.pop() {
            if at < n_labels {
                found.push((at, score.exp()));
                continue;
            }
            let right = 1.0 / (1.0 + (-self.matrix.dot_row(at - n_labels, hidden)).exp());
            open.push((self.tree[at].left, score + (1.0 - right + LOG_FLOOR).ln()));
            open.push((self.tree[at].right, score + (right + LOG_FLOOR).ln()));
        }
        found
    }
}

/// Added to a probability before its logarithm.
const LOG_FLOOR: f32 = 1e-5;

/// `exp(x_i) / sum exp(x_j)`.
pub(super) fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The sigmoid of 512 cells between -8 and 8.
fn table_sigmoid(x: f32) -> f32 {
    const CELLS: f32 = 512.0;
    const BOUND: f32 = 8.0;
    if x < -BOUND {
        return 0.0;
    }
    if x > BOUND {
        return 1.0;
    }
    let cell = ((x + BOUND) * CELLS / BOUND / 2.0).floor();
    1.0 / (1.0 + (-(cell * 2.0 * BOUND / CELLS - BOUND)).exp())
}

/// The Huffman tree over counts that fall; of a leaf and a node with equal counts the node is taken first.
fn huffman(counts: &[i64]) -> Vec<Node> {
    const OPEN: i64 = 1_000_000_000_000_000;
    let n = counts.len();
    let mut tree: Vec<Node> = counts.iter().map(|&count| Node { left: 0, right: 0, count }).collect();
    tree.resize((2 * n).saturating_sub(1), Node { left: 0, right: 0, count: OPEN });
    let (mut leaf, mut node) = (n, n);
    for at in n..tree.len() {
        let mut take = || {
            if leaf > 0 && (node >= at || tree[leaf - 1].count < tree[node].count) {
                leaf -= 1;
                leaf
            } else {
                node += 1;
                node - 1
            }
        };
        let (left, right) = (take(), take());
        tree[at] = Node { left, right, count: tree[left].count.saturating_add(tree[right].count) };
    }
    tree
}
