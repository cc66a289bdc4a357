//! Vector index updated in place: the vocabulary of SPFresh. There is no index here yet.
//!
//! ```
//! use parsimon_ann::Metric;
//!
//! let metric: Metric = "cosine".parse()?;
//! assert_eq!(metric, Metric::Cosine);
//! assert_eq!(metric.distance(&[2.0, 0.0], &[0.0, 5.0])?, 1.0);
//! # Ok::<(), parsimon_ann::AnnError>(())
//! ```
//!
//! # Overview
//!
//! - [`Metric`]: what "near" means, with the exact distance in f64.
//! - [`VectorId`]: the caller's name of a vector.
//! - [`AnnError`]: what is wrong with a vector or a name.
//!
//! # What it will be
//!
//! An embeddable, durable index for approximate nearest neighbours whose vectors change all the time: vectors lie in *postings* on
//! disk, grouped around *heads* in memory; inserts append to postings, deletes set a byte, and a local rebuilder splits, merges and
//! reassigns (LIRE), so that the index is never rebuilt as a whole.
//!
//! # When to use it
//!
//! Not yet, unless you need the names and the exact distances.
//!
//! # Numerics
//!
//! Distances are summed in f64 from the first element to the last.
//!
//! # The papers
//!
//! SPFresh: Incremental In-Place Update for Billion-Scale Vector Search (SOSP 2023), and SPANN: Highly-efficient Billion-scale
//! Approximate Nearest Neighbor Search (NeurIPS 2021). Implemented: nothing of either but the vocabulary; `docs/papers/spfresh.md`
//! keeps the account.
#![forbid(unsafe_code)]

mod error;
mod metric;

pub use error::AnnError;
pub use metric::Metric;

/// The caller's name of a vector: any value, unique among the live vectors of an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VectorId(pub u64);
