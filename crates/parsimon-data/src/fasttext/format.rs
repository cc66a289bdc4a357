//! The file: little-endian, a magic number, arguments, dictionary, two matrices.

use std::collections::HashMap;

use parsimon_core::io::FormatError;

use super::dictionary::Dictionary;
use super::loss::Output;
use super::matrix::{CENTROIDS, Matrix, Norms, Quantizer};
use super::{Args, FastText, Loss};

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;

/// The longest word or label, in bytes.
const WORD_BYTES_MAX: usize = 64 << 10;

/// A model cannot be read or trained.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ModelError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the model's {what} is {actual}, expected {expected}")]
    Bad { what: &'static str, expected: String, actual: String },
    #[error("the model ends at byte {offset}, inside its {what}")]
    Clipped { what: &'static str, offset: usize },
    #[error("nothing to train on: {what}")]
    Empty { what: &'static str },
}

fn bad(what: &'static str, expected: impl ToString, actual: impl ToString) -> ModelError {
    ModelError::Bad { what, expected: expected.to_string(), actual: actual.to_string() }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], ModelError> {
        let taken = self.bytes[self.at..].get(..n).ok_or(ModelError::Clipped { what, offset: self.bytes.len() })?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ModelError> {
        Ok(self.take(N, what)?.try_into().expect("as many as were asked for"))
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, ModelError> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    fn i64(&mut self, what: &'static str) -> Result<i64, ModelError> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, ModelError> {
        Ok(self.array::<1>(what)?[0] != 0)
    }

    /// A size between `min` and `max`.
    fn size(&mut self, what: &'static str, min: usize, max: usize) -> Result<usize, ModelError> {
        let given = self.i32(what)?;
        within(what, i64::from(given), min, max)
    }

    /// `n` floats; the bytes are there before anything is allocated.
    fn floats(&mut self, n: usize, what: &'static str) -> Result<Vec<f32>, ModelError> {
        let bytes = self.take(n.saturating_mul(4), what)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect())
    }

    fn string(&mut self, what: &'static str) -> Result<String, ModelError> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(WORD_BYTES_MAX)];
        let end = memchr::memchr(0, window).ok_or_else(|| bad(what, "a word that ends", "one without an end"))?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&window[..end]).into_owned())
    }
}

fn within(what: &'static str, given: i64, min: usize, max: usize) -> Result<usize, ModelError> {
    usize::try_from(given)
        .ok()
        .filter(|given| (min..=max).contains(given))
        .ok_or_else(|| bad(what, format!("between {min} and {max}"), given))
}

pub(super) fn read(bytes: &[u8]) -> Result<FastText, ModelError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let magic = cursor.i32("magic number")?;
    if magic != MAGIC {
        return Err(bad("magic number", MAGIC, magic));
    }
    let version = cursor.i32("version")?;
    if !(11..=12).contains(&version) {
        return Err(bad("version", "11 or 12", version));
    }
    let mut args = read_args(&mut cursor)?;
    if version == 11 {
        args.maxn = 0;
    }
    let dictionary = read_dictionary(&mut cursor)?;
    let is_quantized = cursor.flag("input matrix")?;
    let input = read_matrix(&mut cursor, is_quantized, args.dim, "input matrix")?;
    let qout = cursor.flag("output matrix")?;
    let output = read_matrix(&mut cursor, is_quantized && qout, args.dim, "output matrix")?;
    let n_labels = dictionary.labels().len();
    let rows = output.n_rows();
    // The hierarchical loss uses one row fewer than there are labels.
    if rows < n_labels.saturating_sub(usize::from(args.loss == Loss::Hierarchical)) || n_labels == 0 {
        return Err(bad("number of output rows", n_labels, rows));
    }
    let hashed = match &dictionary.pruned {
        None => args.bucket,
        Some(pruned) => pruned.values().max().map_or(0, |&most| most as usize + 1),
    };
    let uses_hashes = args.maxn > 0 || args.word_ngrams > 1;
    let needed = dictionary.n_words() + if uses_hashes { hashed } else { 0 };
    if input.n_rows() < needed {
        return Err(bad("number of input rows", format!("at least {needed}"), input.n_rows()));
    }
    let output = Output::new(args.loss, output, &dictionary.label_counts);
    Ok(FastText { args, dictionary, input, output })
}

fn read_args(cursor: &mut Cursor<'_>) -> Result<Args, ModelError> {
    let dim = cursor.size("dimension", 1, 65_536)?;
    let [ws, epoch, min_count, neg] =
        [cursor.i32("arguments")?, cursor.i32("arguments")?, cursor.i32("arguments")?, cursor.i32("arguments")?];
    let word_ngrams = cursor.size("word n-grams", 0, 64)?;
    let loss = match cursor.i32("loss")? {
        1 => Loss::Hierarchical,
        3 => Loss::Softmax,
        4 => Loss::OneVsAll,
        other => return Err(bad("loss", "1 (hs), 3 (softmax) or 4 (ova)", other)),
    };
    let model = cursor.i32("kind")?;
    if model != 3 {
        return Err(bad("kind", "3 (a classifier)", model));
    }
    let bucket = cursor.size("number of buckets", 0, i32::MAX as usize)?;
    let minn = cursor.size("least n-gram", 0, 64)?;
    let maxn = cursor.size("largest n-gram", 0, 64)?;
    let rate = cursor.i32("arguments")?;
    let t = f64::from_le_bytes(cursor.array("arguments")?);
    let rest = [ws, epoch, min_count, neg, rate];
    Ok(Args { dim, word_ngrams, loss, bucket, minn, maxn, rest, t })
}

fn read_dictionary(cursor: &mut Cursor<'_>) -> Result<Dictionary, ModelError> {
    // An entry has at least ten bytes.
    let left = cursor.bytes.len() / 10;
    let size = cursor.size("number of entries", 0, left)?;
    let n_words = cursor.size("number of words", 0, size)?;
    let n_labels = cursor.size("number of labels", 0, size)?;
    if n_words + n_labels != size {
        return Err(bad("number of entries", n_words + n_labels, size));
    }
    let n_tokens = cursor.i64("number of tokens")?;
    let n_pruned = cursor.i64("number of pruned features")?;
    let (mut words, mut labels) = (Vec::with_capacity(n_words), Vec::with_capacity(n_labels));
    for at in 0..size {
        let word = cursor.string("dictionary")?;
        let count = cursor.i64("dictionary")?;
        let is_label = cursor.flag("dictionary")?;
        if is_label != (at >= n_words) {
            return Err(bad("order of entries", "words before labels", format!("`{word}` at {at}")));
        }
        if is_label { labels.push((word, count)) } else { words.push((word, count)) }
    }
    let mut dictionary = Dictionary::new(words, labels, n_tokens);
    if n_pruned >= 0 {
        let n = within("number of pruned features", n_pruned, 0, cursor.bytes.len() / 8)?;
        let mut pruned = HashMap::with_capacity(n);
        for _ in 0..n {
            let (from, to) = (cursor.i32("pruned features")?, cursor.i32("pruned features")?);
            let to = within("pruned feature", i64::from(to), 0, n)?;
            pruned.insert(from as u32, to as u32);
        }
        dictionary.pruned = Some(pruned);
    }
    Ok(dictionary)
}

fn read_matrix(
    cursor: &mut Cursor<'_>,
    is_quantized: bool,
    dim: usize,
    what: &'static str,
) -> Result<Matrix, ModelError> {
    let has_norms = is_quantized && cursor.flag(what)?;
    let (m, n) = (cursor.i64(what)?, cursor.i64(what)?);
    let m = within(what, m, 0, cursor.bytes.len())?;
    let n = within(what, n, dim, dim)?;
    if !is_quantized {
        let values = cursor.floats(m.saturating_mul(n), what)?;
        return Ok(Matrix::Dense { n, values });
    }
    let n_codes = cursor.size(what, 0, cursor.bytes.len())?;
    let codes = cursor.take(n_codes, what)?.to_vec();
    let quantizer = read_quantizer(cursor, dim)?;
    if codes.len() != m * quantizer.n_parts() {
        return Err(bad("number of codes", m * quantizer.n_parts(), codes.len()));
    }
    let norms = if has_norms {
        let codes = cursor.take(m, "norms")?.to_vec();
        Some(Norms { codes, quantizer: read_quantizer(cursor, 1)? })
    } else {
        None
    };
    Ok(Matrix::Quantized { m, codes, quantizer, norms })
}

fn read_quantizer(cursor: &mut Cursor<'_>, dim: usize) -> Result<Quantizer, ModelError> {
    let given = cursor.size("quantizer's dimension", dim, dim)?;
    let n_parts = cursor.size("quantizer's parts", 1, dim)?;
    let dsub = cursor.size("quantizer's part", 1, dim)?;
    let last = cursor.size("quantizer's last part", 1, dsub)?;
    if n_parts != given.div_ceil(dsub) || last != given - (n_parts - 1) * dsub {
        return Err(bad(
            "quantizer",
            format!("{} parts", given.div_ceil(dsub)),
            format!("{n_parts}, the last of {last}"),
        ));
    }
    Ok(Quantizer { dim, dsub, centroids: cursor.floats(dim * CENTROIDS, "centroids")? })
}

pub(super) fn write(model: &FastText) -> Vec<u8> {
    let mut out = Vec::new();
    let args = &model.args;
    let [ws, epoch, min_count, neg, rate] = args.rest;
    let loss = match args.loss {
        Loss::Hierarchical => 1,
        Loss::Softmax => 3,
        Loss::OneVsAll => 4,
    };
    let bucket = args.bucket as i32;
    let numbers =
        [MAGIC, VERSION, args.dim as i32, ws, epoch, min_count, neg, args.word_ngrams as i32, loss, 3, bucket];
    push_i32(&mut out, &numbers);
    push_i32(&mut out, &[args.minn as i32, args.maxn as i32, rate]);
    out.extend(args.t.to_le_bytes());
    let dictionary = &model.dictionary;
    let (n_words, n_labels) = (dictionary.n_words(), dictionary.labels().len());
    push_i32(&mut out, &[(n_words + n_labels) as i32, n_words as i32, n_labels as i32]);
    out.extend(dictionary.n_tokens.to_le_bytes());
    out.extend(dictionary.pruned.as_ref().map_or(-1, |pruned| pruned.len() as i64).to_le_bytes());
    let words = dictionary.entries.iter().map(|(word, count)| (word, *count, 0));
    let labels = dictionary.labels().iter().zip(&dictionary.label_counts).map(|(label, &count)| (label, count, 1));
    for (word, count, kind) in words.chain(labels) {
        out.extend(word.as_bytes());
        out.push(0);
        out.extend(count.to_le_bytes());
        out.push(kind);
    }
    let mut pruned: Vec<_> = dictionary.pruned.iter().flatten().collect();
    pruned.sort_unstable();
    pruned.into_iter().for_each(|(&from, &to)| push_i32(&mut out, &[from as i32, to as i32]));
    out.push(u8::from(matches!(model.input, Matrix::Quantized { .. })));
    write_matrix(&mut out, &model.input);
    out.push(u8::from(matches!(model.output.matrix, Matrix::Quantized { .. })));
    write_matrix(&mut out, &model.output.matrix);
    out
}

fn push_i32(out: &mut Vec<u8>, numbers: &[i32]) {
    numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
}

fn write_matrix(out: &mut Vec<u8>, matrix: &Matrix) {
    let shape = [matrix.n_rows() as i64, matrix.n_columns() as i64];
    match matrix {
        Matrix::Dense { values, .. } => {
            shape.iter().for_each(|n| out.extend(n.to_le_bytes()));
            values.iter().for_each(|x| out.extend(x.to_le_bytes()));
        }
        Matrix::Quantized { codes, quantizer, norms, .. } => {
            out.push(u8::from(norms.is_some()));
            shape.iter().for_each(|n| out.extend(n.to_le_bytes()));
            push_i32(out, &[codes.len() as i32]);
            out.extend(codes);
            write_quantizer(out, quantizer);
            if let Some(norms) = norms {
                out.extend(&norms.codes);
                write_quantizer(out, &norms.quantizer);
            }
        }
    }
}

fn write_quantizer(out: &mut Vec<u8>, quantizer: &Quantizer) {
    let n = quantizer.n_parts();
    let last = quantizer.dim - (n - 1) * quantizer.dsub;
    push_i32(out, &[quantizer.dim as i32, n as i32, quantizer.dsub as i32, last as i32]);
    quantizer.centroids.iter().for_each(|x| out.extend(x.to_le_bytes()));
}
