//! Which windows of the corpus make which batch.

use std::sync::Arc;

use parsimon_core::SplitMix64;

use super::Corpus;
use crate::TrainError;

/// Input and target tokens of one step: `batch` windows of `context` tokens, one after the other; the target of a token is the
/// token after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// `[batch, context]`.
    pub inputs: Arc<[u32]>,
    /// `[batch, context]`.
    pub targets: Arc<[u32]>,
}

/// Draws batches without replacement: an epoch is a shuffle of all windows by the seed and the number of the epoch.
///
/// A batch depends on the seed and the step alone, so an interrupted run goes on exactly where it stopped.
#[derive(Debug)]
pub struct BatchSampler<'a> {
    tokens: &'a [u16],
    context: usize,
    batch: usize,
    seed: u64,
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl<'a> BatchSampler<'a> {
    /// A sampler of `batch` windows of `context + 1` tokens.
    ///
    /// # Errors
    ///
    /// [`TrainError::CorpusTooShort`] when the corpus has fewer than `batch` windows, or more than 2^32.
    ///
    /// # Panics
    ///
    /// When `context` or `batch` is 0.
    pub fn try_new(corpus: &'a Corpus, context: usize, batch: usize, seed: u64) -> Result<Self, TrainError> {
        assert!(context > 0 && batch > 0, "a batch has at least one token");
        let tokens = corpus.tokens();
        let windows = tokens.len().saturating_sub(1) / context;
        if windows < batch || u32::try_from(windows).is_err() {
            let (file, tokens) = (corpus.index_path().to_owned(), tokens.len() as u64);
            return Err(TrainError::CorpusTooShort { file, tokens, windows: windows as u64, context, batch });
        }
        Ok(BatchSampler { tokens, context, batch, seed, epoch: None, order: (0..windows as u32).collect() })
    }

    /// Windows of an epoch.
    pub fn windows(&self) -> usize {
        self.order.len()
    }

    /// The batch of a step, counted from 0.
    pub fn batch(&mut self, step: u64) -> Batch {
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for i in 0..self.batch as u64 {
            let draw = step * self.batch as u64 + i;
            let windows = self.order.len() as u64;
            self.enter(draw / windows);
            let begin = self.order[(draw % windows) as usize] as usize * self.context;
            let window = &self.tokens[begin..][..self.context + 1];
            inputs.extend(window[..self.context].iter().map(|&token| u32::from(token)));
            targets.extend(window[1..].iter().map(|&token| u32::from(token)));
        }
        Batch { inputs: inputs.into(), targets: targets.into() }
    }

    /// Shuffles for an epoch, unless it is the present one.
    fn enter(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        self.order.sort_unstable();
        let key = SplitMix64::new(self.seed).next_u64();
        SplitMix64::new(key ^ epoch).shuffle(&mut self.order);
        self.epoch = Some(epoch);
    }
}
