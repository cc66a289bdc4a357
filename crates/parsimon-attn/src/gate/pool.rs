//! Pooling over blocks of positions (PAPER(seerattention §3.1)).

use super::Real;
use crate::Grid;

/// One pooling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pool {
    /// The largest number.
    Max,
    /// The smallest number.
    Min,
    /// The mean over the real positions.
    Avg,
}

/// Poolings whose results stand behind each other: max, min, avg, in this order, or some of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pooling(Vec<Pool>);

impl Pooling {
    /// The poolings of a name like `maxminavg`; `None` for any other, and for another order.
    pub fn from_name(name: &str) -> Option<Pooling> {
        let mut rest = name;
        let mut pools = Vec::new();
        for (prefix, pool) in [("max", Pool::Max), ("min", Pool::Min), ("avg", Pool::Avg)] {
            if let Some(tail) = rest.strip_prefix(prefix) {
                pools.push(pool);
                rest = tail;
            }
        }
        (rest.is_empty() && !pools.is_empty()).then_some(Pooling(pools))
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name, as files spell it.
    pub fn name(&self) -> String {
        self.0.iter().map(|pool| ["max", "min", "avg"][*pool as usize]).collect()
    }

    /// Pools rows `[t, d]` that lie `stride` numbers apart into `out [d * len]`.
    fn rows_into<R: Real>(&self, rows: &[R], stride: usize, d: usize, out: &mut [R]) {
        for (pool, out) in self.0.iter().zip(out.chunks_exact_mut(d)) {
            let mut rows = rows.chunks(stride).map(|row| &row[..d]);
            let n = rows.len();
            let Some(first) = rows.next() else { continue };
            out.copy_from_slice(first);
            for row in rows {
                for (out, &x) in out.iter_mut().zip(row) {
                    *out = match pool {
                        // A NaN stays.
                        Pool::Max if x > *out || x.is_nan() => x,
                        Pool::Min if x < *out || x.is_nan() => x,
                        Pool::Avg => *out + x,
                        Pool::Max | Pool::Min => *out,
                    };
                }
            }
            if *pool == Pool::Avg {
                out.iter_mut().for_each(|out| *out = *out / R::of(n as f64));
            }
        }
    }
}

/// Pools rows `[t, heads, d]` over the blocks of a grid: `[n_blk, heads, d * pools]`. A block that is not whole pools what it has.
pub fn pool_blocks<R: Real>(rows: &[R], (heads, d): (usize, usize), grid: Grid, pooling: &Pooling) -> Vec<R> {
    let (stride, width) = (heads * d, d * pooling.len());
    let t = rows.len() / stride;
    let mut out = vec![R::ZERO; grid.blocks(t) * heads * width];
    for (block, out) in out.chunks_exact_mut(heads * width).enumerate() {
        let range = grid.range(block, t);
        for (head, out) in out.chunks_exact_mut(width).enumerate() {
            pooling.rows_into(&rows[range.start * stride + head * d..range.end * stride], stride, d, out);
        }
    }
    out
}
