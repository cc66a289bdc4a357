//! `parsimon train gate`: gates for the attention of a model, which stays as it is.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use parsimon::attn::gate::TrainOptions;
use parsimon::model::{GateForm, GateTrainOptions, train_gates};
use parsimon::tensor::io::FormatError;
use serde::Serialize;

use crate::commands::model::ModelArgs;
use crate::context::Context;

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Prefill,
    Decode,
}

/// Train attention gates for a model by what its own attention does. An interrupted run goes on where it stopped when the command is repeated.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon train gate --model model --corpus text.txt --out gate --steps 200 --gate-width 64"
)]
pub(super) struct Gate {
    #[command(flatten)]
    model: ModelArgs,
    /// The text.
    #[arg(long, value_name = "FILE")]
    corpus: PathBuf,
    /// The gate folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A gate for prompts, or for single tokens.
    #[arg(long, value_enum, default_value = "prefill")]
    form: Form,
    /// Updates of the weights.
    #[arg(long, value_name = "N", default_value_t = 500)]
    steps: u64,
    /// Tokens of a block.
    #[arg(long, value_name = "B", default_value_t = 64)]
    block: usize,
    /// Width of the gate.
    #[arg(long, value_name = "D", default_value_t = 128)]
    gate_width: usize,
    /// Tokens of a window.
    #[arg(long, value_name = "T", default_value_t = 2048)]
    context: usize,
    /// The largest learning rate.
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    lr: f64,
    /// The seed of the first weights.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

#[derive(Serialize)]
struct Report {
    first_step: u64,
    steps: u64,
    /// The mean of the first ten losses of this run, and of the last ten.
    first_loss: Option<f64>,
    last_loss: Option<f64>,
    seconds: f64,
}

impl Gate {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(&self.corpus).map_err(|e| FormatError::io(&self.corpus, "read as UTF-8", e))?;
        let model = self.model.open()?;
        let tokens = self.model.tokenizer()?.encode(&text, true)?;
        let options = GateTrainOptions {
            form: match self.form {
                Form::Prefill => GateForm::Prefill,
                Form::Decode => GateForm::Decode,
            },
            block: self.block,
            d_gate: self.gate_width,
            ctx: self.context,
            train: TrainOptions { steps: self.steps, lr: self.lr, ..TrainOptions::default() },
            seed: self.seed,
            loss_scale: 10.0,
            save_every: 50,
        };
        let start = Instant::now();
        let result = train_gates(&model, &tokens, &self.out, &options, &cx.control())?;
        let mean = |losses: &[f64]| (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64);
        let n = result.losses.len();
        let report = Report {
            first_step: result.first_step,
            steps: self.steps,
            first_loss: mean(&result.losses[..n.min(10)]),
            last_loss: mean(&result.losses[n.saturating_sub(10)..]),
            seconds: start.elapsed().as_secs_f64(),
        };
        cx.report(&report, |r| {
            let loss = |loss: Option<f64>| loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
            format!("steps {} to {}: loss {} to {}", r.first_step, r.steps, loss(r.first_loss), loss(r.last_loss))
        })
    }
}
