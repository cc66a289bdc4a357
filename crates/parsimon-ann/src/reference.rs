//! Exact search by looking at everything: ground truth, and the oracle of the tests.

use rayon::prelude::*;

use crate::io::{GroundTruth, VectorFile};
use crate::space::Query;
use crate::{AnnError, Neighbor, Space, VectorId};

/// The nearest `k` of `rows` (id and vector) to a query, nearest first, ties by id.
///
/// # Errors
///
/// What is wrong with a vector or the query.
pub fn nearest<'a>(
    space: &Space,
    rows: impl Iterator<Item = (VectorId, &'a [u8])>,
    query: &[u8],
    k: usize,
) -> Result<Vec<Neighbor>, AnnError> {
    let mut prepared = Query::default();
    space.query_into(query, &mut prepared)?;
    let mut all = Vec::new();
    let mut row = Vec::new();
    for (id, vector) in rows {
        row.clear();
        space.push_row(0, vector, &mut row)?;
        let mut distance = 0.0;
        space.scan_results(&prepared, &row[..space.row_bytes()], space.stride(), |_, d| distance = d);
        all.push(Neighbor { id, distance });
    }
    all.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.id.cmp(&b.id)));
    all.truncate(k);
    Ok(all)
}

/// The true nearest `k` of the first `n` vectors to every query, on all threads; row numbers are ids.
///
/// # Errors
///
/// What is wrong with a vector or a query.
pub fn ground_truth(
    space: &Space,
    vectors: &VectorFile,
    queries: &VectorFile,
    k: usize,
) -> Result<GroundTruth, AnnError> {
    if queries.dim() != vectors.dim() {
        return Err(AnnError::Shape { what: "elements of a query", expected: vectors.dim(), actual: queries.dim() });
    }
    let k = k.min(vectors.len());
    let one = |q: usize| {
        let rows = (0..vectors.len()).map(|i| (VectorId(i as u64), vectors.row(i)));
        nearest(space, rows, queries.row(q), k)
    };
    let found: Vec<Vec<Neighbor>> = (0..queries.len()).into_par_iter().map(one).collect::<Result<_, _>>()?;
    Ok(GroundTruth {
        k,
        ids: found.iter().flatten().map(|n| n.id.0 as u32).collect(),
        distances: found.iter().flatten().map(|n| n.distance).collect(),
    })
}
