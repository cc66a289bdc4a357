//! `parsimon curate train-lid`, `train-quality`, `train-tokenizer` and `pack`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use parsimon::data::CurateError;
use parsimon::data::fasttext::{FastText, LABEL_PREFIX, TrainOptions};
use parsimon::data::io::JsonlReader;
use parsimon::data::pack::{ExportFormat, TokenizerOptions, export, train_tokenizer};
use parsimon::data::{lid, text};
use serde::Serialize;

use crate::context::Context;

#[derive(Serialize)]
struct Trained {
    rows: usize,
    held_out: usize,
    accuracy: f64,
    bytes: u64,
}

fn report(cx: &Context, trained: &Trained) -> anyhow::Result<()> {
    cx.report(trained, |t| {
        format!("{} rows, {:.4} of {} held out right, {:.2} MB", t.rows, t.accuracy, t.held_out, t.bytes as f64 / 1e6)
    })
}

/// Train a language model like the bundled one; every tenth sentence of a language is held out.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate train-lid --in sentences.tsv.gz --out lid.ftz")]
pub(super) struct TrainLid {
    /// Lines of a language, a tab and a sentence: plain, .gz or .zst.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Where the model goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl TrainLid {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let mut lines = JsonlReader::open(&self.input)?;
        let (mut train, mut held_out, mut seen) = (Vec::new(), Vec::new(), HashMap::<String, usize>::new());
        while let Some(line) = lines.next_line()? {
            let line = String::from_utf8_lossy(line);
            let Some((language, sentence)) = line.split_once('\t') else { continue };
            let n = seen.entry(language.to_owned()).or_default();
            *n += 1;
            let rows = if *n % 10 == 0 { &mut held_out } else { &mut train };
            rows.push((language.to_owned(), sentence.to_owned()));
        }
        // Languages come in blocks; the steps must not see one for long.
        let key = |text: &str| text.bytes().fold(0u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        train.sort_by_cached_key(|(_, sentence)| key(sentence).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let model = lid::train(&train, &lid::train_options()).map_err(CurateError::from)?;
        model.save(&self.out)?;
        let bytes = std::fs::metadata(&self.out)?.len();
        let accuracy = lid::accuracy(&model, &held_out);
        report(cx, &Trained { rows: train.len(), held_out: held_out.len(), accuracy, bytes })
    }
}

/// Train a classifier of quality from good and bad texts (rows with `text`); its labels are hq and lq.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate train-quality --good good.jsonl --bad bad.jsonl --out quality.bin")]
pub(super) struct TrainQuality {
    /// Good texts.
    #[arg(long, value_name = "FILE")]
    good: PathBuf,
    /// Bad texts.
    #[arg(long, value_name = "FILE")]
    bad: PathBuf,
    /// Where the model goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Columns of the matrices.
    #[arg(long, default_value_t = 100)]
    dim: usize,
    /// Times that every text is seen.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Longest run of words that is a feature.
    #[arg(long, default_value_t = 2)]
    word_ngrams: usize,
}

impl TrainQuality {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (path, label) in [(&self.good, "hq"), (&self.bad, "lq")] {
            for (at, tokens) in texts(path)?.into_iter().enumerate() {
                if at % 10 == 9 {
                    held_out.push((label, tokens))
                } else {
                    train.push((at, format!("{LABEL_PREFIX}{label} {tokens}")))
                }
            }
        }
        // The two kinds in turns.
        train.sort_by_key(|(at, _)| *at);
        let lines: Vec<&str> = train.iter().map(|(_, line)| line.as_str()).collect();
        let options = TrainOptions {
            dim: self.dim,
            epochs: self.epochs,
            word_ngrams: self.word_ngrams,
            bucket: 200_000,
            ..TrainOptions::default()
        };
        let model = FastText::train(&lines, &options).map_err(CurateError::from)?;
        model.save(&self.out)?;
        let is_right = |(label, tokens): &&(&str, String)| {
            model.predict(tokens, 1).first().is_some_and(|best| best.label.strip_prefix(LABEL_PREFIX) == Some(*label))
        };
        let right = held_out.iter().filter(is_right).count();
        let accuracy = right as f64 / held_out.len().max(1) as f64;
        let bytes = std::fs::metadata(&self.out)?.len();
        report(cx, &Trained { rows: lines.len(), held_out: held_out.len(), accuracy, bytes })
    }
}

fn texts(path: &Path) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Row {
        text: String,
    }
    let mut rows = JsonlReader::open(path)?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next_row::<Row>()? {
        texts.push(text::preprocess(&row.text).join(" "));
    }
    Ok(texts)
}

/// Train a byte-level BPE tokenizer on documents.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon curate train-tokenizer --in corpus/documents/00000.jsonl.zst --vocab-size 8192 --out tokenizer.json"
)]
pub(super) struct TrainTokenizer {
    /// Files of rows with `id` and `text`.
    #[arg(long = "in", value_name = "FILE", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// Entries of the vocabulary.
    #[arg(long, default_value_t = 8192)]
    vocab_size: usize,
    /// Bytes of text that are looked at.
    #[arg(long, default_value_t = 12 << 20)]
    sample_bytes: u64,
    /// Seed of the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the tokenizer goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct TokenizerTrained {
    vocab_size: usize,
    bytes: usize,
}

impl TrainTokenizer {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let options =
            TokenizerOptions { vocab_size: self.vocab_size, sample_bytes: self.sample_bytes, seed: self.seed };
        let json = train_tokenizer(&self.input, &options, &cx.control())?;
        let mut file = parsimon::tensor::io::AtomicFile::create(&self.out)?;
        std::io::Write::write_all(&mut file, json.as_bytes())?;
        file.commit()?;
        let trained = TokenizerTrained { vocab_size: self.vocab_size, bytes: json.len() };
        cx.report(&trained, |t| format!("a vocabulary of at most {}, {} bytes", t.vocab_size, t.bytes))
    }
}

/// Write the token shards of a corpus in the format of another trainer.
#[derive(Args)]
#[command(after_help = "Example: parsimon curate pack --tokens corpus/tokens --format megatron --out megatron")]
pub(super) struct Pack {
    /// The folder with index.json.
    #[arg(long, value_name = "DIR")]
    tokens: PathBuf,
    /// ds or megatron.
    #[arg(long, value_parser = parse_format)]
    format: ExportFormat,
    /// Where the files go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Packed {
    tokens: u64,
}

impl Pack {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let tokens = export(&self.tokens, self.format, &self.out)?;
        cx.report(&Packed { tokens }, |p| format!("{} tokens", p.tokens))
    }
}

fn parse_format(name: &str) -> Result<ExportFormat, String> {
    match name {
        "ds" => Ok(ExportFormat::Ds),
        "megatron" => Ok(ExportFormat::Megatron),
        _ => Err(format!("unknown format `{name}`; there are ds and megatron")),
    }
}
