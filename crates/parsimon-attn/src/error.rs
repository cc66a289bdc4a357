//! What can be wrong with a call.

use parsimon_core::Diagnose;

/// An attention call is not well formed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum AttnError {
    #[error("head counts must be positive and n_k and n_v must divide n_q: n_q = {n_q}, n_k = {n_k}, n_v = {n_v}")]
    HeadMap { n_q: usize, n_k: usize, n_v: usize },
    #[error("{what} must not be 0")]
    ZeroDim { what: &'static str },
    #[error("{what}: expected {expected} elements, got {actual}")]
    Shape { what: &'static str, expected: usize, actual: usize },
    #[error("{field} = {value}: {reason}")]
    Config { field: &'static str, value: f64, reason: &'static str },
    #[error("the cache is full: {needed} more pages are needed, {free} are free")]
    PoolFull { needed: usize, free: usize },
    #[error("level {wanted} is not available here, the best is {best}")]
    BackendUnavailable { wanted: parsimon_simd::Level, best: parsimon_simd::Level },
}

impl Diagnose for AttnError {}
