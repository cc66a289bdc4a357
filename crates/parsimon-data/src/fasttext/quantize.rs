//! Quantizing the input matrix: rows as product codes, their norms apart.

use super::FastText;
use super::matrix::{CENTROIDS, Matrix, Norms, Quantizer};

/// How a model is made small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuantizeOptions {
    /// Columns that share a code.
    pub dsub: usize,
    /// Rounds of k-means.
    pub rounds: usize,
    /// Whether norms are quantized apart from directions.
    pub norms: bool,
}

impl Default for QuantizeOptions {
    fn default() -> QuantizeOptions {
        QuantizeOptions { dsub: 2, rounds: 25, norms: true }
    }
}

/// Rows that k-means looks at, at most.
const SAMPLE: usize = 65_536;

impl FastText {
    /// The model with its input rows as codes, about a tenth as large. A quantized model stays as it is.
    pub fn quantize(&self, options: &QuantizeOptions) -> FastText {
        let Matrix::Dense { n, values } = &self.input else { return self.clone() };
        let mut rows = values.clone();
        let mut norms = Vec::with_capacity(values.len() / n);
        if options.norms {
            for row in rows.chunks_exact_mut(*n) {
                let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                if norm > 0.0 {
                    row.iter_mut().for_each(|x| *x /= norm);
                }
                norms.push(norm);
            }
        }
        let (quantizer, codes) = quantize(&rows, *n, options.dsub.clamp(1, *n), options.rounds);
        let norms = options.norms.then(|| {
            let (quantizer, codes) = quantize(&norms, 1, 1, options.rounds);
            Norms { codes, quantizer }
        });
        let input = Matrix::Quantized { m: values.len() / n, codes, quantizer, norms };
        FastText { input, ..self.clone() }
    }
}

/// The quantizer of rows of `dim` columns, and every row's codes.
fn quantize(rows: &[f32], dim: usize, dsub: usize, rounds: usize) -> (Quantizer, Vec<u8>) {
    let n_rows = rows.len() / dim;
    let n_parts = dim.div_ceil(dsub);
    let mut quantizer = Quantizer { dim, dsub, centroids: Vec::with_capacity(dim * CENTROIDS) };
    let mut codes = vec![0; n_rows * n_parts];
    for part in 0..n_parts {
        let columns = part * dsub..dim.min((part + 1) * dsub);
        let points: Vec<&[f32]> = rows.chunks_exact(dim).map(|row| &row[columns.clone()]).collect();
        let centroids = kmeans(&points, columns.len(), rounds);
        for (row, point) in points.iter().enumerate() {
            codes[row * n_parts + part] = nearest(&centroids, point) as u8;
        }
        quantizer.centroids.extend(centroids);
    }
    (quantizer, codes)
}

/// 256 centroids of evenly sampled points; one that loses all its points takes the place of the point farthest from its own.
fn kmeans(points: &[&[f32]], width: usize, rounds: usize) -> Vec<f32> {
    let stride = points.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<&[f32]> = points.iter().step_by(stride).copied().collect();
    let mut centroids: Vec<f32> = Vec::with_capacity(CENTROIDS * width);
    for at in 0..CENTROIDS {
        match sample.get(at * sample.len() / CENTROIDS) {
            Some(point) => centroids.extend_from_slice(point),
            None => centroids.extend(std::iter::repeat_n(0.0, width)),
        }
    }
    for _ in 0..rounds {
        let (mut sums, mut counts) = (vec![0.0f64; CENTROIDS * width], vec![0u32; CENTROIDS]);
        let mut farthest = (0.0, 0);
        for (at, point) in sample.iter().enumerate() {
            let code = nearest(&centroids, point);
            counts[code] += 1;
            let away = distance(&centroids[code * width..][..width], point);
            if away > farthest.0 {
                farthest = (away, at);
            }
            sums[code * width..][..width].iter_mut().zip(*point).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        for (code, &count) in counts.iter().enumerate() {
            let centroid = &mut centroids[code * width..][..width];
            if count > 0 {
                let sums = &sums[code * width..][..width];
                centroid.iter_mut().zip(sums).for_each(|(x, sum)| *x = (sum / f64::from(count)) as f32);
            } else if farthest.0 > 0.0 {
                centroid.copy_from_slice(sample[farthest.1]);
                farthest.0 = 0.0;
            }
        }
    }
    centroids
}

fn nearest(centroids: &[f32], point: &[f32]) -> usize {
    let (mut best, mut least) = (0, f32::INFINITY);
    for (code, centroid) in centroids.chunks_exact(point.len()).enumerate() {
        let away = distance(centroid, point);
        if away < least {
            (best, least) = (code, away);
        }
    }
    best
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
