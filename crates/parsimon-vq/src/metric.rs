//! How far a vector is from a centroid.

use parsimon_core::Diagnose;

/// The distance by which a vector picks its centroid. VPTQ uses [`Metric::L2`] only; LUT-DLA uses all three.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Metric {
    /// `sum (x_t - p_t)^2`
    L2,
    /// `sum |x_t - p_t|`
    L1,
    /// `max |x_t - p_t|`
    Chebyshev,
}

impl Metric {
    /// The distance of a vector from a centroid in f64: the reference for every faster kernel.
    ///
    /// # Errors
    ///
    /// [`VqError::LengthMismatch`], [`VqError::NonFinite`].
    pub fn distance(self, x: &[f32], centroid: &[f32]) -> Result<f64, VqError> {
        if x.len() != centroid.len() {
            return Err(VqError::LengthMismatch { expected: centroid.len(), actual: x.len() });
        }
        if let Some(index) = x.iter().zip(centroid).position(|(x, p)| !x.is_finite() || !p.is_finite()) {
            return Err(VqError::NonFinite { index });
        }
        let differences = x.iter().zip(centroid).map(|(&x, &p)| f64::from(x) - f64::from(p));
        Ok(match self {
            Metric::L2 => differences.map(|d| d * d).sum(),
            Metric::L1 => differences.map(f64::abs).sum(),
            Metric::Chebyshev => differences.map(f64::abs).fold(0.0, f64::max),
        })
    }
}

/// A vector cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum VqError {
    #[error("a vector has {actual} elements, its centroid {expected}")]
    LengthMismatch { expected: usize, actual: usize },
    #[error("element {index} of a vector or of its centroid is not finite")]
    NonFinite { index: usize },
}

impl Diagnose for VqError {}

#[cfg(test)]
mod tests;
