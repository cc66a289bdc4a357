//! Metrics and their exact distances.

use std::fmt;
use std::str::FromStr;

use crate::MetricError;

/// What "near" means. Smaller distances are nearer for every metric.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Metric {
    /// Squared Euclidean distance `sum (a_i - b_i)^2`.
    L2,
    /// `1 - cos(a, b)`, from 0 for the same direction to 2 for opposite ones.
    Cosine,
    /// The negated inner product `-sum a_i b_i`.
    InnerProduct,
}

impl Metric {
    /// The name that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::Cosine => "cosine",
            Metric::InnerProduct => "ip",
        }
    }

    /// The distance of two vectors, exact up to f64 rounding: the reference for every faster kernel.
    ///
    /// # Errors
    ///
    /// [`MetricError::DimMismatch`], [`MetricError::NonFinite`], and [`MetricError::ZeroVector`] for [`Metric::Cosine`].
    pub fn distance(self, a: &[f32], b: &[f32]) -> Result<f64, MetricError> {
        if a.len() != b.len() {
            return Err(MetricError::DimMismatch { expected: a.len(), actual: b.len() });
        }
        for vector in [a, b] {
            if let Some((index, &value)) = vector.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return Err(MetricError::NonFinite { index, value });
            }
        }
        let sum = |term: fn(f64, f64) -> f64| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum()
        };
        let dot = |a, b| a * b;
        match self {
            Metric::L2 => Ok(sum(|a, b| (a - b) * (a - b))),
            Metric::InnerProduct => Ok(-sum(dot)),
            Metric::Cosine => {
                let (aa, bb) = (sum(|a, _| a * a), sum(|_, b| b * b));
                if aa == 0.0 || bb == 0.0 {
                    return Err(MetricError::ZeroVector);
                }
                Ok(1.0 - sum(dot) / (aa.sqrt() * bb.sqrt()))
            }
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(name: &str) -> Result<Self, MetricError> {
        let all = [Metric::L2, Metric::Cosine, Metric::InnerProduct];
        let found = all.into_iter().find(|metric| metric.name() == name);
        found.ok_or_else(|| MetricError::UnknownMetric { given: name.to_owned() })
    }
}

#[cfg(test)]
mod tests;
