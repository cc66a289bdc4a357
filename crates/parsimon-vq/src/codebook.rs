//! A codebook, and quantizers of several: side by side ([`ProductQuantizer`]) and one on what another leaves ([`ResidualQuantizer`]).

mod product;
mod residual;

pub use product::ProductQuantizer;
pub use residual::ResidualQuantizer;

use crate::Numerics;
use crate::kmeans::Points;

/// Centroids `[k, v]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Codebook {
    data: Vec<f64>,
    v: usize,
}

impl Codebook {
    /// Centroids of `v` elements.
    ///
    /// # Panics
    ///
    /// When there is none, or `v` does not divide the length.
    pub fn new(data: Vec<f64>, v: usize) -> Self {
        assert!(v > 0 && !data.is_empty() && data.len().is_multiple_of(v), "centroids must be [k, v]");
        Codebook { data, v }
    }

    /// Centroids.
    pub fn k(&self) -> usize {
        self.data.len() / self.v
    }

    /// Elements of a centroid.
    pub fn v(&self) -> usize {
        self.v
    }

    /// All elements.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// One centroid.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    pub fn centroid(&self, code: u32) -> &[f64] {
        &self.data[code as usize * self.v..][..self.v]
    }

    /// The nearest centroid of every point, the lowest on ties.
    ///
    /// # Panics
    ///
    /// When the points have another length, or `out` another count.
    pub fn assign_into(&self, x: Points<'_>, numerics: Numerics, out: &mut [u32]) {
        assert_eq!((x.v(), x.n()), (self.v, out.len()), "points and codes must fit the codebook");
        match numerics {
            Numerics::Exact => crate::kmeans::nearest(x.data(), &self.data, self.v, out),
            Numerics::Fast => {
                let x: Vec<f32> = x.data().iter().map(|&x| x as f32).collect();
                crate::kmeans::nearest(&x, &self.data, self.v, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
