//! A stand-in for energy where no meter is: instructions that a product executes and bytes that it reads, for a weight.
//!
//! Valgrind's callgrind counts the instructions of this program with one product and with three; the difference is two products. It knows
//! AVX2 at most, so the AVX-512 bodies are not counted here; docs/papers/tmac.md counts their loops by hand.

use std::process::Command;

use anyhow::{Context, bail};
use parsimon_core::SplitMix64;
use parsimon_core::quant::{GroupQuantized, Zeros};
use parsimon_lut::{ActConfig, Backend, DenseMatrix, LowBitMatrix, PreparedActivations};

use super::Row;

/// Rows and columns: the counts are proportional to them.
const SHAPE: (usize, usize) = (128, 1024);

const GROUP: usize = 128;

/// The published savings of energy against llama.cpp on the M2-Ultra.
const PUBLISHED: [(&str, f64); 3] = [("7B, 4 bit", -20.6), ("7B, 2 bit", -61.2), ("BitNet-3B", -51.3)];

/// Some products, for counting; started by [`rows`] under valgrind.
#[derive(clap::Args)]
pub(crate) struct Once {
    /// Bits of the weights, 32 for dense `f32`.
    bits: u8,
    products: usize,
}

/// Runs so many products after their preparation.
pub(crate) fn once(args: &Once) -> anyhow::Result<()> {
    let (m, k) = SHAPE;
    let mut rng = SplitMix64::new(1);
    let weights: Vec<f32> = (0..m * k).map(|_| rng.next_normal() as f32).collect();
    let x: Vec<f32> = (0..k).map(|_| rng.next_normal() as f32).collect();
    let mut out = vec![0.0; m];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    if args.bits == 32 {
        let matrix = DenseMatrix::new(weights, m, k);
        pool.install(|| (0..args.products).for_each(|_| matrix.matmul_into(&x, 1, &mut out)));
        return Ok(());
    }
    // Codes as they come: what they are changes no count, and a quantizer takes long under valgrind.
    let codes = (0..m * k).map(|_| rng.below(1 << args.bits) as u8).collect();
    let (n_groups, zero_point) = (m * k / GROUP, 1 << (args.bits - 1));
    let quantized = GroupQuantized {
        bits: args.bits,
        m,
        k,
        group: GROUP,
        codes,
        scales: vec![0.125; n_groups],
        zeros: Zeros::Points(vec![zero_point; n_groups]),
        g_idx: None,
    };
    let matrix = LowBitMatrix::from_quantized(&quantized, Backend::Auto)?;
    let prepared = PreparedActivations::try_new(&x, 1, k, &ActConfig::for_matrix(&matrix))?;
    pool.install(|| (0..args.products).for_each(|_| matrix.matmul_into(&prepared, &mut out)));
    Ok(())
}

/// Instructions and bytes a weight at the levels that valgrind knows; the rows are empty where valgrind is not installed.
pub(super) fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut push = |row: String, published: Option<f64>, machine: &str, ours: Option<f64>, unit, conditions: &str| {
        rows.push(Row {
            paper: "tmac",
            table: "Energy (published, against llama.cpp) and what stands for it here",
            row,
            published,
            published_conditions: machine.to_owned(),
            ours,
            unit,
            conditions: conditions.to_owned(),
            deviation: None,
        });
    };
    for (model, saving) in PUBLISHED {
        push(model.to_owned(), Some(saving), "M2-Ultra", None, "%", "no power meter here");
    }
    let installed = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        eprintln!("valgrind is not installed, instructions are not counted; `apt-get install valgrind` installs it");
    }
    for isa in ["scalar", "avx2"] {
        for bits in [1, 2, 3, 4, 8, 32] {
            let conditions = format!("callgrind, {isa}, {}x{}, the product alone", SHAPE.0, SHAPE.1);
            let count = if installed { Some(instructions(isa, bits)?) } else { None };
            let name = if bits == 32 { "dense f32".to_owned() } else { format!("{bits} bit") };
            push(format!("{name}, {isa}: instructions a weight"), None, "none", count, "", &conditions);
        }
    }
    Ok(rows)
}

/// Instructions of a product, for a weight.
fn instructions(isa: &str, bits: u8) -> anyhow::Result<f64> {
    let weights = (SHAPE.0 * SHAPE.1) as f64;
    Ok((count(isa, bits, 3)? - count(isa, bits, 1)?) / 2.0 / weights)
}

/// Instructions of this program with so many products.
fn count(isa: &str, bits: u8, products: usize) -> anyhow::Result<f64> {
    let program = std::env::current_exe().context("the path of this program")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["once", &bits.to_string(), &products.to_string()])
        .env("PARSIMON_ISA", isa)
        .output()
        .context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected {
        Some(count) if output.status.success() => Ok(count),
        _ => bail!("valgrind counted nothing:\n{text}"),
    }
}
