//! A vector cut into parts, each with a codebook of its own.

use parsimon_core::Control;

use super::Codebook;
use crate::kmeans::{KMeansConfig, KMeansError, Numerics, Points, kmeans};
use crate::stream::stream;

/// Consecutive sub-vectors of equal length, one [`Codebook`] each.
#[derive(Clone, PartialEq, Debug)]
pub struct ProductQuantizer {
    books: Vec<Codebook>,
}

impl ProductQuantizer {
    /// Trains a codebook of `config.k` centroids on every sub-vector of `sub_len` elements; sub-vector `s` draws from stream (main, `s`) of `seed`.
    ///
    /// # Errors
    ///
    /// As [`kmeans`].
    ///
    /// # Panics
    ///
    /// When `sub_len` does not divide the length of the points.
    pub fn train(
        x: Points<'_>,
        sub_len: usize,
        config: &KMeansConfig,
        seed: u64,
        control: &Control<'_>,
    ) -> Result<Self, KMeansError> {
        assert!(sub_len > 0 && x.v().is_multiple_of(sub_len), "sub-vectors must divide a vector");
        let train = |s: usize| {
            let part = part(x, s, sub_len);
            let result = kmeans(Points::new(&part, sub_len), None, config, &mut stream(seed, 0, s), control)?;
            Ok(Codebook::new(result.centroids, sub_len))
        };
        let books: Result<_, KMeansError> = (0..x.v() / sub_len).map(train).collect();
        Ok(ProductQuantizer { books: books? })
    }

    /// The codebooks, first sub-vector first.
    pub fn books(&self) -> &[Codebook] {
        &self.books
    }

    /// Codes `[n, sub-vectors]`.
    ///
    /// # Panics
    ///
    /// When the shapes do not fit.
    pub fn encode_into(&self, x: Points<'_>, numerics: Numerics, out: &mut [u32]) {
        let parts = self.books.len();
        assert_eq!(out.len(), x.n() * parts, "one code a sub-vector");
        let mut codes = vec![0; x.n()];
        for (s, book) in self.books.iter().enumerate() {
            book.assign_into(Points::new(&part(x, s, book.v()), book.v()), numerics, &mut codes);
            for (out, code) in out.iter_mut().skip(s).step_by(parts).zip(&codes) {
                *out = *code;
            }
        }
    }

    /// The vectors of codes `[n, sub-vectors]`.
    ///
    /// # Panics
    ///
    /// When the shapes do not fit, or a code is outside its codebook.
    pub fn decode_into(&self, codes: &[u32], out: &mut [f64]) {
        let v: usize = self.books.iter().map(Codebook::v).sum();
        for (codes, out) in codes.chunks_exact(self.books.len()).zip(out.chunks_exact_mut(v)) {
            let parts = out.chunks_exact_mut(self.books[0].v());
            for ((&code, book), out) in codes.iter().zip(&self.books).zip(parts) {
                out.copy_from_slice(book.centroid(code));
            }
        }
    }
}

fn part(x: Points<'_>, s: usize, sub_len: usize) -> Vec<f64> {
    x.data().chunks_exact(x.v()).flat_map(|x| &x[s * sub_len..][..sub_len]).copied().collect()
}
