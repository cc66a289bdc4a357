//! What the quantizer does, with the values that every published number of this crate was measured with.

use crate::kmeans::{Init, K_MAX, Numerics};
use crate::{FloatType, QuantizeError};

/// How columns are normalised: `W = Wq scale + bias`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Norm {
    /// Not at all.
    None,
    /// By mean and population standard deviation.
    #[default]
    Std,
    /// By smallest value and range, as the authors' released quantizer does.
    MinMax,
}

/// In which order columns are quantized.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum ColumnOrder {
    /// As they are.
    Natural,
    /// The largest of the Hessian's diagonal first.
    #[default]
    Descending,
    /// The smallest first; for comparison.
    Ascending,
    /// At random, by the layer's seed; for comparison.
    Shuffled,
}

/// The weight of a column's vectors in k-means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum ColumnWeights {
    /// `1 / U_jj^2`: what an error costs once later columns have made up for it.
    #[default]
    Compensated,
    /// `H_jj`, as the paper has it.
    Hessian,
    /// All the same.
    Equal,
}

/// What the residual codebook is trained on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum ResidualSource {
    /// What the main k-means leaves.
    #[default]
    KMeans,
    /// The errors of a pass with the main codebooks alone, as the authors' released quantizer does.
    Feedback,
}

/// How many columns are outliers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Outliers {
    /// This part of all columns, rounded up.
    Percent(f64),
    /// So many.
    Count(usize),
}

/// Columns with a codebook of their own: the first in the order of columns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OutlierConfig {
    /// How many.
    pub columns: Outliers,
    /// Elements of their vectors.
    pub vector_len: usize,
    /// Their centroids.
    pub centroids: usize,
}

/// Defects of the authors' released quantizer, for comparison. All off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct VptqCompat {
    /// Weights are divided by the columns' scales, the Hessian is not multiplied by them.
    pub hessian_not_rescaled: bool,
    /// The factor is made in descending order and used in the natural one.
    pub unpermuted_factor: bool,
}

/// What the quantizer does.
#[derive(Clone, PartialEq, Debug)]
pub struct VptqConfig {
    /// Outputs in a vector.
    pub vector_len: usize,
    /// Centroids of the main codebook.
    pub centroids: usize,
    /// Centroids of the residual codebook, 0 for none.
    pub residual: usize,
    /// Outlier columns.
    pub outlier: Option<OutlierConfig>,
    /// Column groups with codebooks of their own.
    pub groups: usize,
    /// How columns are normalised.
    pub norm: Norm,
    /// The order of columns.
    pub order: ColumnOrder,
    /// Columns whose errors are spread together.
    pub block: usize,
    /// Damping in parts of the mean of the diagonal.
    pub percdamp: f64,
    /// What is added to the diagonal whose mean is 1.
    pub reg: f64,
    /// The weights of k-means.
    pub weights: ColumnWeights,
    /// What the residual codebook is trained on.
    pub residual_from: ResidualSource,
    /// Whether errors are spread over later columns.
    pub feedback: bool,
    /// Rounds of refits after the first pass.
    pub em_rounds: usize,
    /// Main codes that are tried with the residual codebook.
    pub beam: usize,
    /// Rounds of k-means at most.
    pub iters: usize,
    /// Tolerance of k-means.
    pub tol: f64,
    /// The first centroids of k-means.
    pub init: Init,
    /// Of all random numbers.
    pub seed: u64,
    /// What the file stores.
    pub float: FloatType,
    /// Whether centroids lie on a grid of 256 values a dimension, which makes byte lookups exact.
    pub byte_grid: bool,
    /// The type of scores.
    pub numerics: Numerics,
    /// Whether the file's indices are packed into words.
    pub packed: bool,
    /// Defects to repeat.
    pub compat: VptqCompat,
}

impl Default for VptqConfig {
    fn default() -> Self {
        VptqConfig {
            vector_len: 4,
            centroids: 256,
            residual: 0,
            outlier: None,
            groups: 1,
            norm: Norm::default(),
            order: ColumnOrder::default(),
            block: 128,
            percdamp: 0.01,
            reg: 0.01,
            weights: ColumnWeights::default(),
            residual_from: ResidualSource::default(),
            feedback: true,
            em_rounds: 3,
            beam: 1,
            iters: 100,
            tol: 1e-5,
            init: Init::Auto,
            seed: 0,
            float: FloatType::F16,
            byte_grid: false,
            numerics: Numerics::Fast,
            packed: true,
            compat: VptqCompat::default(),
        }
    }
}

impl VptqConfig {
    /// The configuration for a budget of `bits` index bits a weight of a matrix `[m, k]`: the first of a list whose codebooks take no more than
    /// 0.15 bits a weight of it, else the last.
    ///
    /// | bits | list |
    /// |---|---|
    /// | 2 | v 8, 256 + 256, beam 8; v 4, 256 |
    /// | 2.3 | v 8, 1024 + 256, beam 8; v 4, 512 |
    /// | 3 | v 8, 4096 + 4096, beam 4; v 4, 256 + 16 |
    /// | 4 | v 6, 4096 + 4096, beam 4; v 4, 256 + 256 |
    pub fn preset(bits: f64, (m, k): (usize, usize), float: FloatType) -> Option<Self> {
        // Vector length, centroids, residual centroids, beam.
        let list: [(usize, usize, usize, usize); 2] = match bits {
            2.0 => [(8, 256, 256, 8), (4, 256, 0, 1)],
            2.3 => [(8, 1024, 256, 8), (4, 512, 0, 1)],
            3.0 => [(8, 4096, 4096, 4), (4, 256, 16, 1)],
            4.0 => [(6, 4096, 4096, 4), (4, 256, 256, 1)],
            _ => return None,
        };
        let overhead = |&(v, main, residual, _): &(usize, usize, usize, usize)| {
            (float.bits() * v * (main + residual)) as f64 / (m as f64 * k as f64)
        };
        let (vector_len, centroids, residual, beam) =
            list.into_iter().find(|entry| overhead(entry) <= 0.15).unwrap_or(list[1]);
        let byte_grid = centroids <= 256 && residual <= 256;
        Some(VptqConfig { vector_len, centroids, residual, beam, float, byte_grid, ..VptqConfig::default() })
    }

    /// The same for the authors' loader: what it cannot take is an error, or with `adjust` changed; the changes are returned.
    ///
    /// # Errors
    ///
    /// [`QuantizeError::UpstreamConstraint`] with the first rule that is broken and cannot be adjusted, or any without `adjust`.
    pub fn for_upstream(&self, (m, k): (usize, usize), adjust: bool) -> Result<(Self, Vec<String>), QuantizeError> {
        let mut config = self.clone();
        let mut changes = Vec::new();
        let broken = |rule, value: String| Err(QuantizeError::UpstreamConstraint { rule, value });
        if !config.packed {
            if !adjust {
                return broken("indices are packed", "unpacked".into());
            }
            config.packed = true;
            changes.push("indices are packed".into());
        }
        const LENGTHS: [usize; 7] = [2, 4, 6, 8, 10, 12, 16];
        if !LENGTHS.contains(&config.vector_len) {
            return broken("vector_len is 2, 4, 6, 8, 10, 12 or 16", config.vector_len.to_string());
        }
        let log2 = |k: usize| if k.is_power_of_two() { Some(k.ilog2()) } else { None };
        if !log2(config.centroids).is_some_and(|bits| matches!(bits, 4 | 8 | 10 | 12..=16)) {
            return broken("log2 of the centroids is 4, 8, 10 or 12 to 16", config.centroids.to_string());
        }
        if config.residual > 0 && !log2(config.residual).is_some_and(|bits| matches!(bits, 2..=12 | 15 | 16)) {
            return broken("log2 of the residual centroids is 2 to 12, 15 or 16", config.residual.to_string());
        }
        if config.residual > config.centroids {
            return broken("the residual codebook is no larger than the main one", config.residual.to_string());
        }
        if config.float == FloatType::F32 {
            return broken("tensors are f16 or bf16", "f32".into());
        }
        if config.groups > 1 && config.residual > 0 && config.residual != config.centroids {
            if !adjust {
                return broken("with groups, both codebooks have the same size", config.residual.to_string());
            }
            config.groups = 1;
            changes.push("one group: with more, both codebooks need the same size".into());
        }
        if let Some(outlier) = &config.outlier
            && (outlier.vector_len == 0 || !config.vector_len.is_multiple_of(outlier.vector_len))
        {
            return broken("vector_len is a multiple of the outliers'", outlier.vector_len.to_string());
        }
        let bits = config.centroids.ilog2() as usize + config.residual.checked_ilog2().unwrap_or(0) as usize;
        let (_, gs) = config.layout(k)?;
        if bits * gs <= 16 || m == 0 {
            return broken("a row of indices has more than 16 bits", (bits * gs).to_string());
        }
        Ok((config, changes))
    }

    /// Outlier columns and columns of a group, of `k` columns.
    pub(crate) fn layout(&self, k: usize) -> Result<(usize, usize), QuantizeError> {
        let mut outliers = match self.outlier.as_ref().map(|outlier| outlier.columns) {
            None => 0,
            Some(Outliers::Count(count)) => count,
            Some(Outliers::Percent(percent)) => (percent / 100.0 * k as f64).ceil() as usize,
        };
        let misfit = QuantizeError::GroupsDoNotDivide { k, outliers, groups: self.groups };
        let Some(rest) = k.checked_sub(outliers).filter(|rest| *rest >= self.groups) else { return Err(misfit) };
        match rest % self.groups {
            0 => {}
            _ if outliers == 0 => return Err(misfit),
            remainder => outliers += remainder,
        }
        Ok((outliers, (k - outliers) / self.groups))
    }

    pub(crate) fn check(&self) -> Result<(), QuantizeError> {
        let option = |ok: bool, key: &'static str, value: String, expected: &'static str| {
            if ok { Ok(()) } else { Err(QuantizeError::Option { key, value, expected }) }
        };
        let is_size = |k: usize| (2..=K_MAX).contains(&k) && (!self.packed || k.is_power_of_two());
        let size = "2 to 65536, a power of two where indices are packed";
        option((1..=1024).contains(&self.vector_len), "vector_len", self.vector_len.to_string(), "1 to 1024")?;
        option(is_size(self.centroids), "centroids", self.centroids.to_string(), size)?;
        option(self.residual == 0 || is_size(self.residual), "residual", self.residual.to_string(), size)?;
        let bits = self.centroids.ilog2() + self.residual.checked_ilog2().unwrap_or(0);
        option(!self.packed || bits <= 32, "index bits", bits.to_string(), "32 at most")?;
        option(self.groups > 0, "groups", self.groups.to_string(), "at least 1")?;
        option(self.block > 0, "block", self.block.to_string(), "at least 1")?;
        option((1..=self.centroids).contains(&self.beam), "beam", self.beam.to_string(), "1 to the centroids")?;
        option(self.percdamp > 0.0 && self.percdamp.is_finite(), "percdamp", self.percdamp.to_string(), "above 0")?;
        option(self.reg >= 0.0 && self.reg.is_finite(), "reg", self.reg.to_string(), "0 or more")?;
        let Some(outlier) = &self.outlier else { return Ok(()) };
        let columns = match outlier.columns {
            Outliers::Count(_) => true,
            Outliers::Percent(percent) => (0.0..=100.0).contains(&percent),
        };
        option(columns, "outliers", format!("{:?}", outlier.columns), "0 to 100 percent")?;
        let len = outlier.vector_len;
        option((2..=1024).contains(&len), "outlier vector_len", len.to_string(), "2 to 1024")?;
        let k0 = outlier.centroids;
        option((2..=K_MAX).contains(&k0), "outlier centroids", k0.to_string(), "2 to 65536")
    }
}
