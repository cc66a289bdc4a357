//! `parsimon convert`: a model folder to a GGUF file, and back.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use parsimon::model::{FolderOptions, GgufOptions, write_folder, write_gguf};
use parsimon::tensor::DType;
use parsimon::tensor::quant::BlockType;
use serde::Serialize;

use crate::context::Context;

/// Write a model folder as a GGUF file, or a GGUF file as a model folder, without quantizing.
#[derive(Args)]
#[command(
    after_help = "Examples: parsimon convert --model model --out model.gguf\n          parsimon convert --model model.gguf --out folder --dtype bf16"
)]
pub(crate) struct Convert {
    /// The model folder or GGUF file to read.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// What to write: a file when the name ends in `.gguf`, else a folder.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// The type of matrices; without it floats stay as they are, and blocks become f32 in a folder.
    #[arg(long, value_enum)]
    dtype: Option<Float>,
}

/// A float type as an argument.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Float {
    F32,
    F16,
    Bf16,
}

#[derive(Serialize)]
struct Report {
    model: String,
    out: String,
    form: &'static str,
    seconds: f64,
}

impl Convert {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let to_file = self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        if to_file {
            let blocks = self.dtype.map(|dtype| match dtype {
                Float::F32 => BlockType::F32,
                Float::F16 => BlockType::F16,
                Float::Bf16 => BlockType::BF16,
            });
            let options = GgufOptions { projections: blocks, tables: blocks, keep_odd_rows: false };
            write_gguf(&self.model, &self.out, &options, &cx.control())?;
        } else {
            let dtype = self.dtype.map(|dtype| match dtype {
                Float::F32 => DType::F32,
                Float::F16 => DType::F16,
                Float::Bf16 => DType::BF16,
            });
            write_folder(&self.model, &self.out, &FolderOptions { dtype }, &cx.control())?;
        }
        let report = Report {
            model: self.model.display().to_string(),
            out: self.out.display().to_string(),
            form: if to_file { "gguf" } else { "folder" },
            seconds: start.elapsed().as_secs_f64(),
        };
        cx.report(&report, |report| format!("{} as {}, {:.1} s", report.model, report.out, report.seconds))
    }
}
