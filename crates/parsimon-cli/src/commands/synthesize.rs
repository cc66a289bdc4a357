//! `parsimon synthesize`: a model of random weights.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use clap::builder::PossibleValuesParser;
use parsimon::model::{ModelConfig, write_random_folder};
use serde::Serialize;

use crate::context::Context;
use crate::failure::BadInput;

/// Make a model of random weights in a common shape: as fast as a trained one of that shape, and as large.
#[derive(Args)]
#[command(after_help = "Example: parsimon synthesize --shape llama-1.1b --out random")]
pub(crate) struct Synthesize {
    /// The shape of the model.
    #[arg(long, value_parser = PossibleValuesParser::new(ModelConfig::SYNTHETIC))]
    shape: String,
    /// The model folder to write, in BF16.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Serialize)]
struct Report {
    shape: String,
    parameters: u64,
    seed: u64,
    seconds: f64,
}

impl Synthesize {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let config =
            ModelConfig::synthetic(&self.shape).ok_or_else(|| BadInput::new(format!("no shape {}", self.shape)))?;
        let start = Instant::now();
        write_random_folder(&self.out, &config, self.seed, &cx.control())?;
        let report = Report {
            shape: self.shape,
            parameters: config.parameter_count(),
            seed: self.seed,
            seconds: start.elapsed().as_secs_f64(),
        };
        cx.report(&report, |report| {
            format!("{}: {} parameters, {:.1} s", self.out.display(), report.parameters, report.seconds)
        })
    }
}
