//! Perplexity over consecutive windows.

use parsimon_attn::gate::Recall;
use parsimon_core::{Control, Unit};
use rayon::prelude::*;

use crate::{KvState, Model, ModelError};

/// How a text is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PerplexityOptions {
    /// Tokens of a window: at least 2, at most the model's context.
    pub ctx: usize,
    /// The most windows to score; `None` for all.
    pub max_windows: Option<usize>,
    /// Whether blocks that gates choose are compared with the oracle, which costs attention to everything.
    pub measure_recall: bool,
}

impl PerplexityOptions {
    /// All windows of `ctx` tokens.
    pub fn new(ctx: usize) -> Self {
        PerplexityOptions { ctx, max_windows: None, measure_recall: false }
    }
}

/// What was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Perplexity {
    /// Mean negative log-likelihood of a scored token, in nats.
    pub nll: f64,
    /// `exp(nll)`.
    pub ppl: f64,
    /// Tokens scored.
    pub tokens: usize,
    /// Windows scored.
    pub windows: usize,
    /// The standard error of `nll`, from the means of windows; 0 with one window.
    pub nll_stderr: f64,
    /// The share of blocks that gated attention computed, the mean over windows; `None` where it is dense.
    pub density: Option<f64>,
    /// How much of what attention to everything does the blocks keep, the mean over windows, where it was measured.
    pub recall: Option<Recall>,
}

/// Scores `tokens` in consecutive windows of `ctx`; the remainder is dropped, and the first token of each window is not scored.
///
/// ```text
/// nll = - 1 / N sum_windows sum_{i = 1}^{ctx - 1} ln softmax(logits[i - 1])[token_i]
/// ```
///
/// # Errors
///
/// [`ModelError::Option`] for a `ctx` below 2, [`ModelError::TextTooShort`] without a whole window, [`ModelError::Cancelled`], and as
/// [`Model::logits`].
pub fn perplexity(
    model: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    control: &Control<'_>,
) -> Result<Perplexity, ModelError> {
    let ctx = options.ctx;
    if ctx < 2 {
        let (what, given, expected) = ("ctx", ctx.to_string(), "at least 2".to_owned());
        return Err(ModelError::Option { what, given, expected });
    }
    let windows = (tokens.len() / ctx).min(options.max_windows.unwrap_or(usize::MAX));
    if windows == 0 {
        return Err(ModelError::TextTooShort { tokens: tokens.len(), ctx });
    }
    control.progress.start("perplexity", Some(windows as u64), Unit::Items("windows"));
    let mut total = 0.0;
    let (mut means, mut densities, mut recalls) = (Vec::with_capacity(windows), Vec::new(), Vec::new());
    for (i, window) in tokens.chunks_exact(ctx).take(windows).enumerate() {
        control.cancel.check()?;
        let mut state = model.new_state();
        if options.measure_recall {
            state.measure_recall();
        }
        let nll = window_nll(model, window, &mut state)?;
        total += nll;
        means.push(nll / (ctx - 1) as f64);
        densities.extend(state.density());
        recalls.extend(state.recall());
        control.progress.advance(1);
        let scored = ((i + 1) * (ctx - 1)) as f64;
        control.progress.message(&format!("ppl {:.3}", (total / scored).exp()));
    }
    control.progress.finish();
    let scored = windows * (ctx - 1);
    let nll = total / scored as f64;
    let spread: f64 = means.iter().map(|mean| (mean - nll).powi(2)).sum();
    let nll_stderr = (spread / (windows * windows.saturating_sub(1)).max(1) as f64).sqrt();
    let recall = mean(recalls.iter().map(|recall| recall.blocks)).zip(mean(recalls.iter().map(|recall| recall.mass)));
    Ok(Perplexity {
        nll,
        ppl: nll.exp(),
        tokens: scored,
        windows,
        nll_stderr,
        density: mean(densities.into_iter()),
        recall: recall.map(|(blocks, mass)| Recall { blocks, mass }),
    })
}

/// The mean, where there is anything.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let n = values.len();
    (n > 0).then(|| values.sum::<f64>() / n as f64)
}

fn window_nll(model: &Model, window: &[u32], state: &mut KvState) -> Result<f64, ModelError> {
    let logits = model.logits(window, state)?;
    let vocab_size = model.config().vocab_size;
    let rows = logits.par_chunks_exact(vocab_size).zip(&window[1..]);
    let scores: Vec<f64> = rows.map(|(logits, &token)| nll(logits, token)).collect();
    Ok(scores.iter().sum())
}

/// `-ln softmax(logits)[token]`.
fn nll(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likelihood_is_the_softmax() {
        let logits = [1.0f32, 2.0, 3.0];
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (token, &logit) in logits.iter().enumerate() {
            let exact = -(f64::from(logit).exp() / sum).ln();
            assert!((nll(&logits, token as u32) - exact).abs() < 1e-12);
        }
        assert!((nll(&[1e4, 0.0], 1) - 1e4).abs() < 1e-6, "no overflow");
    }
}
