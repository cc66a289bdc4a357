//! What takes part in a comparison: how it is called, how it is built, and how it runs.

use crate::case::{Case, Inputs};

/// Which variants are compared with each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Codes of so many bits.
    Bits(u8),
    /// Three levels, however they are stored.
    Ternary,
    /// Floats.
    Float,
}

/// What a variant's time holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Everything from `f32` activations to `f32` outputs.
    Whole,
    /// The product of activations that were prepared before.
    ProductOnly,
}

/// Who wrote the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// This workspace.
    Ours,
    /// Another project.
    Peer,
}

/// Builds a variant with so many copies of its weights; nothing where the kernel does not exist for the shape.
pub(crate) type Build = Box<dyn Fn(&Case, &Inputs, usize) -> anyhow::Result<Option<Built>>>;

/// A variant before its weights exist.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) class: Class,
    pub(crate) part: Part,
    /// Bits of a weight in memory, about.
    pub(crate) bits_per_weight: f64,
    pub(crate) build: Build,
}

impl Plan {
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == Owner::Ours
    }
}

/// A variant that is ready to run.
pub(crate) struct Built {
    /// Bytes of weights that one product reads.
    pub(crate) bytes: usize,
    /// The distinct rows as the kernel sees them, `[rows, k]`.
    pub(crate) dequantized: Vec<f32>,
    pub(crate) tolerance: Tolerance,
    pub(crate) product: Box<dyn Product>,
}

/// How far a result may lie from the `f64` product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Of the whole: the norm of the difference over the norm of what is expected.
    pub(crate) norm: f64,
    /// Of one output: the difference over the root mean square of what is expected.
    pub(crate) element: f64,
}

impl Tolerance {
    /// Activations rounded to 8 bits lose at most half of 1/127 of their block's largest value, three to four standard deviations here;
    /// that is a relative error of about 0.007, and one of 40,000 outputs lies five times as far off.
    pub(crate) const BYTE_ACTIVATIONS: Tolerance = Tolerance { norm: 0.02, element: 0.1 };
    /// Activations rounded to `f16`, sums in `f32` or better.
    pub(crate) const HALF_ACTIVATIONS: Tolerance = Tolerance { norm: 1e-3, element: 5e-3 };
    /// Sums in `f32`.
    pub(crate) const SINGLE: Tolerance = Tolerance { norm: 1e-5, element: 5e-5 };
}

/// A product of prepared weights and fixed activations.
pub(crate) trait Product {
    /// One product, of the copy that is due at this call.
    fn run(&mut self, call: usize);

    /// What the last call computed, `[n, m]`.
    fn output(&mut self) -> Vec<f32>;

    /// Lets threads of its own sleep while others are measured.
    fn rest(&mut self) {}
}
