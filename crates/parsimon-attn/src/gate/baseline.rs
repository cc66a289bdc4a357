//! Selection without learning, to compare gates with.

use super::pool::{Pooling, pool_blocks};
use crate::kv::check_len;
use crate::{AttnError, BlockShape, HeadMap, KvView};

/// How blocks are scored without a gate, from queries and keys after rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Baseline {
    /// `<mean q, mean k>` over the blocks, the score of MoBA for whole blocks of queries (PAPER(seerattention §3.3)).
    MeanPool,
    /// `max_i sum_d max(q_id min_d, q_id max_d)`: the bound of Quest on every product of a query of the block and a key of the other.
    Quest,
}

impl Baseline {
    /// Scores `[n_q, rows, cols]` of queries `q [t_q, n_q, d]`, the last ones of the sequence whose keys are in `kv`.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when `q` does not have `t_q` rows, or `kv` not `t_k` keys.
    pub fn scores(self, heads: HeadMap, q: &[f32], kv: KvView<'_>, shape: BlockShape) -> Result<Vec<f32>, AttnError> {
        let (d, n_q, n_k) = (kv.dims().0, heads.n_q(), heads.n_k());
        check_len("q", shape.t_q * n_q * d, q.len())?;
        check_len("keys", shape.t_k, kv.len())?;
        let mut keys = vec![0.0; kv.len() * n_k * d];
        for (at, key) in keys.chunks_exact_mut(d).enumerate() {
            kv.k_into(at % n_k, at / n_k, key);
        }
        let (rows, cols) = shape.blocks();
        let pool = |rows: &[f32], heads, grid, name| {
            let pooling = Pooling::from_name(name).expect("the name of a pooling");
            pool_blocks(rows, (heads, d), grid, &pooling)
        };
        let mut scores = vec![0.0; n_q * rows * cols];
        let place = |h: usize, row: usize| (h * rows + row) * cols;
        match self {
            Baseline::MeanPool => {
                let (q, k) = (pool(q, n_q, shape.q, "avg"), pool(&keys, n_k, shape.k, "avg"));
                for (at, q) in q.chunks_exact(d).enumerate() {
                    let (row, h) = (at / n_q, at % n_q);
                    for (col, score) in scores[place(h, row)..][..cols].iter_mut().enumerate() {
                        let k = &k[(col * n_k + heads.k_of(h)) * d..][..d];
                        *score = q.iter().zip(k).map(|(q, k)| q * k).sum();
                    }
                }
            }
            Baseline::Quest => {
                let k = pool(&keys, n_k, shape.k, "maxmin");
                scores.fill(f32::NEG_INFINITY);
                for (at, q) in q.chunks_exact(d).enumerate() {
                    let (row, h) = (shape.q.block_of(at / n_q), at % n_q);
                    for (col, score) in scores[place(h, row)..][..cols].iter_mut().enumerate() {
                        let (max, min) = k[(col * n_k + heads.k_of(h)) * 2 * d..][..2 * d].split_at(d);
                        let bound: f32 = q.iter().zip(min.iter().zip(max)).map(|(q, (a, b))| (q * a).max(q * b)).sum();
                        *score = score.max(bound);
                    }
                }
            }
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use parsimon_core::SplitMix64;

    use super::*;
    use crate::{AttnConfig, Grid, Mask, reference};

    /// Quest bounds every product; the means are the products of means.
    #[test]
    fn scores_are_bounds_and_means() {
        let (heads, d, t_q, t_k) = (HeadMap::try_new(4, 2, 2).unwrap(), 6, 10, 23);
        let mut rng = SplitMix64::new(5);
        let mut rows = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.next_f64() as f32 - 0.5).collect() };
        let (q, k) = (rows(t_q * 4 * d), rows(t_k * 2 * d));
        let kv = KvView::from_rows(heads, (d, d), t_k, &k, &k).unwrap();
        let grid = |phase| Grid::try_new(4, phase).unwrap();
        let shape = BlockShape { q: grid(1), k: grid(0), t_q, t_k };
        let config = AttnConfig { scale: Some(1.0), ..AttnConfig::new(heads, (d, d), Mask::Full) };
        let (n_rows, cols) = shape.blocks();
        let bounds = Baseline::Quest.scores(heads, &q, kv, shape).unwrap();
        let means = Baseline::MeanPool.scores(heads, &q, kv, shape).unwrap();
        for h in 0..4 {
            for (row, col) in (0..n_rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                let pairs: Vec<f64> = (shape.q.range(row, t_q))
                    .flat_map(|i| shape.k.range(col, t_k).map(move |j| (i, j)))
                    .map(|(i, j)| reference::score(&config, &q, kv, (h, i, j)))
                    .collect();
                let at = (h * n_rows + row) * cols + col;
                let largest = pairs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!(f64::from(bounds[at]) >= largest - 1e-6);
                let mean = pairs.iter().sum::<f64>() / pairs.len() as f64;
                assert!((f64::from(means[at]) - mean).abs() < 1e-6);
            }
        }
        assert!(Baseline::Quest.scores(heads, &q[1..], kv, shape).is_err());
    }
}
