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
    #[error("{what} = {actual} is above the limit of {limit}")]
    Limit { what: &'static str, actual: usize, limit: usize },
    #[error("block list: head {head}, row {row}: {reason}")]
    BlockList { head: usize, row: usize, reason: &'static str },
    #[error("page {page} of sequence {seq} is {value}, the pool has {limit} pages")]
    Page { seq: usize, page: usize, value: u32, limit: usize },
    #[error("page {page} of sequence {seq} is missing inside its length")]
    PageMissing { seq: usize, page: usize },
    #[error("a gate score of head {head}, row {row} is not finite")]
    NonFinite { head: usize, row: usize },
    #[error("the cache is full: {needed} more pages are needed, {free} are free")]
    PoolFull { needed: usize, free: usize },
    #[error("level {wanted} is not available here, the best is {best}")]
    BackendUnavailable { wanted: parsimon_simd::Level, best: parsimon_simd::Level },
}

impl Diagnose for AttnError {}
