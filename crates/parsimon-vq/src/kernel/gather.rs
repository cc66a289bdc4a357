//! Products by fetching centroids: for every code one load of its centroid and a multiply-add with the activation of its column. Exact in `f32`,
//! for any number of centroids and any vector length.
//!
//! Several row blocks share each activation, and several tokens each fetched vector. One portable body, compiled for every level.

use parsimon_simd::{Level, Vectorize, vectorize};

use super::Rows;

/// Row blocks that run together.
const BLOCKS: usize = 4;

/// Codes `[blocks][columns]` in the smallest type that holds them.
#[derive(Clone, Debug)]
pub(crate) enum Plane {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Plane {
    pub(crate) fn new(codes: impl Iterator<Item = u16>, centroids: usize) -> Self {
        if centroids <= 256 {
            Plane::Bytes(codes.map(|code| code as u8).collect())
        } else {
            Plane::Words(codes.collect())
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Plane::Bytes(codes) => codes.len(),
            Plane::Words(codes) => 2 * codes.len(),
        }
    }
}

/// A code type.
pub(crate) trait Code: Copy + Sync + Send {
    fn idx(self) -> usize;
}

impl Code for u8 {
    #[inline(always)]
    fn idx(self) -> usize {
        usize::from(self)
    }
}

impl Code for u16 {
    #[inline(always)]
    fn idx(self) -> usize {
        usize::from(self)
    }
}

/// Codebooks of one plane, `[groups][K][v]`.
#[derive(Clone, Copy)]
pub(crate) struct Book<'a> {
    pub(crate) centroids: &'a [f32],
    pub(crate) plane: &'a Plane,
}

/// Adds the products of some row blocks: `out [blocks * v][n]` of activations `xs [n][columns]`, which are in the order of codes.
pub(crate) fn add(level: Level, v: usize, group_size: usize, book: Book<'_>, rows: &mut Rows<'_>) {
    match book.plane {
        Plane::Bytes(codes) => vectorize(level, Gather { v, group_size, centroids: book.centroids, codes, rows }),
        Plane::Words(codes) => vectorize(level, Gather { v, group_size, centroids: book.centroids, codes, rows }),
    }
}

struct Gather<'a, 'b, C> {
    v: usize,
    group_size: usize,
    centroids: &'a [f32],
    codes: &'a [C],
    rows: &'a mut Rows<'b>,
}

impl<C: Code> Vectorize for Gather<'_, '_, C> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.v {
            2 => self.of_len::<FMA, 2>(),
            4 => self.of_len::<FMA, 4>(),
            6 => self.of_len::<FMA, 6>(),
            8 => self.of_len::<FMA, 8>(),
            12 => self.of_len::<FMA, 12>(),
            16 => self.of_len::<FMA, 16>(),
            _ => self.of_any_len(),
        }
    }
}

impl<C: Code> Gather<'_, '_, C> {
    /// Centroids of a group.
    fn book<const V: usize>(&self, g: usize) -> &[[f32; V]] {
        let (books, _) = self.centroids.as_chunks::<V>();
        let groups = self.rows.columns / self.group_size;
        let k = books.len() / groups;
        &books[g * k..][..k]
    }

    #[inline(always)]
    fn of_len<const FMA: bool, const V: usize>(mut self) {
        let blocks = self.rows.blocks.len();
        let mut first = 0;
        while first + BLOCKS <= blocks {
            self.tokens::<FMA, V, BLOCKS>(first);
            first += BLOCKS;
        }
        for block in first..blocks {
            self.tokens::<FMA, V, 1>(block);
        }
    }

    #[inline(always)]
    fn tokens<const FMA: bool, const V: usize, const B: usize>(&mut self, first: usize) {
        let n = self.rows.n;
        let mut token = 0;
        while token + 4 <= n {
            self.block::<FMA, V, B, 4>(first, token);
            token += 4;
        }
        while token < n {
            self.block::<FMA, V, B, 1>(first, token);
            token += 1;
        }
    }

    #[inline(always)]
    fn block<const FMA: bool, const V: usize, const B: usize, const N: usize>(&mut self, first: usize, token: usize) {
        let (columns, gs) = (self.rows.columns, self.group_size);
        let mut sums = [[[0.0f32; V]; N]; B];
        for g in 0..columns / gs {
            let book = self.book::<V>(g);
            let codes: [&[C]; B] =
                std::array::from_fn(|b| &self.codes[(self.rows.blocks.start + first + b) * columns + g * gs..][..gs]);
            let x: [&[f32]; N] = std::array::from_fn(|t| &self.rows.xs[(token + t) * columns + g * gs..][..gs]);
            for c in 0..gs {
                for b in 0..B {
                    let centroid = &book[codes[b][c].idx()];
                    for (sums, x) in sums[b].iter_mut().zip(&x) {
                        for t in 0..V {
                            sums[t] =
                                if FMA { centroid[t].mul_add(x[c], sums[t]) } else { sums[t] + centroid[t] * x[c] };
                        }
                    }
                }
            }
        }
        let n = self.rows.n;
        for (b, sums) in sums.iter().enumerate() {
            for (i, sums) in sums.iter().enumerate() {
                for (t, sum) in sums.iter().enumerate() {
                    self.rows.out[((first + b) * V + t) * n + token + i] += sum;
                }
            }
        }
    }

    fn of_any_len(self) {
        let (columns, gs, v, n) = (self.rows.columns, self.group_size, self.v, self.rows.n);
        let k = self.centroids.len() / v / (columns / gs);
        for (r, block) in self.rows.blocks.clone().enumerate() {
            for token in 0..n {
                let mut sums = vec![0.0f32; v];
                for c in 0..columns {
                    let code = c / gs * k + self.codes[block * columns + c].idx();
                    let x = self.rows.xs[token * columns + c];
                    for (sum, centroid) in sums.iter_mut().zip(&self.centroids[code * v..][..v]) {
                        *sum += centroid * x;
                    }
                }
                for (t, sum) in sums.iter().enumerate() {
                    self.rows.out[(r * v + t) * n + token] += sum;
                }
            }
        }
    }
}
