//! The nearest centroids of many vectors: a matrix product whose sums are compared as they come.
//!
//! Vectors stand in lanes: a tile of [`LANES`] vectors is transposed once, then every centroid is broadcast against it. With
//! `score(i, c) = |C_c|^2 / 2 - x_i C_c` the half norms start the sums, and each lane keeps its smallest score with strict `<`, so the lowest
//! index wins a tie and a NaN never wins. One body serves `f32` (fast) and `f64` (exact), compiled for every level by [`vectorize`].

use parsimon_simd::{Level, Vectorize, vectorize};

/// Vectors of a tile.
const LANES: usize = 32;

/// A float type that scores are computed in.
pub(crate) trait Real: Copy + PartialOrd + Default + Send + Sync + 'static {
    const INFINITY: Self;
    fn from_f64(value: f64) -> Self;
    /// `self - a b`
    fn minus_product<const FMA: bool>(self, a: Self, b: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    /// `self + a^2`
    fn plus_square(self, a: Self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            const INFINITY: Self = <$float>::INFINITY;
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn minus_product<const FMA: bool>(self, a: Self, b: Self) -> Self {
                if FMA { (-a).mul_add(b, self) } else { self - a * b }
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn plus_square(self, a: Self) -> Self {
                self + a * a
            }
        }
    };
}
real!(f32);
real!(f64);

/// Centroids `[n, v]` with half their squared norms.
#[derive(Clone, Debug)]
pub(crate) struct Lookup<T> {
    centroids: Vec<T>,
    half_norms: Vec<T>,
    v: usize,
}

impl<T: Real> Lookup<T> {
    pub(crate) fn new(centroids: &[f64], v: usize) -> Self {
        let half_norm = |c: &[f64]| T::from_f64(0.5 * crate::chunks::sum(c.iter().map(|c| c * c)));
        Lookup {
            centroids: centroids.iter().map(|&c| T::from_f64(c)).collect(),
            half_norms: centroids.chunks_exact(v).map(half_norm).collect(),
            v,
        }
    }

    pub(crate) fn centroid(&self, c: usize) -> &[T] {
        &self.centroids[c * self.v..][..self.v]
    }

    /// The nearest centroid of every vector of `x [n, v]`.
    pub(crate) fn nearest_into(&self, level: Level, x: &[T], out: &mut [u32]) {
        assert_eq!(x.len(), out.len() * self.v, "one index a vector");
        vectorize(level, Nearest { lookup: self, x, out });
    }

    /// The `b` nearest centroids of every vector, nearest first: `out [n, b]`.
    pub(crate) fn several_nearest_into(&self, level: Level, x: &[T], b: usize, out: &mut [u32]) {
        assert!(b > 0 && b <= self.half_norms.len(), "a beam is at most the codebook");
        assert_eq!(x.len() * b, out.len() * self.v, "b indices a vector");
        vectorize(level, SeveralNearest { lookup: self, x, b, out });
    }
}

struct Nearest<'a, T> {
    lookup: &'a Lookup<T>,
    x: &'a [T],
    out: &'a mut [u32],
}

impl<T: Real> Vectorize for Nearest<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.lookup.v {
            2 => self.tiles::<FMA, 2>(),
            4 => self.tiles::<FMA, 4>(),
            6 => self.tiles::<FMA, 6>(),
            8 => self.tiles::<FMA, 8>(),
            12 => self.tiles::<FMA, 12>(),
            _ => self.tiles::<FMA, 0>(),
        }
    }
}

impl<T: Real> Nearest<'_, T> {
    /// With `V` the vector length where it is a constant, 0 where it is not.
    #[inline(always)]
    fn tiles<const FMA: bool, const V: usize>(self) {
        let v = if V == 0 { self.lookup.v } else { V };
        let mut lanes = vec![[T::default(); LANES]; v];
        for (x, out) in self.x.chunks(LANES * v).zip(self.out.chunks_mut(LANES)) {
            transpose(x, v, &mut lanes);
            let mut best = [T::INFINITY; LANES];
            let mut idx = [0u32; LANES];
            let centroids = self.lookup.centroids.chunks_exact(v).zip(&self.lookup.half_norms);
            for (c, (centroid, &half_norm)) in centroids.enumerate() {
                let score = score::<T, FMA>(half_norm, &lanes[..v], centroid);
                for p in 0..LANES {
                    let closer = score[p] < best[p];
                    best[p] = if closer { score[p] } else { best[p] };
                    idx[p] = if closer { c as u32 } else { idx[p] };
                }
            }
            out.copy_from_slice(&idx[..out.len()]);
        }
    }
}

struct SeveralNearest<'a, T> {
    lookup: &'a Lookup<T>,
    x: &'a [T],
    b: usize,
    out: &'a mut [u32],
}

impl<T: Real> Vectorize for SeveralNearest<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (v, b) = (self.lookup.v, self.b);
        let mut lanes = vec![[T::default(); LANES]; v];
        for (x, out) in self.x.chunks(LANES * v).zip(self.out.chunks_mut(LANES * b)) {
            transpose(x, v, &mut lanes);
            let mut best = vec![[T::INFINITY; LANES]; b];
            let mut idx = vec![[0u32; LANES]; b];
            for (c, (centroid, &half_norm)) in
                self.lookup.centroids.chunks_exact(v).zip(&self.lookup.half_norms).enumerate()
            {
                let score = score::<T, FMA>(half_norm, &lanes, centroid);
                let mut enters = false;
                for p in 0..LANES {
                    enters |= score[p] < best[b - 1][p];
                }
                if enters {
                    insert(score, c as u32, &mut best, &mut idx);
                }
            }
            for (p, out) in out.chunks_exact_mut(b).enumerate() {
                for (out, idx) in out.iter_mut().zip(&idx) {
                    *out = idx[p];
                }
            }
        }
    }
}

/// Puts a score into each lane's ascending list where it is smaller than an entry; what follows moves down.
#[inline(always)]
fn insert<T: Real>(score: [T; LANES], c: u32, best: &mut [[T; LANES]], idx: &mut [[u32; LANES]]) {
    let (mut score, mut c) = (score, [c; LANES]);
    let mut is_in = [false; LANES];
    for (best, idx) in best.iter_mut().zip(idx) {
        for p in 0..LANES {
            is_in[p] |= score[p] < best[p];
            let (old, old_idx) = (best[p], idx[p]);
            best[p] = if is_in[p] { score[p] } else { old };
            idx[p] = if is_in[p] { c[p] } else { old_idx };
            score[p] = if is_in[p] { old } else { score[p] };
            c[p] = if is_in[p] { old_idx } else { c[p] };
        }
    }
}

#[inline(always)]
fn score<T: Real, const FMA: bool>(half_norm: T, lanes: &[[T; LANES]], centroid: &[T]) -> [T; LANES] {
    let mut score = [half_norm; LANES];
    for (lanes, &c) in lanes.iter().zip(centroid) {
        for p in 0..LANES {
            score[p] = score[p].minus_product::<FMA>(lanes[p], c);
        }
    }
    score
}

/// Vectors `x [n, v]` to lanes `[v][LANES]`; lanes beyond `n` keep what they had.
#[inline(always)]
fn transpose<T: Real>(x: &[T], v: usize, lanes: &mut [[T; LANES]]) {
    for (p, x) in x.chunks_exact(v).enumerate() {
        for (lanes, &x) in lanes.iter_mut().zip(x) {
            lanes[p] = x;
        }
    }
}

/// Squared distance of `x` from `y + z`, in the lanes' type.
pub(crate) fn distance_from_sum<T: Real>(x: &[T], y: &[T], z: &[T]) -> T {
    let each = x.iter().zip(y).zip(z);
    each.fold(T::default(), |sum, ((&x, &y), &z)| sum.plus_square(x.minus(y).minus(z)))
}

#[cfg(test)]
mod tests;
