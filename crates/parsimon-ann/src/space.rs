//! Where vectors live: dimension, element type and metric, and the distances between stored rows.
//!
//! A *row* is a vector as it is stored: normalised for the cosine of float types, and with one more coordinate `sqrt(M^2 - |x|^2)` for
//! the inner product, which makes the largest inner product the smallest Euclidean distance (a query's coordinate is 0). The index
//! distance, by which heads and postings are chosen, is always a metric's: squared L2, or `1 - cos`. Results carry the user's distance.

use parsimon_simd::Level;

use crate::kernel::{self, Rows, Sums, Wide};
use crate::{AnnError, Element, Metric};

/// Dimension, element type and metric of an index.
#[derive(Clone, PartialEq, Debug)]
pub struct Space {
    metric: Metric,
    element: Element,
    dim: usize,
    /// The bound `M` of norms, for [`Metric::InnerProduct`].
    max_norm: Option<f32>,
    level: Level,
}

/// A query widened for the kernels.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    wide: Wide,
    /// `|q|^2`.
    norm: f64,
}

impl Default for Query {
    fn default() -> Self {
        Query { wide: Wide::Int(Vec::new()), norm: 0.0 }
    }
}

/// Bytes of a row at most.
pub const ROW_BYTES_MAX: usize = 65_536;

impl Space {
    /// A space of `dim` elements; `max_norm` is the bound of norms that [`Metric::InnerProduct`] needs.
    ///
    /// # Errors
    ///
    /// [`AnnError::InvalidParam`] when a row would not be 1 to [`ROW_BYTES_MAX`] bytes, for the inner product of integers, and for
    /// the inner product without a positive bound.
    pub fn new(metric: Metric, element: Element, dim: usize, max_norm: Option<f32>) -> Result<Space, AnnError> {
        let max_norm = max_norm.filter(|_| metric == Metric::InnerProduct);
        let space = Space { metric, element, dim, max_norm, level: Level::best() };
        if dim == 0 || space.row_dim() * element.size() > ROW_BYTES_MAX {
            return Err(AnnError::param("dim", dim, "a row must have 1 to 65536 bytes"));
        }
        if metric == Metric::InnerProduct {
            if element.is_integer() {
                return Err(AnnError::param("metric", "ip", "the inner product takes f32, f16 or bf16"));
            }
            if !max_norm.is_some_and(|bound| bound > 0.0 && bound.is_finite()) {
                return Err(AnnError::param("max_norm", format!("{max_norm:?}"), "the inner product needs a bound"));
            }
        }
        Ok(space)
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The type of elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The bound of norms, for the inner product.
    pub fn max_norm(&self) -> Option<f32> {
        self.max_norm
    }

    /// Elements of a stored row.
    pub fn row_dim(&self) -> usize {
        self.dim + usize::from(self.metric == Metric::InnerProduct)
    }

    /// Bytes of a vector.
    pub fn vector_bytes(&self) -> usize {
        self.dim * self.element.size()
    }

    /// Bytes of a stored row, without padding.
    pub fn row_bytes(&self) -> usize {
        self.row_dim() * self.element.size()
    }

    /// Bytes from row to row: a multiple of 16.
    pub fn stride(&self) -> usize {
        self.row_bytes().next_multiple_of(16)
    }

    /// Appends the stored row of `vector`, padded to the stride.
    ///
    /// # Errors
    ///
    /// What is wrong with the vector, with `row` as its place in the batch.
    pub(crate) fn push_row(&self, row: usize, vector: &[u8], out: &mut Vec<u8>) -> Result<(), AnnError> {
        self.check(row, vector)?;
        let begin = out.len();
        if self.element.is_integer() {
            out.extend(vector);
            if self.metric == Metric::Cosine && vector.iter().all(|&b| b == 0) {
                out.truncate(begin);
                return Err(AnnError::InvalidVector { row, why: "it is zero, and cosine needs a direction".into() });
            }
        } else {
            let mut values = self.element.decode(vector);
            let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
            match self.metric {
                Metric::L2 => out.extend(vector),
                Metric::Cosine => {
                    if norm == 0.0 {
                        return Err(AnnError::InvalidVector {
                            row,
                            why: "it is zero, and cosine needs a direction".into(),
                        });
                    }
                    let scale = norm.sqrt().recip();
                    values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
                    out.extend(self.element.encode(&values));
                }
                Metric::InnerProduct => {
                    let bound = f64::from(self.max_norm.expect("the inner product has a bound"));
                    if norm > bound * bound * (1.0 + 1e-6) {
                        return Err(AnnError::InvalidVector {
                            row,
                            why: format!("its norm {} exceeds the bound {bound}", norm.sqrt()),
                        });
                    }
                    out.extend(vector);
                    out.extend(self.element.encode(&[(bound * bound - norm).max(0.0).sqrt() as f32]));
                }
            }
        }
        out.resize(begin + self.stride(), 0);
        Ok(())
    }

    fn check(&self, row: usize, vector: &[u8]) -> Result<(), AnnError> {
        if vector.len() != self.vector_bytes() {
            return Err(AnnError::Shape {
                what: "bytes of a vector",
                expected: self.vector_bytes(),
                actual: vector.len(),
            });
        }
        if self.element.is_integer() {
            return Ok(());
        }
        match self.element.decode(vector).iter().position(|v| !v.is_finite()) {
            Some(at) => Err(AnnError::InvalidVector { row, why: format!("element {at} is not finite") }),
            None => Ok(()),
        }
    }

    /// Prepares a user's query, whose row goes through the same normalisation.
    pub(crate) fn query_into(&self, vector: &[u8], query: &mut Query) -> Result<(), AnnError> {
        self.check(0, vector)?;
        match self.metric {
            Metric::InnerProduct => {
                let mut row = vector.to_vec();
                row.resize(self.row_bytes(), 0);
                self.row_query_into(&row, query);
            }
            Metric::Cosine => {
                let mut row = Vec::new();
                self.push_row(0, vector, &mut row)?;
                self.row_query_into(&row, query);
            }
            Metric::L2 => self.row_query_into(vector, query),
        }
        Ok(())
    }

    /// Prepares a stored row as a query.
    pub(crate) fn row_query_into(&self, row: &[u8], query: &mut Query) {
        self.element.widen_into(&row[..self.row_bytes()], &mut query.wide);
        query.norm = match (&query.wide, self.metric) {
            (Wide::Int(words), Metric::Cosine) => words.iter().map(|&w| f64::from(w) * f64::from(w)).sum(),
            _ => 0.0,
        };
    }

    /// As [`Space::row_query_into`], in new memory.
    pub(crate) fn row_query(&self, row: &[u8]) -> Query {
        let mut query = Query::default();
        self.row_query_into(row, &mut query);
        query
    }

    /// Calls `each(i, distance)` with the index distance of every row, in order.
    pub(crate) fn scan(&self, query: &Query, rows: &[u8], stride: usize, mut each: impl FnMut(usize, f32)) {
        let rows = Rows { bytes: rows, stride, element: self.element };
        match self.metric {
            Metric::L2 | Metric::InnerProduct => {
                kernel::scan(self.level, Sums::Squares, &query.wide, rows, |i, sum, _| each(i, sum as f32));
            }
            Metric::Cosine if self.element.is_integer() => {
                kernel::scan(self.level, Sums::ProductsAndNorm, &query.wide, rows, |i, sum, norm| {
                    each(i, (1.0 - sum / (norm * query.norm).sqrt()).max(0.0) as f32);
                });
            }
            Metric::Cosine => {
                kernel::scan(self.level, Sums::Products, &query.wide, rows, |i, sum, _| {
                    each(i, (1.0 - sum).max(0.0) as f32)
                });
            }
        }
    }

    /// Calls `each(i, distance)` with the distance that users see: differs from [`Space::scan`] for the inner product alone.
    pub(crate) fn scan_results(&self, query: &Query, rows: &[u8], stride: usize, mut each: impl FnMut(usize, f32)) {
        if self.metric != Metric::InnerProduct {
            return self.scan(query, rows, stride, each);
        }
        let rows = Rows { bytes: rows, stride, element: self.element };
        // The query's extra coordinate is 0, so the product over the whole row is the product of the vectors.
        kernel::scan(self.level, Sums::Products, &query.wide, rows, |i, sum, _| each(i, -sum as f32));
    }

    /// The index distance of a query and one row.
    pub(crate) fn distance(&self, query: &Query, row: &[u8]) -> f32 {
        let rows = Rows { bytes: &row[..self.row_bytes()], stride: self.stride(), element: self.element };
        let one = |sums| kernel::one(self.level, sums, &query.wide, rows);
        match self.metric {
            Metric::L2 | Metric::InnerProduct => one(Sums::Squares).0 as f32,
            Metric::Cosine if self.element.is_integer() => {
                let (sum, norm) = one(Sums::ProductsAndNorm);
                (1.0 - sum / (norm * query.norm).sqrt()).max(0.0) as f32
            }
            Metric::Cosine => (1.0 - one(Sums::Products).0).max(0.0) as f32,
        }
    }

    /// What a factor on the plain distance is on the index distance.
    pub(crate) fn factor(&self, plain: f32) -> f32 {
        if self.metric == Metric::Cosine { plain } else { plain * plain }
    }
}
