//! What gates are trained with: the distance of their scores from what attention gives blocks (PAPER(seerattention §3.2)).
//!
//! ```text
//! loss = scale / N sum G (ln G - ln p)     p = softmax S     d loss / d S = scale / N (p sum_row G - G)
//! ```
//!
//! Hidden blocks and dropped rows do not count; `0 ln 0 = 0`.

use super::Real;

/// What the sum is divided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    /// `heads rows n_blk`, as the released code; the effective step then depends on the length.
    Mean,
    /// `heads rows`.
    PerRow,
}

/// A loss and its gradient by the logits.
#[derive(Clone, PartialEq, Debug)]
pub struct KlLoss<R> {
    /// The loss, with its scale.
    pub loss: f64,
    /// As the logits, 0 where they do not count.
    pub d_logits: Vec<R>,
}

/// The loss of a prefill gate: `logits` (-inf where hidden), `scores` and `target`, all `[heads, rows, cols]`, rows from `drop` on. The released code drops the
/// first quarter of the rows.
pub fn prefill_loss<R: Real>(
    [logits, scores, target]: [&[R]; 3],
    (rows, cols, drop): (usize, usize, usize),
    reduction: Reduction,
    scale: f64,
) -> KlLoss<R> {
    let heads = logits.len() / (rows * cols).max(1);
    let counted = heads * (rows - drop.min(rows));
    let n = match reduction {
        Reduction::Mean => counted * cols,
        Reduction::PerRow => counted,
    };
    loss_where([logits, scores, target], (rows, cols), scale / n.max(1) as f64, |row| row >= drop)
}

/// The loss of a decode gate, over the queries from `start` on, averaged over all elements.
pub fn decode_loss<R: Real>(operands: [&[R]; 3], (rows, cols, start): (usize, usize, usize), scale: f64) -> KlLoss<R> {
    prefill_loss(operands, (rows, cols, start), Reduction::Mean, scale)
}

fn loss_where<R: Real>(
    [logits, scores, target]: [&[R]; 3],
    (rows, cols): (usize, usize),
    factor: f64,
    counts: impl Fn(usize) -> bool,
) -> KlLoss<R> {
    let mut d_logits = vec![R::ZERO; logits.len()];
    let mut loss = 0.0;
    for (at, d_row) in d_logits.chunks_exact_mut(cols.max(1)).enumerate().filter(|(at, _)| counts(at % rows)) {
        let row = at * cols..(at + 1) * cols;
        let (logits, scores, target) = (&logits[row.clone()], &scores[row.clone()], &target[row]);
        let visible = |j: &usize| logits[*j] != R::NEG_INFINITY;
        let max = logits.iter().copied().fold(R::NEG_INFINITY, |max, s| if s > max { s } else { max });
        // Logarithms of the softmax directly, which a score that underflows to 0 has as well.
        let log_sum = R::sum((0..cols).filter(visible).map(|j| (logits[j] - max).exp())).ln();
        let total = R::sum((0..cols).filter(visible).map(|j| target[j]));
        for j in (0..cols).filter(visible) {
            if target[j] > R::ZERO {
                let log_p = logits[j] - max - log_sum;
                loss += (target[j] * (target[j].ln() - log_p)).wide();
            }
            d_row[j] = R::of(factor) * (scores[j] * total - target[j]);
        }
    }
    KlLoss { loss: loss * factor, d_logits }
}
