//! The cases: shapes, tokens and the temperature of the cache; their random numbers and their reference.

use anyhow::ensure;
use parsimon_core::SplitMix64;

use crate::variant::{Plan, Tolerance};

/// What must have been read since the last use of a copy before it counts as cold: more than a cache of a common machine holds.
pub(crate) const COLD_BYTES: usize = 320 << 20;

/// A matrix repeats so many random rows: times do not depend on the numbers, and the slow quantizers of some formats and the reference
/// have less to do.
const DISTINCT_ROWS: usize = 256;

/// Tokens that are compared with the reference, spread over all.
const CHECKED_TOKENS: usize = 4;

/// Above this number of tokens a product computes for long after its weights have arrived, so that only one temperature is measured.
const COLD_TOKENS_MAX: usize = 8;

/// The projections of Llama-2-7B and of BitNet-3B.
const SHAPES: [(usize, usize); 6] =
    [(4096, 4096), (11008, 4096), (4096, 11008), (3200, 3200), (8640, 3200), (3200, 8640)];

const TOKENS: [usize; 5] = [1, 8, 32, 128, 256];

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Smoke,
    Normal,
    Full,
}

/// One product of every variant.
pub(crate) struct Case {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) threads: usize,
    pub(crate) is_cold: bool,
}

/// The cases of an effort.
pub(crate) fn all(effort: Effort, threads: usize) -> Vec<Case> {
    let (shapes, tokens): (&[_], &[_]) = match effort {
        Effort::Smoke => (&[(512, 1024)], &[1, 8]),
        Effort::Normal => (&SHAPES[..2], &[1, 8, 128]),
        Effort::Full => (&SHAPES, &TOKENS),
    };
    let mut cases = Vec::new();
    for &(m, k) in shapes {
        for &n in tokens {
            if n <= COLD_TOKENS_MAX {
                cases.push(Case { m, k, n, threads, is_cold: true });
            }
            cases.push(Case { m, k, n, threads, is_cold: false });
        }
    }
    cases
}

impl Case {
    pub(crate) fn name(&self) -> String {
        format!("{}x{} n={} {}", self.m, self.k, self.n, if self.is_cold { "cold" } else { "hot" })
    }

    /// Copies of the weights of every variant.
    ///
    /// Between two uses of a copy every variant reads as many copies of its own; together that is twice [`COLD_BYTES`]. Hot: one.
    pub(crate) fn copies(&self, plans: &[Plan]) -> usize {
        if !self.is_cold {
            return 1;
        }
        let bits: f64 = plans.iter().map(|plan| plan.bits_per_weight).sum();
        let bytes = (bits / 8.0 * (self.m * self.k) as f64) as usize;
        (2 * COLD_BYTES).div_ceil(bytes.max(1)).max(crate::rounds::COPIES_MIN)
    }
}

/// Random weights and activations.
pub(crate) struct Inputs {
    /// `[rows, k]`; the matrix repeats them until it has `m`.
    pub(crate) weights: Vec<f32>,
    pub(crate) rows: usize,
    /// `[n, k]`.
    pub(crate) x: Vec<f32>,
}

impl Inputs {
    pub(crate) fn random(case: &Case) -> Self {
        let mut rng = SplitMix64::new(1);
        let rows = DISTINCT_ROWS.min(case.m);
        let mut normal = |len: usize| (0..len).map(|_| rng.next_normal() as f32).collect();
        Inputs { weights: normal(rows * case.k), rows, x: normal(case.n * case.k) }
    }

    /// `m` rows from the distinct ones; `elements` is what they have, row by row.
    pub(crate) fn repeat<T: Copy>(&self, elements: &[T], m: usize) -> Vec<T> {
        let len = elements.len() / self.rows * m;
        elements.iter().copied().cycle().take(len).collect()
    }

    /// Compares `out [n, m]` with the `f64` product of the distinct rows `dequantized`.
    pub(crate) fn check(
        &self,
        case: &Case,
        dequantized: &[f32],
        out: &[f32],
        tolerance: Tolerance,
    ) -> anyhow::Result<()> {
        ensure!(out.len() == case.n * case.m, "{} outputs instead of {}", out.len(), case.n * case.m);
        let (mut difference, mut energy, mut worst, mut count) = (0.0, 0.0, 0.0f64, 0.0);
        for token in (0..case.n).step_by(case.n.div_ceil(CHECKED_TOKENS)) {
            let x = &self.x[token * case.k..][..case.k];
            let expected: Vec<f64> = dequantized.chunks_exact(case.k).map(|row| dot(row, x)).collect();
            for (row, &y) in out[token * case.m..][..case.m].iter().enumerate() {
                let e = expected[row % self.rows];
                difference += (f64::from(y) - e).powi(2);
                energy += e * e;
                worst = worst.max((f64::from(y) - e).abs());
                count += 1.0;
            }
        }
        let (norm, element) = ((difference / energy).sqrt(), worst / (energy / count).sqrt());
        ensure!(
            norm <= tolerance.norm && element <= tolerance.element,
            "wrong result: relative distance {norm:.2e}, worst output {element:.2e}, allowed {tolerance:?}"
        );
        Ok(())
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_output_is_found() {
        let case = Case { m: 5, k: 64, n: 3, threads: 1, is_cold: false };
        let inputs = Inputs::random(&case);
        let product = |x: &[f32]| inputs.weights.chunks_exact(64).map(|w| dot(w, x) as f32).collect::<Vec<_>>();
        let mut out: Vec<f32> = inputs.x.chunks_exact(64).flat_map(product).collect();
        inputs.check(&case, &inputs.weights, &out, Tolerance::SINGLE).unwrap();
        out[14] += 0.1;
        inputs.check(&case, &inputs.weights, &out, Tolerance::SINGLE).unwrap_err();
    }
}
