//! Activations as lookup tables, shared by every matrix that reads them.

use crate::table::{AGS_DEFAULT, ENTRIES, LOOKUP, quantize_table};
use crate::{ActivationError, LowBitMatrix};

/// The largest magnitude of an integer activation: four sum to at most 124.
const INTEGER_MAX: u8 = 31;

/// Columns of one step of the layouts: everything is padded to it.
pub(crate) const K_STEP: usize = 32;

/// How activations are prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActConfig {
    /// Inputs that share a table scale: a positive multiple of 32.
    pub ags: usize,
    /// Inputs that share a weight scale in the matrices that will read the tables: 16, a multiple of 32, or at least `k`.
    pub group: usize,
}

impl ActConfig {
    /// What `matrix` needs, with the default `ags` of 64 (32 where groups are smaller).
    pub fn for_matrix(matrix: &LowBitMatrix) -> Self {
        ActConfig { ags: if matrix.group() < AGS_DEFAULT { K_STEP } else { AGS_DEFAULT }, group: matrix.group() }
    }
}

/// The lookup tables of `n` activation vectors: built once, read by every matrix with the same inputs (query, key and value
/// projections; gate and up).
///
/// Holds, for each token, `[k / 4][16]` bytes of tables, one `f32` scale per `ags` inputs, and `beta_G`, minus the sum of the
/// unquantized activations of each weight group.
#[derive(Clone, Debug)]
pub struct PreparedActivations {
    config: ActConfig,
    n: usize,
    k: usize,
    k_padded: usize,
    tables: Vec<i8>,
    scales: Vec<f32>,
    betas: Vec<f32>,
    /// One padded vector, kept for reuse.
    padded: Vec<f32>,
}

impl PreparedActivations {
    /// Prepares `x [n, k]`.
    ///
    /// # Errors
    ///
    /// [`ActivationError::NonFinite`] with the place; [`ActivationError`] for an `ags` or `group` that no kernel reads.
    ///
    /// # Panics
    ///
    /// When `x.len() != n * k`.
    pub fn try_new(x: &[f32], n: usize, k: usize, config: ActConfig) -> Result<Self, ActivationError> {
        let mut prepared = Self::empty(config);
        prepared.prepare(x, n, k, config)?;
        Ok(prepared)
    }

    /// Prepares integer activations `x [n, k]` so that every table entry is an exact sum and its scale is 1.
    ///
    /// With integer weights and scales the product is then exact; tests and hardware models compare it bit for bit.
    ///
    /// # Errors
    ///
    /// [`ActivationError::IntegerTooLarge`] for a magnitude above 31 (four of them must fit 8 bits), and as
    /// [`try_new`](Self::try_new) for the group.
    ///
    /// # Panics
    ///
    /// When `x.len() != n * k`.
    pub fn from_integers(x: &[i8], n: usize, k: usize, group: usize) -> Result<Self, ActivationError> {
        if let Some(i) = x.iter().position(|a| a.unsigned_abs() > INTEGER_MAX) {
            return Err(ActivationError::IntegerTooLarge { token: i / k, index: i % k, value: x[i] });
        }
        let floats: Vec<f32> = x.iter().map(|&a| f32::from(a)).collect();
        let mut prepared = Self::try_new(&floats, n, k, ActConfig { ags: AGS_DEFAULT, group })?;
        let tables_len = prepared.table_len();
        for token in 0..n {
            let (tables, _) = prepared.tables[token * tables_len..][..tables_len].as_chunks_mut::<ENTRIES>();
            for (quad, table) in x[token * k..][..k].chunks(LOOKUP).zip(tables) {
                for (i, entry) in table.iter_mut().enumerate() {
                    *entry = quad.iter().enumerate().map(|(t, &a)| if i >> t & 1 == 1 { a } else { -a }).sum();
                }
            }
        }
        prepared.scales.fill(1.0);
        Ok(prepared)
    }

    /// No tokens; a buffer for [`prepare`](Self::prepare).
    pub fn empty(config: ActConfig) -> Self {
        PreparedActivations {
            config,
            n: 0,
            k: 0,
            k_padded: 0,
            tables: Vec::new(),
            scales: Vec::new(),
            betas: Vec::new(),
            padded: Vec::new(),
        }
    }

    /// Prepares other activations in the same buffers; nothing is allocated when the shapes repeat.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new); the value then holds no tokens.
    ///
    /// # Panics
    ///
    /// When `x.len() != n * k`.
    pub fn prepare(&mut self, x: &[f32], n: usize, k: usize, config: ActConfig) -> Result<(), ActivationError> {
        assert_eq!(x.len(), n * k, "x must be [n, k]");
        self.n = 0;
        if config.ags == 0 || !config.ags.is_multiple_of(K_STEP) {
            return Err(ActivationError::UnsupportedAgs { ags: config.ags });
        }
        if !is_supported_group(config.group, k) {
            return Err(ActivationError::UnsupportedGroup { group: config.group, k });
        }
        if let Some(i) = x.iter().position(|a| !a.is_finite()) {
            return Err(ActivationError::NonFinite { token: i / k, index: i % k });
        }
        // One group a row is the same for every group that is long enough.
        self.config = ActConfig { group: config.group.min(k.max(1)), ..config };
        self.k = k;
        self.k_padded = k.next_multiple_of(K_STEP);
        self.tables.resize(n * self.table_len(), 0);
        self.scales.resize(n * self.n_scales(), 0.0);
        self.betas.resize(n * self.n_groups(), 0.0);
        self.padded.clear();
        self.padded.resize(self.k_padded, 0.0);
        let (table_len, n_scales, n_groups) = (self.table_len(), self.n_scales(), self.n_groups());
        self.betas.fill(0.0);
        for token in 0..n {
            let x = &x[token * k..][..k];
            self.padded[..k].copy_from_slice(x);
            let tables = &mut self.tables[token * table_len..][..table_len];
            quantize_table(&self.padded, config.ags, tables, &mut self.scales[token * n_scales..][..n_scales]);
            for (beta, group) in self.betas[token * n_groups..][..n_groups].iter_mut().zip(x.chunks(self.config.group))
            {
                *beta = -group.iter().map(|&a| f64::from(a)).sum::<f64>() as f32;
            }
        }
        self.n = n;
        Ok(())
    }

    /// Tokens.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How they were prepared.
    pub fn config(&self) -> ActConfig {
        self.config
    }

    /// Bytes of the tables, scales and sums.
    pub fn table_bytes(&self) -> usize {
        self.n * (self.table_len() + 4 * (self.n_scales() + self.n_groups()))
    }

    /// The tables of a token: `[k_padded / 4][16]`.
    pub fn tables(&self, token: usize) -> &[i8] {
        &self.tables[token * self.table_len()..][..self.table_len()]
    }

    /// The table scales of a token, one per `ags` inputs.
    pub fn scales(&self, token: usize) -> &[f32] {
        &self.scales[token * self.n_scales()..][..self.n_scales()]
    }

    /// `beta_G` of a token, one per weight group (groups of 16 are padded to pairs).
    pub fn betas(&self, token: usize) -> &[f32] {
        &self.betas[token * self.n_groups()..][..self.n_groups()]
    }

    fn table_len(&self) -> usize {
        self.k_padded / LOOKUP * ENTRIES
    }

    fn n_scales(&self) -> usize {
        self.k_padded.div_ceil(self.config.ags)
    }

    fn n_groups(&self) -> usize {
        groups_in_row(self.k, self.config.group)
    }
}

/// The group sizes that the kernels read: their steps of 16 or 32 columns must not straddle a boundary.
pub(crate) fn is_supported_group(group: usize, k: usize) -> bool {
    group == K_STEP / 2 || (group > 0 && group.is_multiple_of(K_STEP)) || (group >= k && group > 0)
}

/// Groups of a row as the kernels count them: `ceil(k / group)`, rounded up to pairs for groups of 16.
pub(crate) fn groups_in_row(k: usize, group: usize) -> usize {
    if group == K_STEP / 2 { k.next_multiple_of(K_STEP) / group } else { k.div_ceil(group) }
}

#[cfg(test)]
mod tests;
