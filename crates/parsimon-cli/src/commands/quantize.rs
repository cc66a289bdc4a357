//! `parsimon quantize`: a model to a low-bit one, as a folder or a GGUF file.

mod calibrated;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use calibrated::CalibratedArgs;
use clap::{Args, ValueEnum};
use parsimon::model::{GgufOptions, QuantizeOptions, QuantizeReport, quantize_folder, write_gguf};
use parsimon::tensor::io::write_json;
use parsimon::tensor::quant::BlockType;
use parsimon::tensor::quant::rtn::Levels;
use serde::Serialize;

use crate::context::Context;
use crate::failure::BadInput;

/// Quantize the projections inside a model's blocks; embeddings, norms and the output layer stay.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon quantize --model model --out q2 --method rtn --bits 2 --group 64\n         parsimon quantize --model model --out q4.gguf --to gguf --bits 4\n         parsimon quantize --model model --out v2 --method vptq --bits 2 --calib text.txt"
)]
pub(crate) struct Quantize {
    /// The model folder or GGUF file to read; blocks are decoded first.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// What to write: a folder in the layout of GPTQ version 2, or a `.gguf` file.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// The form of the result.
    #[arg(long, value_enum, default_value_t = Form::Safetensors)]
    to: Form,
    /// How levels are chosen.
    #[arg(long, value_enum, default_value_t = Method::Rtn)]
    method: Method,
    /// Bits of a weight; 1.58 is ternary, 2.3 is of `vptq` alone. GGUF files have 8 (Q8_0), 4 (Q4_0), 2 (Q2_0) and 1.58 (TQ2_0).
    #[arg(long, value_name = "8|4|3|2.3|2|1.58", value_parser = parse_bits, required_unless_present = "block_type")]
    bits: Option<Bits>,
    /// The blocks of a GGUF file, such as q4_0, q4_1, q5_0, q5_1, q8_0, tq1_0, tq2_0, q2_0, q1_0 or mxfp4, in place of bits.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type, conflicts_with = "bits")]
    block_type: Option<BlockType>,
    /// The type of the embedding table and the output layer of a GGUF file: f32, f16, bf16 or q8_0; without it they stay.
    #[arg(long, value_name = "TYPE", value_parser = parse_table)]
    tables: Option<BlockType>,
    /// Quantize the output layer of a folder too, to 8 or 4 bits: every token reads all of it.
    #[arg(long, value_name = "8|4", value_parser = clap::builder::PossibleValuesParser::new(["8", "4"]))]
    output_bits: Option<String>,
    /// Keep matrices of a GGUF file whose rows are not whole blocks as they are, rather than fail.
    #[arg(long)]
    keep_odd_rows: bool,
    /// Inputs that share a scale; GGUF's blocks fix it.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    group: u32,
    #[command(flatten)]
    calibrated: CalibratedArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Safetensors,
    Gguf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Round to nearest.
    Rtn,
    /// Codebooks of short vectors; needs `--calib`.
    Vptq,
    /// Scalar codes with errors spread; needs `--calib`.
    Gptq,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bits {
    Eight,
    Four,
    Three,
    /// 2.3
    MoreThanTwo,
    Two,
    Ternary,
}

impl Bits {
    fn count(self) -> f64 {
        match self {
            Bits::Eight => 8.0,
            Bits::Four => 4.0,
            Bits::Three => 3.0,
            Bits::MoreThanTwo => 2.3,
            Bits::Two => 2.0,
            Bits::Ternary => 1.58,
        }
    }
}

fn parse_bits(text: &str) -> Result<Bits, String> {
    match text {
        "8" => Ok(Bits::Eight),
        "4" => Ok(Bits::Four),
        "3" => Ok(Bits::Three),
        "2.3" => Ok(Bits::MoreThanTwo),
        "2" => Ok(Bits::Two),
        "1.58" => Ok(Bits::Ternary),
        _ => Err("expected 8, 4, 3, 2.3, 2 or 1.58".into()),
    }
}

fn parse_type(text: &str) -> Result<BlockType, String> {
    let found = BlockType::from_name(&text.to_uppercase());
    let low = |block_type: &BlockType| parsimon::tensor::quant::encode::is_supported(*block_type);
    found.filter(low).ok_or_else(|| {
        let names: Vec<String> = BlockType::all().filter(low).map(|known| known.name().to_lowercase()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn parse_table(text: &str) -> Result<BlockType, String> {
    let found = BlockType::from_name(&text.to_uppercase());
    let tables = [BlockType::F32, BlockType::F16, BlockType::BF16, BlockType::Q8_0];
    found.filter(|known| tables.contains(known)).ok_or_else(|| "expected f32, f16, bf16 or q8_0".into())
}

#[derive(Serialize)]
struct Report {
    method: &'static str,
    /// Null with a block type.
    bits: Option<f64>,
    /// Of a GGUF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_type: Option<String>,
    group: usize,
    bits_per_weight: f64,
    seconds: f64,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    m: usize,
    k: usize,
    rel: f64,
    bits_per_weight: f64,
}

impl Quantize {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.method != Method::Rtn {
            return self.run_calibrated(cx);
        }
        self.calibrated.refuse()?;
        let start = Instant::now();
        let (result, block_type) = match self.to {
            Form::Safetensors => (self.to_folder(cx)?, None),
            Form::Gguf => {
                let block_type = self.block_type()?;
                let options = GgufOptions {
                    projections: Some(block_type),
                    tables: self.tables,
                    keep_odd_rows: self.keep_odd_rows,
                };
                (write_gguf(&self.model, &self.out, &options, &cx.control())?, Some(block_type))
            }
        };
        let layers = result.layers.into_iter().map(|layer| Layer {
            name: layer.name,
            m: layer.m,
            k: layer.k,
            rel: layer.rel,
            bits_per_weight: layer.bits_per_weight,
        });
        let report = Report {
            method: "rtn",
            bits: self.bits.map(Bits::count),
            block_type: block_type.map(|known| known.name().to_lowercase()),
            group: block_type.map_or(self.group as usize, BlockType::block_len),
            bits_per_weight: result.bits_per_weight,
            seconds: start.elapsed().as_secs_f64(),
            layers: layers.collect(),
        };
        if self.to == Form::Safetensors {
            write_json(&self.out.join("quantize.json"), &report)?;
        }
        cx.report(&report, render)
    }

    fn to_folder(&self, cx: &Context) -> anyhow::Result<QuantizeReport> {
        if self.block_type.is_some() || self.tables.is_some() || self.keep_odd_rows {
            return Err(BadInput::new(
                "`--type`, `--tables` and `--keep-odd-rows` are of GGUF files: give `--to gguf`",
            )
            .into());
        }
        let levels = match self.bits {
            Some(Bits::Four) => Levels::Bits(4),
            Some(Bits::Three) => Levels::Bits(3),
            Some(Bits::Two) => Levels::Bits(2),
            Some(Bits::Ternary) => Levels::Ternary,
            Some(Bits::Eight | Bits::MoreThanTwo) | None => {
                return Err(BadInput::new("a folder has 4, 3, 2 or 1.58 bits; 8 are possible with `--to gguf`").into());
            }
        };
        let mut options = QuantizeOptions::new(levels, self.group as usize);
        if let Some(bits) = &self.output_bits {
            options = options.with_output_layer(Levels::Bits(if bits == "8" { 8 } else { 4 }));
        }
        Ok(quantize_folder(&self.model, &self.out, &options, &cx.control())?)
    }

    fn block_type(&self) -> Result<BlockType, BadInput> {
        match (self.block_type, self.bits) {
            (Some(block_type), _) => Ok(block_type),
            (None, Some(Bits::Eight)) => Ok(BlockType::Q8_0),
            (None, Some(Bits::Four)) => Ok(BlockType::Q4_0),
            (None, Some(Bits::Two)) => Ok(BlockType::Q2_0),
            (None, Some(Bits::Ternary)) => Ok(BlockType::TQ2_0),
            (None, Some(Bits::Three | Bits::MoreThanTwo) | None) => Err(BadInput::new(
                "GGUF has no block type of 3 bits that is written here: 8, 4, 2 and 1.58 bits are possible, or `--type`",
            )),
        }
    }
}

fn render(report: &Report) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["layer", "shape", "relative error", "bits/weight"]);
    for layer in &report.layers {
        let shape = format!("{} x {}", layer.m, layer.k);
        table.add_row([&layer.name, &shape, &format!("{:.5}", layer.rel), &format!("{:.3}", layer.bits_per_weight)]);
    }
    let mut text = table.to_string();
    let (bits, seconds) = (report.bits_per_weight, report.seconds);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n{} layers, {bits:.3} bits a weight with scales and zero points, {seconds:.1} s",
        report.layers.len()
    );
    text
}
