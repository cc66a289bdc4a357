//! Training: stochastic gradient steps over the lines, one thread, so that a seed decides every byte.
//!
//! A step takes a line, computes its probabilities by softmax, and moves the rows it used against the gradient; the rate falls linearly to
//! zero over all tokens. Input rows start uniform in `±1/dim`, output rows at zero.

use std::collections::HashMap;

use super::dictionary::{Dictionary, END, tokens};
use super::format::ModelError;
use super::loss::{Output, softmax};
use super::matrix::Matrix;
use super::{Args, FastText, LABEL_PREFIX, Loss};

/// How a classifier is trained; the defaults are fastText's.
#[derive(Clone, PartialEq, Debug)]
pub struct TrainOptions {
    /// Columns of the matrices.
    pub dim: usize,
    /// Times that every line is seen.
    pub epochs: usize,
    /// The rate of the first step.
    pub lr: f32,
    /// Words that occur less often are no features.
    pub min_count: i64,
    /// Longest run of words that is a feature.
    pub word_ngrams: usize,
    /// Least length of a character n-gram; 0 with `maxn` for none.
    pub minn: usize,
    /// Largest length.
    pub maxn: usize,
    /// Rows that hashed features share.
    pub bucket: usize,
    /// Seed of the first input rows and of the choice among several labels.
    pub seed: u32,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            dim: 100,
            epochs: 5,
            lr: 0.1,
            min_count: 1,
            word_ngrams: 1,
            minn: 0,
            maxn: 0,
            bucket: 2_000_000,
            seed: 0,
        }
    }
}

/// One line, ready.
struct Example {
    features: Vec<u32>,
    labels: Vec<usize>,
    n_tokens: usize,
}

impl FastText {
    /// Trains a classifier on lines with labels (`__label__x words...`).
    ///
    /// # Errors
    ///
    /// [`ModelError::Empty`] without a line that has a label and a feature; [`ModelError::Bad`] for options out of range.
    pub fn train(lines: &[impl AsRef<str>], options: &TrainOptions) -> Result<FastText, ModelError> {
        if options.dim == 0 || options.minn > options.maxn {
            return Err(ModelError::Bad {
                what: "training options",
                expected: "dim > 0 and minn <= maxn".to_owned(),
                actual: format!("dim {}, minn {}, maxn {}", options.dim, options.minn, options.maxn),
            });
        }
        let dictionary = count(lines, options.min_count);
        let uses_hashes = options.maxn > 0 || options.word_ngrams > 1;
        let args = Args {
            dim: options.dim,
            word_ngrams: options.word_ngrams,
            loss: Loss::Softmax,
            bucket: if uses_hashes { options.bucket } else { 0 },
            minn: options.minn,
            maxn: options.maxn,
            rest: [5, options.epochs as i32, options.min_count as i32, 5, 100],
            t: 1e-4,
        };
        let examples = examples(lines, &dictionary, &args);
        if examples.is_empty() {
            return Err(ModelError::Empty { what: "no line has a label and a feature" });
        }
        let mut random = MinStd(options.seed.wrapping_add(1));
        let n_rows = dictionary.n_words() + args.bucket;
        let bound = 1.0 / options.dim as f32;
        let mut input: Vec<f32> = (0..n_rows * options.dim).map(|_| (random.unit() * 2.0 - 1.0) * bound).collect();
        let mut output = vec![0.0; dictionary.labels().len() * options.dim];
        run(&examples, options, &mut random, &mut input, &mut output);
        let (input, output) =
            (Matrix::Dense { n: options.dim, values: input }, Matrix::Dense { n: options.dim, values: output });
        let output = Output::new(Loss::Softmax, output, &dictionary.label_counts);
        Ok(FastText { args, dictionary, input, output })
    }
}

/// Words and labels by falling count, then by name, so that the rows do not depend on the order of a map.
fn count(lines: &[impl AsRef<str>], min_count: i64) -> Dictionary {
    let (mut words, mut labels) = (HashMap::new(), HashMap::new());
    let mut n_tokens = 0;
    for token in lines.iter().flat_map(|line| tokens(line.as_ref()).chain([END])) {
        let counts = if token.starts_with(LABEL_PREFIX) { &mut labels } else { &mut words };
        *counts.entry(token.to_owned()).or_insert(0i64) += 1;
        n_tokens += 1;
    }
    let sorted = |counts: HashMap<String, i64>, min| {
        let mut list: Vec<_> = counts.into_iter().filter(|&(_, count)| count >= min).collect();
        list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        list
    };
    Dictionary::new(sorted(words, min_count), sorted(labels, 1), n_tokens)
}

fn examples(lines: &[impl AsRef<str>], dictionary: &Dictionary, args: &Args) -> Vec<Example> {
    let index: HashMap<&str, usize> = dictionary.labels().iter().map(String::as_str).zip(0..).collect();
    let mut examples = Vec::with_capacity(lines.len());
    for line in lines.iter().map(AsRef::as_ref) {
        let labels: Vec<usize> = tokens(line).filter_map(|token| index.get(token).copied()).collect();
        let mut features = Vec::new();
        dictionary.features(line, args, &mut features);
        if !labels.is_empty() && !features.is_empty() {
            examples.push(Example { features, labels, n_tokens: tokens(line).count() + 1 });
        }
    }
    examples
}

fn run(examples: &[Example], options: &TrainOptions, random: &mut MinStd, input: &mut [f32], output: &mut [f32]) {
    let dim = options.dim;
    let n_labels = output.len() / dim;
    let total: usize = examples.iter().map(|example| example.n_tokens).sum::<usize>() * options.epochs.max(1);
    let (mut hidden, mut gradient, mut scores) = (vec![0.0; dim], vec![0.0; dim], vec![0.0; n_labels]);
    let mut done = 0;
    for example in (0..options.epochs).flat_map(|_| examples) {
        let rate = options.lr * (1.0 - done as f32 / total as f32);
        done += example.n_tokens;
        let label = example.labels[random.next() as usize % example.labels.len()];
        hidden.fill(0.0);
        for &row in &example.features {
            hidden.iter_mut().zip(&input[row as usize * dim..][..dim]).for_each(|(sum, x)| *sum += x);
        }
        let scale = 1.0 / example.features.len() as f32;
        hidden.iter_mut().for_each(|x| *x *= scale);
        for (score, row) in scores.iter_mut().zip(output.chunks_exact(dim)) {
            *score = row.iter().zip(&hidden).map(|(w, x)| w * x).sum();
        }
        softmax(&mut scores);
        gradient.fill(0.0);
        for (at, (row, &p)) in output.chunks_exact_mut(dim).zip(&scores).enumerate() {
            let step = rate * (f32::from(u8::from(at == label)) - p);
            for ((w, g), x) in row.iter_mut().zip(&mut gradient).zip(&hidden) {
                *g += step * *w;
                *w += step * x;
            }
        }
        gradient.iter_mut().for_each(|g| *g *= scale);
        for &row in &example.features {
            input[row as usize * dim..][..dim].iter_mut().zip(&gradient).for_each(|(x, g)| *x += g);
        }
    }
}

/// The minimal standard generator: multiplier 48271, modulus 2^31 - 1.
struct MinStd(u32);

impl MinStd {
    fn next(&mut self) -> u32 {
        let state = u64::from(self.0.max(1)) * 48_271 % 0x7fff_ffff;
        self.0 = state as u32;
        self.0
    }

    /// In `0..1`.
    fn unit(&mut self) -> f32 {
        (f64::from(self.next() - 1) / f64::from(0x7fff_fffeu32)) as f32
    }
}
