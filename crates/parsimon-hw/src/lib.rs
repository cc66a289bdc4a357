//! Hardware models: the vocabulary of LUT Tensor Core and LUT-DLA. There is no model here yet.
//!
//! ```
//! use parsimon_hw::ArrayShape;
//!
//! let array = ArrayShape::try_new(2, 64, 4)?;
//! assert_eq!(array.one_bit_macs(), 512);
//! assert_eq!(array.to_string(), "m2n64k4");
//! # Ok::<(), parsimon_hw::HwError>(())
//! ```
//!
//! # Overview
//!
//! - [`ArrayShape`]: the shape of a lookup-table array, and how many one-bit products it makes in a cycle.
//! - [`HwError`]: what is wrong with a shape.
//!
//! # What it will be
//!
//! A bit-exact executor of LUT Tensor Core's LMMA instruction, models of area, power and time, a search over array shapes, a generator of
//! synthesizable arrays for both systems, and their co-simulation. It will make and parse text; nothing here runs a tool.
//!
//! # When to use it
//!
//! Not yet, unless you need the names.
//!
//! # The papers
//!
//! LUT Tensor Core: A Software-Hardware Co-Design for LUT-Based Low-Bit LLM Inference (ISCA 2025, arXiv 2408.06003) and LUT-DLA: Lookup
//! Table as Efficient Extreme Low-Bit Deep Learning Accelerator (HPCA 2025). Implemented: the shape of an array. `docs/papers/luttc.md`
//! and `docs/papers/lutdla.md` keep the account.
#![forbid(unsafe_code)]

mod array;

pub use array::{ArrayShape, HwError};
