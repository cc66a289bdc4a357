//! Linear text classifiers in fastText's format: reading, predicting, training, quantizing.
//!
//! A text is a bag of features (its words, their character n-grams, runs of words), each feature is a row of the input matrix, and the
//! mean of the rows goes through the output matrix to a probability a label. Models that others trained give the predictions that
//! they give there; files of versions 11 and 12, dense or quantized, with softmax, one-versus-all or hierarchical softmax are read.

mod dictionary;
mod format;
mod loss;
mod matrix;
mod quantize;
mod train;

use std::io::Write;
use std::path::Path;

use parsimon_core::io::{AtomicFile, FormatError, Map};

use dictionary::Dictionary;
pub use format::ModelError;
use loss::Output;
use matrix::Matrix;
pub use quantize::QuantizeOptions;
pub use train::TrainOptions;

/// What a label of a training file starts with.
pub const LABEL_PREFIX: &str = "__label__";

/// Numbers that decide how a model reads a text and what it computes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Args {
    pub(crate) dim: usize,
    pub(crate) word_ngrams: usize,
    pub(crate) loss: Loss,
    pub(crate) bucket: usize,
    pub(crate) minn: usize,
    pub(crate) maxn: usize,
    /// What the file holds and prediction does not need, in its order, to be written back: window, epochs, least count, negatives,
    /// rate of updates; and the sampling threshold.
    pub(crate) rest: [i32; 5],
    pub(crate) t: f64,
}

/// What turns scores into probabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    Hierarchical,
    Softmax,
    OneVsAll,
}

/// A label with its probability.
#[derive(Clone, PartialEq, Debug)]
pub struct Prediction<'a> {
    /// The label as the model writes it, with its prefix.
    pub label: &'a str,
    /// Its probability as fastText reports it.
    pub probability: f32,
}

/// A classifier.
///
/// ```
/// use parsimon_data::fasttext::{FastText, TrainOptions};
///
/// let lines = ["__label__hot sun and fire", "__label__cold snow and ice", "__label__hot summer fire", "__label__cold winter ice"];
/// let model = FastText::train(&lines, &TrainOptions { dim: 4, epochs: 50, ..TrainOptions::default() }).unwrap();
/// assert_eq!(model.predict("fire and sun", 1)[0].label, "__label__hot");
/// ```
#[derive(Clone, Debug)]
pub struct FastText {
    pub(crate) args: Args,
    pub(crate) dictionary: Dictionary,
    pub(crate) input: Matrix,
    pub(crate) output: Output,
}

impl FastText {
    /// Reads a model file.
    ///
    /// # Errors
    ///
    /// [`ModelError`]: no such file, or not a model that is read; nothing is allocated that the file's length does not justify.
    pub fn open(path: &Path) -> Result<FastText, ModelError> {
        let map = Map::open(path)?;
        Self::from_bytes(&map)
    }

    /// Reads a model.
    ///
    /// # Errors
    ///
    /// As [`FastText::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<FastText, ModelError> {
        format::read(bytes)
    }

    /// The model as a file of version 12.
    pub fn to_bytes(&self) -> Vec<u8> {
        format::write(self)
    }

    /// Writes the model; the file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`FormatError`] when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FormatError> {
        let mut file = AtomicFile::create(path)?;
        file.write_all(&self.to_bytes()).map_err(|e| FormatError::io(path, "write", e))?;
        file.commit()
    }

    /// The labels, with their prefix.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.dictionary.labels().iter().map(String::as_str)
    }

    /// The `k` most probable labels of a text, which is one line; none when no feature of it is known.
    pub fn predict(&self, text: &str, k: usize) -> Vec<Prediction<'_>> {
        let mut features = Vec::new();
        self.dictionary.features(text, &self.args, &mut features);
        let mut hidden = vec![0.0; self.args.dim];
        if !self.hidden(&features, &mut hidden) {
            return Vec::new();
        }
        let mut scored = self.output.probabilities(&hidden);
        let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if k < scored.len() {
            scored.select_nth_unstable_by(k, order);
            scored.truncate(k);
        }
        scored.sort_unstable_by(order);
        let labels = self.dictionary.labels();
        scored.into_iter().map(|(at, probability)| Prediction { label: &labels[at], probability }).collect()
    }

    /// The mean of the features' rows; false when there are none.
    fn hidden(&self, features: &[u32], hidden: &mut [f32]) -> bool {
        features.iter().for_each(|&row| self.input.add_row(row as usize, hidden));
        let scale = 1.0 / features.len() as f32;
        hidden.iter_mut().for_each(|x| *x *= scale);
        !features.is_empty()
    }
}

#[cfg(test)]
mod tests;
