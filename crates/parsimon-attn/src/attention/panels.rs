//! Keys and values packed for the prefill tiles: panels of 32 columns, padded with zeros, once per head.

use rayon::prelude::*;

use crate::{HeadMap, KvView};

/// Columns of a panel.
pub(super) const PANEL: usize = 32;

/// Packed keys and values of a call.
///
/// Keys: `[n_k][panel of 32 keys][d_qk][32]`, so that 32 scores are one sum over `d_qk`. Values: `[n_v][panel of 32 columns][key][32]`, so that
/// 32 outputs are one sum over keys.
pub(super) struct Panels {
    d_qk: usize,
    len: usize,
    n_value_panels: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Panels {
    pub(super) fn pack(heads: HeadMap, kv: KvView<'_>) -> Self {
        let (d_qk, d_v) = kv.dims();
        let len = kv.len();
        let (n_key_panels, n_value_panels) = (len.div_ceil(PANEL), d_v.div_ceil(PANEL));
        let mut keys = vec![0.0; heads.n_k() * n_key_panels * d_qk * PANEL];
        let mut values = vec![0.0; heads.n_v() * n_value_panels * len * PANEL];
        if len > 0 {
            keys.par_chunks_exact_mut(d_qk * PANEL).enumerate().for_each(|(i, panel)| {
                let (head, t0) = (i / n_key_panels, i % n_key_panels * PANEL);
                let mut key = vec![0.0; d_qk];
                for t in t0..len.min(t0 + PANEL) {
                    kv.k_into(head, t, &mut key);
                    for (dim, &x) in key.iter().enumerate() {
                        panel[dim * PANEL + t - t0] = x;
                    }
                }
            });
            values.par_chunks_exact_mut(len * PANEL).enumerate().for_each(|(i, panel)| {
                let (head, d0) = (i / n_value_panels, i % n_value_panels * PANEL);
                let mut value = vec![0.0; d_v];
                for (t, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                    kv.v_into(head, t, &mut value);
                    let v = &value[d0..d_v.min(d0 + PANEL)];
                    row[..v.len()].copy_from_slice(v);
                }
            });
        }
        Panels { d_qk, len, n_value_panels, keys, values }
    }

    /// The panel of keys `32 panel..` of a head: `[d_qk][32]`.
    pub(super) fn keys(&self, head: usize, panel: usize) -> &[[f32; PANEL]] {
        let n_key_panels = self.len.div_ceil(PANEL);
        &self.keys.as_chunks().0[(head * n_key_panels + panel) * self.d_qk..][..self.d_qk]
    }

    /// Columns `32 panel..` of all values of a head: `[len][32]`.
    pub(super) fn values(&self, head: usize, panel: usize) -> &[[f32; PANEL]] {
        &self.values.as_chunks().0[(head * self.n_value_panels + panel) * self.len..][..self.len]
    }
}
