//! One pass: encode a column, spread its error over the columns after it, go on.
//!
//! ```text
//! t = column j;  q = decode(encode(t));  E_j = (t - q) / U_jj;  W[:, j+1..] -= E_j U[j, j+1..]        obj = |E|^2
//! ```
//!
//! With this feedback `tr(D Hd D^T) = |E|^2` for the total error `D`, so the objective costs nothing. Rows do not meet: strips of rows run in
//! parallel, cut at the same places for any number of threads. Within 128 columns errors are spread one by one, to those after as a product.

use std::ops::Range;

use parsimon_simd::Level;
use rayon::prelude::*;

use super::prepare::Prepared;
use super::{Books, Codes, VptqConfig};
use crate::FloatType;
use crate::kernel::assign::{Lookup, Real, distance_from_sum};
use crate::scalar::{spread, spread_block};

/// Rows of a strip, about.
const ROWS: usize = 256;

pub(super) struct Pass {
    /// What was encoded: the columns with the errors of those before, `[k][m]`.
    pub(super) targets: Vec<f64>,
    pub(super) codes: Codes,
    pub(super) obj: f64,
}

/// Encodes the vectors of columns with one codebook, or two.
struct Encoder<T> {
    main: Lookup<T>,
    residual: Option<Lookup<T>>,
    /// What the codes decode to, `f64`.
    main_values: Vec<f64>,
    residual_values: Vec<f64>,
    v: usize,
    beam: usize,
    level: Level,
}

/// Buffers of an [`Encoder`].
#[derive(Default)]
struct Scratch<T> {
    x: Vec<T>,
    rest: Vec<T>,
    candidates: Vec<u32>,
    second: Vec<u32>,
}

impl<T: Real> Encoder<T> {
    fn new(main: &[f64], residual: Option<&[f64]>, v: usize, beam: usize) -> Self {
        Encoder {
            main: Lookup::new(main, v),
            residual: residual.map(|residual| Lookup::new(residual, v)),
            main_values: main.to_vec(),
            residual_values: residual.unwrap_or_default().to_vec(),
            v,
            beam: beam.min(main.len() / v),
            level: Level::best(),
        }
    }

    /// The codes of a column: the nearest centroid, or of the `beam` nearest the one whose sum with its best residual is nearest.
    fn encode(&self, column: &[f64], scratch: &mut Scratch<T>, main: &mut [u16], residual: &mut [u16]) {
        let (n, v) = (main.len(), self.v);
        let Scratch { x, rest, candidates, second } = scratch;
        x.clear();
        x.extend(column.iter().map(|&w| T::from_f64(w)));
        x.resize(n * v, T::default());
        let Some(book) = &self.residual else {
            candidates.resize(n, 0);
            self.main.nearest_into(self.level, x, candidates);
            main.iter_mut().zip(candidates).for_each(|(code, c)| *code = *c as u16);
            return;
        };
        let b = self.beam;
        candidates.resize(n * b, 0);
        match b {
            1 => self.main.nearest_into(self.level, x, candidates),
            _ => self.main.several_nearest_into(self.level, x, b, candidates),
        }
        rest.clear();
        for (i, &c) in candidates.iter().enumerate() {
            let x = &x[i / b * v..][..v];
            rest.extend(x.iter().zip(self.main.centroid(c as usize)).map(|(&x, &c)| x.minus(c)));
        }
        second.resize(n * b, 0);
        book.nearest_into(self.level, rest, second);
        for (i, (main, residual)) in main.iter_mut().zip(residual).enumerate() {
            let x = &x[i * v..][..v];
            let mut best = (T::INFINITY, candidates[i * b], second[i * b]);
            for (&c, &r) in candidates[i * b..][..b].iter().zip(&second[i * b..][..b]) {
                let distance = distance_from_sum(x, self.main.centroid(c as usize), book.centroid(r as usize));
                if distance < best.0 {
                    best = (distance, c, r);
                }
            }
            (*main, *residual) = (best.1 as u16, best.2 as u16);
        }
    }

    /// What codes stand for, with sums rounded to `float` where it is given; rows beyond the column are dropped.
    fn decode_into(&self, main: &[u16], residual: &[u16], float: Option<FloatType>, out: &mut [f64]) {
        let v = self.v;
        for (i, out) in out.chunks_mut(v).enumerate() {
            let centroid = &self.main_values[usize::from(main[i]) * v..][..v];
            out.iter_mut().zip(centroid).for_each(|(out, c)| *out = *c);
            if self.residual.is_none() {
                continue;
            }
            let centroid = &self.residual_values[usize::from(residual[i]) * v..][..v];
            for (out, c) in out.iter_mut().zip(centroid) {
                *out += c;
                *out = float.map_or(*out, |float| float.round(*out));
            }
        }
    }
}

/// The encoders of all columns.
struct Encoders<T> {
    outlier: Option<Encoder<T>>,
    groups: Vec<Encoder<T>>,
}

impl<T: Real> Encoders<T> {
    fn new(books: &Books, config: &VptqConfig) -> Self {
        let outlier = books.outlier.as_ref().zip(config.outlier.as_ref());
        let group = |(g, main): (usize, &Vec<f64>)| {
            Encoder::new(main, books.residual.get(g).map(Vec::as_slice), config.vector_len, config.beam)
        };
        Encoders {
            outlier: outlier.map(|(book, outlier)| Encoder::new(book, None, outlier.vector_len, 1)),
            groups: books.main.iter().enumerate().map(group).collect(),
        }
    }
}

/// Runs a pass. With `float`, sums of two centroids are rounded as the file decodes them.
pub(super) fn run<T: Real>(prepared: &Prepared, books: &Books, config: &VptqConfig, float: Option<FloatType>) -> Pass {
    let encoders = Encoders::<T>::new(books, config);
    let (m, k) = (prepared.m, prepared.k);
    let v0 = config.outlier.as_ref().filter(|_| prepared.outliers > 0).map_or(1, |outlier| outlier.vector_len);
    let unit = lcm(config.vector_len, v0);
    let strip = unit * (ROWS / unit).max(1);
    let starts: Vec<usize> = (0..m).step_by(strip).collect();
    let strips = starts.par_iter().map(|&start| {
        let rows = start..(start + strip).min(m);
        Strip::new(prepared, config, rows, books.residual.is_empty()).run(prepared, &encoders, config, float)
    });
    let strips: Vec<Strip> = strips.collect();

    let mut pass = Pass { targets: vec![0.0; k * m], codes: Codes::default(), obj: 0.0 };
    pass.obj = crate::chunks::sum(strips.iter().map(|strip| strip.obj));
    for strip in &strips {
        for (to, from) in pass.targets.chunks_exact_mut(m).zip(strip.columns.chunks_exact(strip.rows.len())) {
            to[strip.rows.clone()].copy_from_slice(from);
        }
    }
    let join = |columns: usize, part: fn(&Strip) -> &[u16]| {
        let of_column = |c: usize| {
            strips.iter().flat_map(move |strip| {
                let n = part(strip).len() / columns.max(1);
                &part(strip)[c * n..][..n]
            })
        };
        (0..columns).flat_map(of_column).copied().collect()
    };
    pass.codes = Codes {
        main: join(k, |strip| &strip.codes.main),
        residual: join(k, |strip| &strip.codes.residual),
        outlier: join(prepared.outliers, |strip| &strip.codes.outlier),
    };
    pass
}

/// Some rows of all columns.
struct Strip {
    rows: Range<usize>,
    /// `[k][rows]`: still to encode, or what was encoded.
    columns: Vec<f64>,
    codes: Codes,
    obj: f64,
}

impl Strip {
    fn new(prepared: &Prepared, config: &VptqConfig, rows: Range<usize>, main_only: bool) -> Self {
        let columns = prepared.columns.chunks_exact(prepared.m).flat_map(|column| &column[rows.clone()]);
        let blocks = rows.len().div_ceil(config.vector_len);
        let outlier_blocks = config.outlier.as_ref().map_or(0, |outlier| rows.len().div_ceil(outlier.vector_len));
        Strip {
            columns: columns.copied().collect(),
            codes: Codes {
                main: vec![0; prepared.k * blocks],
                residual: vec![0; if main_only { 0 } else { prepared.k * blocks }],
                outlier: vec![0; prepared.outliers * outlier_blocks],
            },
            obj: 0.0,
            rows,
        }
    }

    fn run<T: Real>(
        mut self,
        prepared: &Prepared,
        encoders: &Encoders<T>,
        config: &VptqConfig,
        float: Option<FloatType>,
    ) -> Self {
        let (n, k, factor) = (self.rows.len(), prepared.k, &prepared.factor);
        let mut scratch = Scratch { x: Vec::new(), rest: Vec::new(), candidates: Vec::new(), second: Vec::new() };
        let mut decoded = vec![0.0; n];
        for start in (0..k).step_by(config.block) {
            let end = (start + config.block).min(k);
            let mut errors = vec![0.0; (end - start) * n];
            for c in start..end {
                let (column, later) = self.columns[c * n..end * n].split_at_mut(n);
                self.codes.encode_column(c, prepared, encoders, column, &mut scratch, float, &mut decoded);
                let error = &mut errors[(c - start) * n..][..n];
                let diagonal = factor.diagonal(c);
                for ((error, t), q) in error.iter_mut().zip(&*column).zip(&decoded) {
                    *error = (t - q) / diagonal;
                }
                self.obj += error.iter().map(|e| e * e).sum::<f64>();
                if config.feedback {
                    spread(later, n, error, factor.row_after(c));
                }
            }
            if config.feedback {
                spread_block(&mut self.columns[end * n..], n, &errors, factor, start..end);
            }
        }
        self
    }
}

impl Codes {
    #[allow(clippy::too_many_arguments, reason = "the buffers of the one caller's loop")]
    fn encode_column<T: Real>(
        &mut self,
        c: usize,
        prepared: &Prepared,
        encoders: &Encoders<T>,
        column: &[f64],
        scratch: &mut Scratch<T>,
        float: Option<FloatType>,
        decoded: &mut [f64],
    ) {
        if c < prepared.outliers {
            let encoder = encoders.outlier.as_ref().expect("outlier columns come with a codebook");
            let n = column.len().div_ceil(encoder.v);
            let codes = &mut self.outlier[c * n..][..n];
            encoder.encode(column, scratch, codes, &mut []);
            encoder.decode_into(codes, &[], None, decoded);
            return;
        }
        let encoder = &encoders.groups[(c - prepared.outliers) / prepared.group_size];
        let n = column.len().div_ceil(encoder.v);
        let main = &mut self.main[c * n..][..n];
        let residual = if self.residual.is_empty() { &mut [][..] } else { &mut self.residual[c * n..][..n] };
        encoder.encode(column, scratch, main, residual);
        encoder.decode_into(main, residual, float, decoded);
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b) * b
}
