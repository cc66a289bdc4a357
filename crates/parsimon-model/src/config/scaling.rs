//! `rope_scaling` and `rope_parameters`: which frequencies a model rotates with.

use serde_json::{Value, json};

use super::keys::Keys;
use super::{Architecture, ConfigError};

/// How rotary frequencies `f_i = theta^(-2i / d)` are scaled for longer contexts.
#[derive(Clone, PartialEq, Debug)]
pub enum RopeScaling {
    /// Unscaled.
    Default,
    /// `f_i / factor`.
    Linear {
        /// How much longer the context is.
        factor: f64,
    },
    /// A base that grows with the sequence, see [`RopeFrequencies`](crate::RopeFrequencies).
    Dynamic {
        /// How much longer the context may get.
        factor: f64,
    },
    /// Llama 3.1's blend between `f_i` and `f_i / factor` by wavelength.
    Llama3 {
        /// How much longer the context is.
        factor: f64,
        /// Wavelengths above `original / low` are divided by `factor`.
        low_freq_factor: f64,
        /// Wavelengths below `original / high` stay.
        high_freq_factor: f64,
        /// The context length of pre-training.
        original_max_position_embeddings: f64,
    },
    /// YaRN's blend by the number of rotations in the original context (arXiv 2309.00071).
    Yarn {
        /// How much longer the context is.
        factor: f64,
        /// Pairs that rotate more often than this stay.
        beta_fast: f64,
        /// Pairs that rotate less often than this are divided by `factor`.
        beta_slow: f64,
        /// Whether the border pairs are rounded to whole numbers.
        truncate: bool,
        /// What cosines and sines are multiplied with.
        attention_factor: f64,
        /// The context length of pre-training.
        original_max_position_embeddings: f64,
    },
    /// LongRoPE: a divisor for every pair, others once the sequence is longer than the original context.
    LongRope {
        /// Divisors within the original context.
        short_factor: Vec<f64>,
        /// Divisors beyond it.
        long_factor: Vec<f64>,
        /// What cosines and sines are multiplied with.
        attention_factor: f64,
        /// The context length of pre-training.
        original_max_position_embeddings: usize,
    },
}

const SUPPORTED: &str = "default, linear, dynamic, llama3, yarn or longrope";

/// What the keys of the scaling do not say themselves.
pub(super) struct Rotation<'a> {
    pub(super) architecture: Architecture,
    pub(super) theta_default: f64,
    pub(super) head_dim: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) keys: &'a Keys<'a>,
}

/// Base, scaling, and the part of a head that rotates.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
    pub(super) partial_rotary_factor: f64,
}

impl Rotation<'_> {
    /// `rope_theta` and `rope_scaling`, or the newer `rope_parameters` that holds both.
    pub(super) fn parse(&self) -> Result<Rope, ConfigError> {
        let keys = self.keys;
        let theta = keys.positive("rope_theta")?;
        let (prefix, value) = match (keys.get("rope_parameters"), keys.get("rope_scaling")) {
            (Some(value), _) => ("rope_parameters.", value),
            (None, Some(value)) => ("rope_scaling.", value),
            (None, None) => {
                let theta = theta.unwrap_or(self.theta_default);
                let partial_rotary_factor = self.partial(keys, None)?;
                return Ok(Rope { theta, scaling: RopeScaling::Default, partial_rotary_factor });
            }
        };
        let inner = Keys::new(keys.path, prefix, value)?;
        for key in ["full_attention", "sliding_attention"] {
            if let Some(value) = inner.get(key) {
                return Err(inner.error(key, value, "one set of parameters for all layers"));
            }
        }
        let theta = inner.positive("rope_theta")?.or(theta).unwrap_or(self.theta_default);
        let partial_rotary_factor = self.partial(keys, Some(&inner))?;
        let dim = rotary_dim(self.head_dim, partial_rotary_factor);
        let scaling = self.scaling(&inner, dim)?;
        Ok(Rope { theta, scaling, partial_rotary_factor })
    }

    fn partial(&self, keys: &Keys<'_>, inner: Option<&Keys<'_>>) -> Result<f64, ConfigError> {
        const KEY: &str = "partial_rotary_factor";
        let own = inner.map(|inner| inner.positive(KEY)).transpose()?.flatten();
        let factor = own.or(keys.positive(KEY)?).unwrap_or(1.0);
        let dim = rotary_dim(self.head_dim, factor);
        if factor > 1.0 || dim == 0 || !dim.is_multiple_of(2) {
            let expected = format!("a part of head_dim = {} that is an even number, at most 1", self.head_dim);
            return Err(keys.error(KEY, &factor.into(), expected));
        }
        Ok(factor)
    }

    fn scaling(&self, inner: &Keys<'_>, dim: usize) -> Result<RopeScaling, ConfigError> {
        let kind = inner.text("rope_type")?.or(inner.text("type")?).unwrap_or("default");
        // Phi-3 files of the first days call longrope by its working names.
        let kind =
            if self.architecture == Architecture::Phi3 && matches!(kind, "su" | "yarn") { "longrope" } else { kind };
        Ok(match kind {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: inner.required_positive("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: inner.required_positive("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: inner.required_positive("factor")?,
                low_freq_factor: inner.required_positive("low_freq_factor")?,
                high_freq_factor: inner.required_positive("high_freq_factor")?,
                original_max_position_embeddings: inner.required_positive("original_max_position_embeddings")?,
            },
            "yarn" => self.yarn(inner)?,
            "longrope" => self.longrope(inner, dim)?,
            kind => return Err(inner.error("rope_type", &kind.into(), SUPPORTED)),
        })
    }

    /// The context of pre-training: the top level wins.
    fn original(&self, inner: &Keys<'_>) -> Result<usize, ConfigError> {
        const KEY: &str = "original_max_position_embeddings";
        let limit = super::raw::CONTEXT_MAX;
        let given = self.keys.count(KEY, limit)?.or(inner.count(KEY, limit)?);
        Ok(given.unwrap_or(self.max_position_embeddings))
    }

    fn yarn(&self, inner: &Keys<'_>) -> Result<RopeScaling, ConfigError> {
        let original = self.original(inner)? as f64;
        let factor = inner.positive("factor")?.unwrap_or(self.max_position_embeddings as f64 / original);
        let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let attention_factor = match (inner.positive("attention_factor")?, inner.positive("mscale")?) {
            (Some(given), _) => given,
            (None, Some(mscale)) => match inner.positive("mscale_all_dim")? {
                Some(all) => magnitude(mscale) / magnitude(all),
                None => magnitude(1.0),
            },
            (None, None) => magnitude(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: inner.positive("beta_fast")?.unwrap_or(32.0),
            beta_slow: inner.positive("beta_slow")?.unwrap_or(1.0),
            truncate: inner.flag("truncate")?.unwrap_or(true),
            attention_factor,
            original_max_position_embeddings: original,
        })
    }

    fn longrope(&self, inner: &Keys<'_>, dim: usize) -> Result<RopeScaling, ConfigError> {
        let original = self.original(inner)?;
        let factor = inner.positive("factor")?.unwrap_or(self.max_position_embeddings as f64 / original as f64);
        let longer = || (1.0 + factor.ln() / (original as f64).ln()).sqrt();
        let by_length = if factor <= 1.0 { 1.0 } else { longer() };
        Ok(RopeScaling::LongRope {
            short_factor: inner.required_factors("short_factor", dim / 2)?,
            long_factor: inner.required_factors("long_factor", dim / 2)?,
            attention_factor: inner.positive("attention_factor")?.unwrap_or(by_length),
            original_max_position_embeddings: original,
        })
    }
}

/// Elements of a head that rotate.
pub(super) fn rotary_dim(head_dim: usize, partial_rotary_factor: f64) -> usize {
    (head_dim as f64 * partial_rotary_factor) as usize
}

/// The value of `rope_scaling`; `None` where there is none.
pub(super) fn render(scaling: &RopeScaling) -> Option<Value> {
    Some(match scaling {
        RopeScaling::Default => return None,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            truncate,
            attention_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "truncate": truncate,
            "attention_factor": attention_factor,
            "original_max_position_embeddings": *original_max_position_embeddings as u64,
        }),
        RopeScaling::LongRope { short_factor, long_factor, attention_factor, original_max_position_embeddings } => {
            json!({
                "rope_type": "longrope",
                "short_factor": short_factor,
                "long_factor": long_factor,
                "attention_factor": attention_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            })
        }
    })
}
