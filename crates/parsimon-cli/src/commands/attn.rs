//! `parsimon attn`: files of attention gates, and the kernels on cases from outside.

mod eval;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use parsimon::tensor::io::{PthFile, TensorData, write_safetensors};
use serde::Serialize;

use crate::context::Context;

/// Work with attention: its gates, its kernels.
#[derive(Args)]
pub(crate) struct Attn {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Eval(eval::Eval),
    GateConvert(GateConvert),
}

impl Attn {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Eval(args) => args.run(cx),
            What::GateConvert(args) => args.run(cx),
        }
    }
}

/// Write the tensors of a PyTorch file as safetensors, with the same names and types. Nothing in the file is run.
#[derive(Args)]
#[command(after_help = "Example: parsimon attn gate-convert attn_gate_weights.pth attn_gate_weights.safetensors")]
struct GateConvert {
    /// The file to read.
    #[arg(value_name = "IN.pth")]
    input: PathBuf,
    /// The file to write.
    #[arg(value_name = "OUT.safetensors")]
    output: PathBuf,
}

#[derive(Serialize)]
struct Report {
    tensors: usize,
    bytes: usize,
}

impl GateConvert {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let file = PthFile::open(&self.input)?;
        let views = file.names().filter_map(|name| file.tensor(name));
        let tensors: std::collections::BTreeMap<String, TensorData> = views
            .map(|view| {
                let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.bytes().to_vec());
                (view.name().to_owned(), TensorData { dtype, shape, bytes })
            })
            .collect();
        write_safetensors(&self.output, &tensors, None)?;
        let bytes = tensors.values().map(|tensor| tensor.bytes.len()).sum();
        let report = Report { tensors: tensors.len(), bytes };
        cx.report(&report, |r| format!("{} tensors, {} bytes", r.tensors, r.bytes))
    }
}
