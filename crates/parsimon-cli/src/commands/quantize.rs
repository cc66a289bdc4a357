//! `parsimon quantize`: a float model to a low-bit one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use parsimon::model::{QuantizeOptions, quantize_folder};
use parsimon::tensor::io::write_json;
use parsimon::tensor::quant::rtn::Levels;
use serde::Serialize;

use crate::context::Context;

/// Quantize the projections inside a model's blocks; embeddings, norms and the output layer stay.
#[derive(Args)]
#[command(after_help = "Example: parsimon quantize --model model --out q2 --method rtn --bits 2 --group 64")]
pub(crate) struct Quantize {
    /// The model folder to read.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The model folder to write, in the layout of GPTQ version 2.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How levels are chosen.
    #[arg(long, value_enum)]
    method: Method,
    /// Bits of a weight; 1.58 is ternary.
    #[arg(long, value_name = "4|3|2|1.58", value_parser = parse_levels)]
    bits: Levels,
    /// Inputs that share a scale.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    group: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Method {
    /// Round to nearest.
    Rtn,
}

fn parse_levels(text: &str) -> Result<Levels, String> {
    match text {
        "4" => Ok(Levels::Bits(4)),
        "3" => Ok(Levels::Bits(3)),
        "2" => Ok(Levels::Bits(2)),
        "1.58" => Ok(Levels::Ternary),
        _ => Err("expected 4, 3, 2 or 1.58".into()),
    }
}

#[derive(Serialize)]
struct Report {
    method: &'static str,
    bits: f64,
    group: u32,
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
        let Method::Rtn = self.method;
        let start = Instant::now();
        let options = QuantizeOptions { levels: self.bits, group: self.group as usize };
        let result = quantize_folder(&self.model, &self.out, &options, &cx.control())?;
        let bits = match self.bits {
            Levels::Bits(bits) => f64::from(bits),
            Levels::Ternary => 1.58,
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
            bits,
            group: self.group,
            bits_per_weight: result.bits_per_weight,
            seconds: start.elapsed().as_secs_f64(),
            layers: layers.collect(),
        };
        write_json(&self.out.join("quantize.json"), &report)?;
        cx.report(&report, render)
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
