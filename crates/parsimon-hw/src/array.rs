//! The shape of a lookup-table array.

use std::fmt;

use parsimon_core::Diagnose;

/// The largest extent of an array in one direction.
const EXTENT_MAX: u32 = 256;

/// An array that multiplies an `m x k` tile of activations by an `n x k` tile of one-bit weights in one cycle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ArrayShape {
    m: u32,
    n: u32,
    k: u32,
}

impl ArrayShape {
    /// A shape of `m` activation rows, `n` weight rows and `k` inputs to a table.
    ///
    /// # Errors
    ///
    /// [`HwError::Extent`] unless each is a power of two from 1 to 256.
    pub fn try_new(m: u32, n: u32, k: u32) -> Result<Self, HwError> {
        for (what, given) in [("m", m), ("n", n), ("k", k)] {
            if !given.is_power_of_two() || given > EXTENT_MAX {
                return Err(HwError::Extent { what, given, limit: EXTENT_MAX });
            }
        }
        Ok(ArrayShape { m, n, k })
    }

    /// Activation rows.
    pub fn m(self) -> u32 {
        self.m
    }

    /// Weight rows.
    pub fn n(self) -> u32 {
        self.n
    }

    /// Inputs to a table.
    pub fn k(self) -> u32 {
        self.k
    }

    /// One-bit multiply-accumulates in a cycle: `m n k`.
    pub fn one_bit_macs(self) -> u32 {
        self.m * self.n * self.k
    }
}

impl fmt::Display for ArrayShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}n{}k{}", self.m, self.n, self.k)
    }
}

/// A shape cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum HwError {
    #[error("{what} = {given} is not a power of two from 1 to {limit}")]
    Extent { what: &'static str, given: u32, limit: u32 },
}

impl Diagnose for HwError {}

#[cfg(test)]
mod tests;
