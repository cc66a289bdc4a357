//! What a calibration text makes of the layers' inputs: their second moments, block by block.
//!
//! All windows run through one block before the next, so that memory holds the residual streams of the windows and the moments of one block,
//! whatever the number of blocks. Inputs are those of the model as it is: quantized layers do not feed later ones.

use parsimon_attn::{KvDtype, KvPool, KvSequence, KvShape};
use parsimon_core::{Control, Unit};
use parsimon_vq::{Hessian, HessianAccumulator, Numerics};

use crate::batch::{Batch, Pass, Segment};
use crate::workspace::Workspace;
use crate::{Activations, Model, ModelError};

/// What reads the same input inside a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LayerInput {
    /// Query, key and value projections.
    Qkv,
    /// The gate of augmented Q, and its projection up.
    AugQ,
    /// The projection down of augmented Q.
    AugQDown,
    /// The output projection.
    Output,
    /// Gate and up projection.
    Mlp,
    /// The down projection.
    Down,
}

impl LayerInput {
    const COUNT: usize = 6;

    /// What the projection of this name reads.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.rsplit('.').next()? {
            "q_proj" | "k_proj" | "v_proj" | "qkv_proj" => Some(LayerInput::Qkv),
            "q_gate_proj" | "q_up_proj" => Some(LayerInput::AugQ),
            "q_down_proj" => Some(LayerInput::AugQDown),
            "o_proj" => Some(LayerInput::Output),
            "gate_proj" | "up_proj" | "gate_up_proj" => Some(LayerInput::Mlp),
            "down_proj" => Some(LayerInput::Down),
            _ => None,
        }
    }
}

/// Gathers the inputs of the layers of a block.
#[derive(Clone, Default, Debug)]
pub(crate) struct Taps([Option<HessianAccumulator>; LayerInput::COUNT]);

impl Taps {
    /// The moments of every input that was seen.
    fn finish(self) -> Hessians {
        Hessians(self.0.map(|accumulator| accumulator.map(HessianAccumulator::finish)))
    }
}

/// The moments of the inputs of a block.
pub(crate) struct Hessians([Option<Hessian>; LayerInput::COUNT]);

impl Hessians {
    pub(crate) fn get(&self, input: LayerInput) -> Option<&Hessian> {
        self.0[input as usize].as_ref()
    }
}

/// Adds an input where inputs are gathered.
pub(crate) fn tap(taps: &mut Option<Taps>, input: LayerInput, x: &mut Activations<'_>) -> Result<(), ModelError> {
    let Some(taps) = taps else { return Ok(()) };
    let n = x.n();
    let values = x.values();
    let accumulator = &mut taps.0[input as usize];
    let accumulator = accumulator.get_or_insert_with(|| HessianAccumulator::new(values.len() / n, Numerics::Fast));
    accumulator.push(values).map_err(|source| ModelError::Calibration { reason: format!("{input:?}: {source}") })
}

/// `count` windows of `ctx` tokens, evenly spaced over a text; fewer where it is shorter, so that none overlap.
///
/// # Errors
///
/// [`ModelError::Calibration`] when there is not one whole window.
pub fn calibration_windows(tokens: &[u32], ctx: usize, count: usize) -> Result<Vec<Vec<u32>>, ModelError> {
    let count = count.min(tokens.len() / ctx.max(1));
    if ctx == 0 || count == 0 {
        let reason = format!("the text has {} tokens, one window needs {ctx}", tokens.len());
        return Err(ModelError::Calibration { reason });
    }
    let last = tokens.len() - ctx;
    let start = |i: usize| if count == 1 { 0 } else { i * last / (count - 1) };
    Ok((0..count).map(|i| tokens[start(i)..][..ctx].to_vec()).collect())
}

impl Model {
    /// Runs windows of tokens through the blocks and hands on the moments of each block's inputs.
    pub(crate) fn block_hessians(
        &self,
        windows: &[Vec<u32>],
        control: &Control<'_>,
        mut each: impl FnMut(usize, &Hessians) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let mut streams = Vec::with_capacity(windows.len());
        for tokens in windows {
            self.check_tokens(tokens, 0)?;
            let mut x = Vec::with_capacity(tokens.len() * self.config.hidden_size);
            tokens.iter().for_each(|&token| self.embed.push_row(token as usize, &mut x));
            if let Some(scale) = self.config.block.embed_scale {
                x.iter_mut().for_each(|x| *x *= scale);
            }
            streams.push(x);
        }
        control.progress.start("quantize", Some(self.blocks.len() as u64), Unit::Items("blocks"));
        let mut work = Workspace::default();
        for (layer, block) in self.blocks.iter().enumerate() {
            work.taps = Some(Taps::default());
            for (x, tokens) in streams.iter_mut().zip(windows) {
                control.cancel.check()?;
                // A cache of this block alone.
                let shape = KvShape { layers: 1, ..self.config.kv_shape(KvDtype::F32) };
                let (mut pool, mut sequence) = (KvPool::new(shape, None), KvSequence::default());
                let segments = &mut [Segment { tokens, sequence: &mut sequence, len: tokens.len() }];
                let mut batch = Batch { pool: &mut pool, segments, pass: Pass::Fast, gate: None };
                batch.reserve()?;
                batch.angles_into(&self.rope, &mut work.angles);
                std::mem::swap(&mut work.x, x);
                block.forward((&self.config, &self.attention[layer]), (&mut batch, 0), &mut work)?;
                std::mem::swap(&mut work.x, x);
            }
            let hessians = work.taps.take().unwrap_or_default().finish();
            each(layer, &hessians)?;
            control.progress.advance(1);
        }
        control.progress.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_spread_over_the_text() {
        let tokens: Vec<u32> = (0..100).collect();
        let starts = |ctx, count| -> Vec<u32> {
            calibration_windows(&tokens, ctx, count).unwrap().iter().map(|window| window[0]).collect()
        };
        assert_eq!(starts(10, 4), [0, 30, 60, 90]);
        assert_eq!(starts(50, 4), [0, 50]);
        assert_eq!(starts(100, 4), [0]);
        assert!(matches!(calibration_windows(&tokens, 101, 4), Err(ModelError::Calibration { .. })));
        assert!(matches!(calibration_windows(&[], 0, 4), Err(ModelError::Calibration { .. })));
    }
}
