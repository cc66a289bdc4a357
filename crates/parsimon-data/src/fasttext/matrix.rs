//! Matrices of a model: dense, or product-quantized rows.

/// Centroids of a sub-quantizer: codes are bytes.
pub(super) const CENTROIDS: usize = 256;

/// A matrix `[m, n]`.
#[derive(Clone, Debug)]
pub(crate) enum Matrix {
    Dense { n: usize, values: Vec<f32> },
    Quantized { m: usize, codes: Vec<u8>, quantizer: Quantizer, norms: Option<Norms> },
}

/// Norms of rows, quantized apart from their directions.
#[derive(Clone, Debug)]
pub(crate) struct Norms {
    pub(super) codes: Vec<u8>,
    pub(super) quantizer: Quantizer,
}

/// A product quantizer: the vector in parts of `dsub` (the last of what is left), each one of 256 centroids.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Quantizer {
    pub(super) dim: usize,
    pub(super) dsub: usize,
    pub(super) centroids: Vec<f32>,
}

impl Quantizer {
    pub(super) fn n_parts(&self) -> usize {
        self.dim.div_ceil(self.dsub)
    }

    pub(super) fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let width = self.dsub.min(self.dim - part * self.dsub);
        let start = part * CENTROIDS * self.dsub + usize::from(code) * width;
        &self.centroids[start..start + width]
    }
}

impl Matrix {
    pub(super) fn n_rows(&self) -> usize {
        match self {
            Matrix::Dense { n, values } => values.len().checked_div(*n).unwrap_or(0),
            Matrix::Quantized { m, .. } => *m,
        }
    }

    pub(super) fn n_columns(&self) -> usize {
        match self {
            Matrix::Dense { n, .. } => *n,
            Matrix::Quantized { quantizer, .. } => quantizer.dim,
        }
    }

    /// Adds a row to `sum`.
    pub(super) fn add_row(&self, row: usize, sum: &mut [f32]) {
        match self {
            Matrix::Dense { n, values } => {
                sum.iter_mut().zip(&values[row * n..][..*n]).for_each(|(sum, x)| *sum += x);
            }
            Matrix::Quantized { codes, quantizer, norms, .. } => {
                let norm = norms.as_ref().map_or(1.0, |norms| norms.quantizer.centroid(0, norms.codes[row])[0]);
                let n = quantizer.n_parts();
                let parts = sum.chunks_mut(quantizer.dsub).zip(&codes[row * n..][..n]);
                for (part, (sum, &code)) in parts.enumerate() {
                    sum.iter_mut().zip(quantizer.centroid(part, code)).for_each(|(sum, x)| *sum += norm * x);
                }
            }
        }
    }

    /// A row times a vector.
    pub(super) fn dot_row(&self, row: usize, vector: &[f32]) -> f32 {
        match self {
            Matrix::Dense { n, values } => values[row * n..][..*n].iter().zip(vector).map(|(w, x)| w * x).sum(),
            Matrix::Quantized { .. } => {
                let mut values = vec![0.0; vector.len()];
                self.add_row(row, &mut values);
                values.iter().zip(vector).map(|(w, x)| w * x).sum()
            }
        }
    }
}
