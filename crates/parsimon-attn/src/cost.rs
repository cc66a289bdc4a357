//! What attention costs: bytes and operations, exactly (PAPER(sigma Eq. 1-2)).

use crate::HeadMap;

/// The sizes that decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CostShape {
    /// Layers.
    pub layers: usize,
    /// Head counts.
    pub heads: HeadMap,
    /// Width of a query, and of a key in scores.
    pub d_qk: usize,
    /// Width of a key in the cache: `d_qk`, or less where keys are compressed.
    pub d_k_cached: usize,
    /// Width of a value.
    pub d_v: usize,
    /// Bytes of a number.
    pub bytes: usize,
    /// Width of the model.
    pub hidden: usize,
    /// Width of the augmented query; 0 for none.
    pub d_aug: usize,
}

/// The cost of a gate over blocks of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GateCost {
    /// Positions of a block.
    pub block: usize,
    /// Width of the gate.
    pub d_gate: usize,
}

impl CostShape {
    /// Bytes of the cache for a token: `layers bytes (n_k d_k + n_v d_v)`.
    ///
    /// ```
    /// use parsimon_attn::{HeadMap, cost::CostShape};
    /// let heads = HeadMap::try_new(32, 4, 16)?;
    /// let sigma = CostShape { layers: 26, heads, d_qk: 64, d_k_cached: 64, d_v: 64, bytes: 2, hidden: 2048, d_aug: 3072 };
    /// assert_eq!(sigma.kv_bytes_per_token(), 66_560);
    /// # Ok::<(), parsimon_attn::AttnError>(())
    /// ```
    pub fn kv_bytes_per_token(&self) -> u64 {
        let row = self.heads.n_k() * self.d_k_cached + self.heads.n_v() * self.d_v;
        (self.layers * self.bytes * row) as u64
    }

    /// How much smaller the cache is than that of `other`, as a share.
    pub fn kv_saving(&self, other: &CostShape) -> f64 {
        1.0 - self.kv_bytes_per_token() as f64 / other.kv_bytes_per_token() as f64
    }

    /// Operations of causal attention over a prompt of `t` tokens in all layers: `layers n_q t^2 (d_qk + d_v)`.
    pub fn prefill_flops(&self, t: u64) -> u64 {
        (self.layers * self.heads.n_q() * (self.d_qk + self.d_v)) as u64 * t * t
    }

    /// Operations of one token over `t` keys: `2 layers t n_q (d_qk + d_v)`.
    pub fn decode_flops(&self, t: u64) -> u64 {
        2 * (self.layers * self.heads.n_q() * (self.d_qk + self.d_v)) as u64 * t
    }

    /// Bytes of the cache that one token over `t` keys reads, for `batch` sequences.
    pub fn decode_bytes(&self, t: u64, batch: u64) -> u64 {
        self.kv_bytes_per_token() * t * batch
    }

    /// Operations that the augmented query adds to a token: `6 layers hidden d_aug`, whatever the context.
    pub fn augmented_query_flops(&self) -> u64 {
        6 * (self.layers * self.hidden * self.d_aug) as u64
    }

    /// Bytes that a decode gate reads over `t` keys, for `batch` sequences: `layers bytes n_k d_gate ceil(t / block)`.
    pub fn gate_bytes(&self, gate: GateCost, t: u64, batch: u64) -> u64 {
        (self.layers * self.bytes * self.heads.n_k() * gate.d_gate) as u64 * t.div_ceil(gate.block as u64) * batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_caches_are_exact() {
        let shape = |n_k, layers, d, d_k_cached| {
            let heads = HeadMap::try_new(32, n_k, 16).expect("divisors of 32");
            CostShape { layers, heads, d_qk: d, d_k_cached, d_v: d, bytes: 2, hidden: 32 * d, d_aug: 48 * d }
        };
        for (layers, d, sigma, gqa) in [(26, 64, 66_560, 106_496), (32, 128, 163_840, 262_144)] {
            assert_eq!(shape(4, layers, d, d).kv_bytes_per_token(), sigma);
            assert_eq!(shape(16, layers, d, d).kv_bytes_per_token(), gqa);
        }
        assert_eq!(shape(4, 26, 64, 64).kv_saving(&shape(16, 26, 64, 64)), 0.375);
        assert_eq!(shape(4, 26, 64, 32).kv_saving(&shape(16, 26, 64, 64)), 0.4375);
        assert_eq!(shape(4, 1, 64, 64).prefill_flops(1000), 32 * 128 * 1_000_000);
        assert_eq!(shape(4, 1, 64, 64).decode_flops(1000), 2 * 32 * 128 * 1000);
        let gate = GateCost { block: 64, d_gate: 64 };
        // Keys are compressed to one row a block: 1 / 128 of a cache with as many values as keys.
        let mha = CostShape { heads: HeadMap::try_new(4, 4, 4).expect("equal"), ..shape(4, 1, 64, 64) };
        assert_eq!(128 * mha.gate_bytes(gate, 6400, 2), mha.decode_bytes(6400, 2));
    }
}
