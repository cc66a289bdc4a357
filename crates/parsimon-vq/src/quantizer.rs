//! What every weight quantizer takes and gives: a layer with its Hessian, and a report beside the result.

use parsimon_core::{Cancelled, Control, Diagnose};
use serde::{Deserialize, Serialize};

use crate::{Hessian, KMeansError, KMeansReport};

/// A linear layer to quantize.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The full name of its module, which seeds its random numbers.
    pub name: &'a str,
    /// `[m, k]`.
    pub weights: &'a [f32],
    /// Output features.
    pub m: usize,
    /// Input features.
    pub k: usize,
    /// Second moments of its inputs.
    pub hessian: &'a Hessian,
}

impl Layer<'_> {
    pub(crate) fn check(&self) -> Result<(), QuantizeError> {
        let (m, k) = (self.m, self.k);
        if m == 0 || k == 0 {
            return Err(QuantizeError::EmptyShape { m, k });
        }
        if m.checked_mul(k) != Some(self.weights.len()) {
            let actual = self.weights.len();
            return Err(QuantizeError::ShapeMismatch { what: "weights", expected: m.saturating_mul(k), actual });
        }
        if self.hessian.k() != k {
            let actual = self.hessian.k();
            return Err(QuantizeError::ShapeMismatch { what: "columns of the Hessian", expected: k, actual });
        }
        match self.weights.iter().position(|w| !w.is_finite()) {
            Some(at) => Err(QuantizeError::NonFinite { what: "weight", row: at / k, column: at % k }),
            None => Ok(()),
        }
    }

    /// Relative proxy error `tr((W' - W) H (W' - W)^T) / tr(W H W^T)`; 0 where nothing differs.
    pub fn proxy_error(&self, decoded: impl IntoIterator<Item = f64>) -> f64 {
        let difference: Vec<f64> =
            decoded.into_iter().zip(self.weights).map(|(decoded, &w)| decoded - f64::from(w)).collect();
        let weights: Vec<f64> = self.weights.iter().map(|&w| f64::from(w)).collect();
        let (error, energy) = (self.hessian.quadratic(&difference), self.hessian.quadratic(&weights));
        if error == 0.0 { 0.0 } else { error / energy }
    }
}

/// Bits a weight, every overhead counted.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Bits {
    /// Codes, padding of words and outlier indices included.
    pub index: f64,
    /// Centroids, or scales and zero points.
    pub codebook: f64,
    /// Scale and bias of columns.
    pub norm: f64,
    /// The order of columns.
    pub perm: f64,
}

impl Bits {
    /// The sum.
    pub fn total(&self) -> f64 {
        self.index + self.codebook + self.norm + self.perm
    }
}

/// How a layer came out.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct LayerReport {
    /// The layer's name.
    pub name: String,
    /// Output features.
    pub m: usize,
    /// Input features.
    pub k: usize,
    /// Relative proxy error of the decoded weights.
    pub rel: f64,
    /// Bits a weight.
    pub bits: Bits,
    /// The damping used, where there is any.
    pub percdamp: Option<f64>,
    /// `|E|^2` of every pass, the last one with rounded codebooks.
    pub obj: Vec<f64>,
    /// Every k-means: outlier codebook, main ones, residual ones.
    pub kmeans: Vec<KMeansReport>,
    /// What a person should know: unused centroids, a thin Hessian.
    pub warnings: Vec<String>,
}

/// Turns the weights of a layer into fewer bits.
pub trait Quantizer {
    /// The quantized layer.
    type Out;

    /// Quantizes a layer.
    ///
    /// # Errors
    ///
    /// [`QuantizeError`].
    fn quantize(&self, layer: &Layer<'_>, control: &Control<'_>) -> Result<(Self::Out, LayerReport), QuantizeError>;
}

/// A layer cannot be quantized.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum QuantizeError {
    #[error("{key} = {value}: expected {expected}")]
    Option { key: &'static str, value: String, expected: &'static str },
    #[error("empty shape: m = {m}, k = {k}")]
    EmptyShape { m: usize, k: usize },
    #[error("{what}: expected {expected}, got {actual}")]
    ShapeMismatch { what: &'static str, expected: usize, actual: usize },
    #[error("the {what} at row {row}, column {column} is not finite")]
    NonFinite { what: &'static str, row: usize, column: usize },
    #[error("the Hessian is not symmetric at ({i}, {j})")]
    NotSymmetric { i: usize, j: usize },
    #[error(
        "layer `{layer}`: the Hessian is not positive definite, even with damping {percdamp}: use more calibration text"
    )]
    NotPositiveDefinite { layer: String, percdamp: f64 },
    #[error("{k} columns without {outliers} outliers do not divide into {groups} groups")]
    GroupsDoNotDivide { k: usize, outliers: usize, groups: usize },
    #[error("{rule}: {value} would not load there (compat none writes it, auto changes it)")]
    UpstreamConstraint { rule: &'static str, value: String },
    #[error(transparent)]
    KMeans(#[from] KMeansError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Diagnose for QuantizeError {
    fn variant(&self) -> String {
        match self {
            QuantizeError::KMeans(source) => source.variant(),
            other => parsimon_core::variant_name(other),
        }
    }

    fn is_bad_input(&self) -> bool {
        match self {
            QuantizeError::KMeans(source) => source.is_bad_input(),
            QuantizeError::Cancelled(_) => false,
            _ => true,
        }
    }
}
