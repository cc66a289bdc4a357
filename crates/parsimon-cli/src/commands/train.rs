//! `parsimon train`: a model from a corpus, and gates for a model.

mod gate;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use parsimon::model::SIGMA_TINY;
use parsimon::train::{Corpus, Run, TrainReport, preset, train_lm};

use crate::context::Context;

/// Train a model.
#[derive(Args)]
pub(crate) struct Train {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Lm(Lm),
    Gate(gate::Gate),
}

impl Train {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Lm(args) => args.run(cx),
            What::Gate(args) => args.run(cx),
        }
    }
}

/// Pre-train a language model on a tokenized corpus. An interrupted run goes on where it stopped when the command is repeated.
#[derive(Args)]
#[command(after_help = "Example: parsimon train lm --corpus corpus --out model --preset sigma-tiny --seed 1")]
struct Lm {
    /// The corpus folder that `parsimon curate run` wrote.
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// The model folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The model and its settings.
    #[arg(long, value_name = "NAME", default_value = SIGMA_TINY)]
    preset: String,
    /// Updates of the weights.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Sequences of a step.
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Tokens of a sequence.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// The learning rate after the warm-up.
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// The seed of the weights and of the order of the text.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

impl Lm {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let corpus = Corpus::open(&self.corpus)?;
        let (mut model, mut train) = preset(&self.preset, corpus.vocab_size())?;
        model.eos_token_ids = vec![corpus.eos_id()];
        if let Some(steps) = self.steps {
            // A short run still warms up, over the same share of its steps.
            train.warmup_steps = (train.warmup_steps * steps).div_ceil(train.steps);
            train.steps = steps;
        }
        train.batch = self.batch.map_or(train.batch, |batch| batch as usize);
        train.context = self.context.map_or(train.context, |context| context as usize);
        train.learning_rate = self.lr.unwrap_or(train.learning_rate);
        train.seed = self.seed.unwrap_or(train.seed);
        model.max_position_embeddings = model.max_position_embeddings.max(train.context);
        let run = Run { preset: &self.preset, model: &model, train, corpus: &corpus, out: &self.out };
        let start = Instant::now();
        let report = train_lm(&run, &|| start.elapsed(), &cx.control())?;
        cx.report(&report, render)
    }
}

fn render(report: &TrainReport) -> String {
    format!(
        "{} parameters, {} steps, {} tokens in {:.1} s ({:.0} tokens/s): loss {:.4}, perplexity of the training text {:.2}",
        report.parameters,
        report.steps,
        report.tokens,
        report.seconds,
        report.tokens_per_s,
        report.final_loss,
        report.final_loss.exp()
    )
}
