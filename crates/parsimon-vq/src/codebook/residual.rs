//! Codebooks on what the ones before leave.

use parsimon_core::Control;
use rayon::prelude::*;

use super::Codebook;
use crate::Metric;
use crate::kmeans::{KMeansConfig, KMeansError, Points, distance, kmeans};
use crate::stream::stream;

/// A sum of one centroid from every stage.
#[derive(Clone, PartialEq, Debug)]
pub struct ResidualQuantizer {
    stages: Vec<Codebook>,
}

impl ResidualQuantizer {
    /// Trains one codebook of each size, stage `s` on the remainders of the k-means before, drawing from stream (`s`, 0) of `seed`.
    ///
    /// # Errors
    ///
    /// As [`kmeans`].
    ///
    /// # Panics
    ///
    /// When `sizes` is empty.
    pub fn train(
        x: Points<'_>,
        sizes: &[usize],
        config: &KMeansConfig,
        seed: u64,
        control: &Control<'_>,
    ) -> Result<Self, KMeansError> {
        assert!(!sizes.is_empty(), "at least one stage");
        let v = x.v();
        let mut rest = x.data().to_vec();
        let mut stages = Vec::with_capacity(sizes.len());
        for (stage, &k) in sizes.iter().enumerate() {
            let config = KMeansConfig { k, ..*config };
            let result = kmeans(Points::new(&rest, v), None, &config, &mut stream(seed, stage, 0), control)?;
            let book = Codebook::new(result.centroids, v);
            for (rest, &code) in rest.chunks_exact_mut(v).zip(&result.assign) {
                rest.iter_mut().zip(book.centroid(code)).for_each(|(rest, c)| *rest -= c);
            }
            stages.push(book);
        }
        Ok(ResidualQuantizer { stages })
    }

    /// The stages, first first.
    pub fn stages(&self) -> &[Codebook] {
        &self.stages
    }

    /// Codes `[n, stages]` by a search that keeps the `beam` best beginnings: of all codes at each stage those of smallest `|x - sum|^2`, and of
    /// equal ones the lexicographically first.
    ///
    /// # Panics
    ///
    /// When the shapes do not fit, or `beam` is 0.
    pub fn encode_into(&self, x: Points<'_>, beam: usize, out: &mut [u32]) {
        let stages = self.stages.len();
        assert!(beam > 0 && x.v() == self.stages[0].v() && out.len() == x.n() * stages, "codes must be [n, stages]");
        let vectors = x.data().par_chunks_exact(x.v()).zip(out.par_chunks_exact_mut(stages));
        vectors.for_each(|(x, out)| out.copy_from_slice(&self.search(x, beam)));
    }

    fn search(&self, x: &[f64], beam: usize) -> Vec<u32> {
        let mut kept = vec![(0.0, Vec::new(), x.to_vec())];
        for book in &self.stages {
            let mut candidates = Vec::with_capacity(kept.len() * book.k());
            for (parent, (_, _, rest)) in kept.iter().enumerate() {
                for code in 0..book.k() as u32 {
                    candidates.push((distance(Metric::L2, rest, book.centroid(code)), parent, code));
                }
            }
            // Parents stand in the order of their codes among equal distances only, so codes themselves are compared.
            candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (&kept[a.1].1, a.2).cmp(&(&kept[b.1].1, b.2))));
            candidates.truncate(beam);
            let extend = |(distance, parent, code): (f64, usize, u32)| {
                let (_, codes, rest): &(f64, Vec<u32>, Vec<f64>) = &kept[parent];
                let codes = codes.iter().copied().chain([code]).collect();
                let rest = rest.iter().zip(book.centroid(code)).map(|(rest, c)| rest - c).collect();
                (distance, codes, rest)
            };
            kept = candidates.into_iter().map(extend).collect();
        }
        kept.swap_remove(0).1
    }

    /// The vectors of codes `[n, stages]`.
    ///
    /// # Panics
    ///
    /// When the shapes do not fit, or a code is outside its codebook.
    pub fn decode_into(&self, codes: &[u32], out: &mut [f64]) {
        let v = self.stages[0].v();
        for (codes, out) in codes.chunks_exact(self.stages.len()).zip(out.chunks_exact_mut(v)) {
            out.fill(0.0);
            for (&code, book) in codes.iter().zip(&self.stages) {
                out.iter_mut().zip(book.centroid(code)).for_each(|(out, c)| *out += c);
            }
        }
    }
}
