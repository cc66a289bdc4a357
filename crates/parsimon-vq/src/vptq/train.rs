//! Codebooks: weighted k-means, then rounds of a pass and a refit of the centroids to what the pass encoded.

use parsimon_core::Control;
use rayon::prelude::*;

use super::pass::{self, Pass};
use super::prepare::{Prepared, vectors};
use super::{Books, ResidualSource, VptqConfig};
use crate::kernel::assign::Real;
use crate::kmeans::{KMeansConfig, KMeansError, Points, kmeans};
use crate::quantizer::{LayerReport, QuantizeError};
use crate::stream::{Stage, layer_seed, stream};

/// Columns that are summed together in a refit: a fixed number, whatever the threads.
const REFIT: usize = 64;

pub(super) fn train<T: Real>(
    prepared: &Prepared,
    config: &VptqConfig,
    name: &str,
    report: &mut LayerReport,
    control: &Control<'_>,
) -> Result<Books, QuantizeError> {
    let mut books = first_books::<T>(prepared, config, name, report, control)?;
    let mut pass = pass::run::<T>(prepared, &books, config, None);
    report.obj.push(pass.obj);
    let mut best = (pass.obj, books.clone());
    for _ in 0..config.em_rounds {
        control.cancel.check()?;
        refit(prepared, config, &pass, &mut books);
        pass = pass::run::<T>(prepared, &books, config, None);
        report.obj.push(pass.obj);
        if pass.obj < best.0 {
            best = (pass.obj, books.clone());
        }
    }
    Ok(best.1)
}

/// Trains books on the vectors of some columns.
struct Trainer<'a> {
    prepared: &'a Prepared,
    config: &'a VptqConfig,
    seed: u64,
    control: &'a Control<'a>,
}

impl Trainer<'_> {
    /// The codebook of vectors `x` of `v` elements, as many of each of `columns`; with the code of each.
    fn book(
        &self,
        x: &[f64],
        (v, k): (usize, usize),
        columns: std::ops::Range<usize>,
        (stage, book): (Stage, usize),
        report: &mut LayerReport,
    ) -> Result<(Vec<f64>, Vec<u32>), KMeansError> {
        let each = x.len() / v / columns.len();
        let weights: Vec<f64> =
            self.prepared.weights[columns].iter().flat_map(|&weight| std::iter::repeat_n(weight, each)).collect();
        let VptqConfig { iters, tol, init, numerics, .. } = *self.config;
        let config = KMeansConfig { iters, tol, init, numerics, ..KMeansConfig::new(k) };
        let mut rng = stream(self.seed, stage as usize, book);
        let result = kmeans(Points::new(x, v), Some(&weights), &config, &mut rng, self.control)?;
        report.kmeans.push(result.report);
        Ok((result.centroids, result.assign))
    }
}

fn first_books<T: Real>(
    prepared: &Prepared,
    config: &VptqConfig,
    name: &str,
    report: &mut LayerReport,
    control: &Control<'_>,
) -> Result<Books, QuantizeError> {
    let trainer = Trainer { prepared, config, seed: layer_seed(config.seed, name), control };
    let (m, v) = (prepared.m, config.vector_len);
    let of_columns =
        |columns: &[f64], range: std::ops::Range<usize>, v| vectors(&columns[range.start * m..range.end * m], m, v);
    let mut books = Books::default();
    if let Some(outlier) = config.outlier.as_ref().filter(|_| prepared.outliers > 0) {
        let columns = 0..prepared.outliers;
        let x = of_columns(&prepared.columns, columns.clone(), outlier.vector_len);
        let shape = (outlier.vector_len, outlier.centroids);
        books.outlier = Some(trainer.book(&x, shape, columns, (Stage::Outlier, 0), report)?.0);
    }
    let mut rests = Vec::with_capacity(config.groups);
    for g in 0..config.groups {
        let mut x = of_columns(&prepared.columns, prepared.group(g), v);
        let shape = (v, config.centroids);
        let (book, assign) = trainer.book(&x, shape, prepared.group(g), (Stage::Main, g + 1), report)?;
        if config.residual > 0 && config.residual_from == ResidualSource::KMeans {
            subtract(&mut x, &assign, &book, v);
            rests.push(x);
        }
        books.main.push(book);
    }
    if config.residual == 0 {
        return Ok(books);
    }
    if config.residual_from == ResidualSource::Feedback {
        let pass = pass::run::<T>(prepared, &books, config, None);
        for g in 0..config.groups {
            let columns = prepared.group(g);
            let mut x = of_columns(&pass.targets, columns.clone(), v);
            let blocks = m.div_ceil(v);
            let codes = &pass.codes.main[columns.start * blocks..columns.end * blocks];
            let codes: Vec<u32> = codes.iter().map(|&code| u32::from(code)).collect();
            subtract(&mut x, &codes, &books.main[g], v);
            rests.push(x);
        }
    }
    for (g, rest) in rests.iter().enumerate() {
        let shape = (v, config.residual);
        books.residual.push(trainer.book(rest, shape, prepared.group(g), (Stage::Residual, g + 1), report)?.0);
    }
    Ok(books)
}

fn subtract(x: &mut [f64], codes: &[u32], book: &[f64], v: usize) {
    for (x, &code) in x.chunks_exact_mut(v).zip(codes) {
        x.iter_mut().zip(&book[code as usize * v..][..v]).for_each(|(x, c)| *x -= c);
    }
}

/// The centroids that fit best what the pass encoded, with the codes as they are: the main ones for the residual ones as they are, then the other way.
fn refit(prepared: &Prepared, config: &VptqConfig, pass: &Pass, books: &mut Books) {
    let (m, v) = (prepared.m, config.vector_len);
    if let (Some(book), Some(outlier)) = (&mut books.outlier, &config.outlier) {
        let targets = &pass.targets[..prepared.outliers * m];
        let codes = Fit { targets, costs: &prepared.costs, m, v: outlier.vector_len };
        codes.refit(&pass.codes.outlier, None, book);
    }
    let blocks = m.div_ceil(v);
    for g in 0..config.groups {
        let columns = prepared.group(g);
        let targets = &pass.targets[columns.start * m..columns.end * m];
        let fit = Fit { targets, costs: &prepared.costs[columns.clone()], m, v };
        let codes = columns.start * blocks..columns.end * blocks;
        let main = &pass.codes.main[codes.clone()];
        match books.residual.get_mut(g) {
            None => fit.refit(main, None, &mut books.main[g]),
            Some(book) => {
                let residual = &pass.codes.residual[codes];
                fit.refit(main, Some((residual, book)), &mut books.main[g]);
                fit.refit(residual, Some((main, &books.main[g])), book);
            }
        }
    }
}

/// Columns `[..][m]` that were encoded, with the cost of an error in each.
struct Fit<'a> {
    targets: &'a [f64],
    costs: &'a [f64],
    m: usize,
    v: usize,
}

impl Fit<'_> {
    /// Replaces every centroid of `book` that has members by the weighted mean of what they encode, less their centroid of the other book.
    fn refit(&self, codes: &[u16], other: Option<(&[u16], &Vec<f64>)>, book: &mut [f64]) {
        let (m, v) = (self.m, self.v);
        let blocks = m.div_ceil(v);
        let mut sums = vec![0.0; book.len() / v * (v + 1)];
        let parts = codes.par_chunks(REFIT * blocks).enumerate();
        // Large books are summed in one piece, so that memory stays a few books.
        let at_once = if book.len() > 1 << 16 { 1 } else { 16 };
        let parts: Vec<_> = parts.collect();
        for wave in parts.chunks(at_once) {
            let partial = wave.par_iter().map(|&(part, codes)| {
                let first = part * REFIT;
                let mut sums = vec![0.0; sums.len()];
                for (c, codes) in codes.chunks_exact(blocks).enumerate() {
                    let column = &self.targets[(first + c) * m..][..m];
                    let other = other.map(|(codes, book)| (&codes[(first + c) * blocks..][..blocks], book));
                    self.add_column(column, self.costs[first + c], codes, other, &mut sums);
                }
                sums
            });
            for partial in partial.collect::<Vec<_>>() {
                sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += partial);
            }
        }
        for (centroid, sums) in book.chunks_exact_mut(v).zip(sums.chunks_exact(v + 1)) {
            if sums[v] > 0.0 {
                centroid.iter_mut().zip(sums).for_each(|(c, sum)| *c = sum / sums[v]);
            }
        }
    }

    fn add_column(
        &self,
        column: &[f64],
        cost: f64,
        codes: &[u16],
        other: Option<(&[u16], &Vec<f64>)>,
        sums: &mut [f64],
    ) {
        let v = self.v;
        for (r, &code) in codes.iter().enumerate() {
            let sums = &mut sums[usize::from(code) * (v + 1)..][..v + 1];
            sums[v] += cost;
            for t in 0..v {
                // Beyond the column zeros are encoded.
                let target = column.get(r * v + t).copied().unwrap_or(0.0);
                let other = other.map_or(0.0, |(codes, book)| book[usize::from(codes[r]) * v + t]);
                sums[t] += cost * (target - other);
            }
        }
    }
}
