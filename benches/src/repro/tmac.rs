//! T-MAC's times of low-bit GEMV on one thread, and what follows from them.
//!
//! The published times are read off the paper's figures, so they are good to about 2 %. They are of other machines: what to compare is
//! the shape (time proportional to bits) and the ratio to llama.cpp, less so the times.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{ActConfig, Backend, LowBitMatrix, Plan, PreparedActivations, Traits};
use parsimon_simd::Level;
use serde_json::Value;

use super::Row;
use crate::measure::time;
use crate::probe;

type Shape = (usize, usize);

/// One figure of a machine: milliseconds of T-MAC at 1 to 4 bits and of llama.cpp at 2 to 4.
struct Published {
    machine: &'static str,
    shape: Shape,
    tmac: [f64; 4],
    llama: [f64; 3],
}

const SQUARE: Shape = (4096, 4096);
const TALL: Shape = (11008, 4096);

const PUBLISHED: [Published; 5] = [
    Published { machine: "M2-Ultra", shape: SQUARE, tmac: [0.064, 0.125, 0.211, 0.252], llama: [0.506, 0.664, 0.416] },
    Published { machine: "M2-Ultra", shape: TALL, tmac: [0.161, 0.328, 0.628, 0.672], llama: [1.361, 1.789, 1.094] },
    Published {
        machine: "Raspberry Pi 5",
        shape: SQUARE,
        tmac: [0.241, 0.494, 0.823, 0.949],
        llama: [2.797, 3.962, 2.949],
    },
    Published { machine: "Jetson Orin", shape: SQUARE, tmac: [0.221, 0.481, 0.766, 0.922], llama: [4.03, 3.94, 4.01] },
    Published {
        machine: "Surface Book 3, AVX2",
        shape: SQUARE,
        tmac: [0.109, 0.214, 0.431, 0.674],
        llama: [0.595, 0.970, 1.076],
    },
];

/// The stated largest speed-ups over llama.cpp at 1 to 4 bits.
const SPEEDUP_MAX: [f64; 4] = [11.2, 5.8, 4.7, 3.1];

/// llama.cpp's format that stands beside 1 to 4 bits: it had none of 1 bit, so that one stands beside 2 bits.
const LLAMA: [&str; 4] = ["llama.cpp q2_K", "llama.cpp q2_K", "llama.cpp q3_K", "llama.cpp q4_0"];

const GROUP: usize = 128;

/// A working set that no cache of a common machine holds.
const COLD_BYTES: usize = 320 << 20;

/// Milliseconds by shape and variant.
type Measured = BTreeMap<(Shape, String), f64>;

pub(super) fn rows(peers: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let (measured, run) = match peers {
        Some(path) => (read(path)?, "median, alternating with the peers in one process"),
        None => (measure()?, "median"),
    };
    let conditions = format!(
        "{}, {}, 1 thread, weights cold, groups of {GROUP}, tables built in the time, {run}",
        probe::processor(),
        Level::best()
    );
    Ok(all_rows(&measured, &conditions))
}

fn all_rows(measured: &Measured, conditions: &str) -> Vec<Row> {
    let ms = |shape, variant: &str| measured.get(&(shape, variant.to_owned())).copied();
    let row =
        |table, row: String, machine: &str, published: Option<f64>, ours: Option<f64>, unit, conditions: String| Row {
            paper: "tmac",
            table,
            row,
            published,
            published_conditions: machine.to_owned(),
            ours,
            unit,
            conditions,
            deviation: published.zip(ours).map(|(published, ours)| ours / published - 1.0),
        };
    let mut rows = Vec::new();
    for Published { machine, shape, tmac, llama } in &PUBLISHED {
        for bits in 1..=4 {
            let name = format!("T-MAC {}x{} {bits} bit", shape.0, shape.1);
            let ours = ms(*shape, &ours(bits));
            rows.push(row("GEMV, 1 thread", name, machine, Some(tmac[bits - 1]), ours, "ms", conditions.to_owned()));
        }
        for bits in 1..=4 {
            let format = if bits == 1 { "llama.cpp q1_0" } else { LLAMA[bits - 1] };
            let name = format!("llama.cpp {}x{} {bits} bit", shape.0, shape.1);
            let published = (bits > 1).then(|| llama[bits - 2]);
            let conditions = format!("{format}: {conditions}");
            rows.push(row("GEMV, 1 thread", name, machine, published, ms(*shape, format), "ms", conditions));
        }
    }
    for Published { machine, shape, tmac, .. } in &PUBLISHED {
        for bits in 2..=4 {
            let name = format!("{}x{} {bits} bit over 1 bit", shape.0, shape.1);
            let published = Some(tmac[bits - 1] / tmac[0]);
            let ratio = ms(*shape, &ours(bits)).zip(ms(*shape, &ours(1))).map(|(ms, one)| ms / one);
            rows.push(row("Time follows bits", name, machine, published, ratio, "x", conditions.to_owned()));
        }
    }
    for bits in 1..=4 {
        let format = LLAMA[bits - 1];
        let speedups =
            [SQUARE, TALL].into_iter().filter_map(|shape| Some(ms(shape, format)? / ms(shape, &ours(bits))?));
        let largest = speedups.reduce(f64::max);
        let name = format!("{bits} bit over {format}");
        let published = Some(SPEEDUP_MAX[bits - 1]);
        let text = format!("largest of 4096x4096 and 11008x4096: {conditions}");
        rows.push(row("Largest speed-up over llama.cpp", name, "all machines", published, largest, "x", text));
    }
    rows
}

/// The name of our planned variant in the records of the comparison.
fn ours(bits: usize) -> String {
    let plan = Plan::new(Traits { bits: bits as u8, ternary: false, group: GROUP }, Level::best());
    format!("ours {} {bits}bit", plan.expect("1 to 4 bits have a plan").kernel.name())
}

/// Medians of the records of the comparison with one token, cold weights and one thread.
fn read(path: &Path) -> anyhow::Result<Measured> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut measured = Measured::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?;
        for shape in [SQUARE, TALL] {
            if record["case"] == format!("{}x{} n=1 cold", shape.0, shape.1) && record["threads"] == 1 {
                let us = record["median"].as_f64().context("a record without a median")?;
                measured.insert((shape, record["variant"].as_str().unwrap_or_default().to_owned()), us / 1e3);
            }
        }
    }
    Ok(measured)
}

fn measure() -> anyhow::Result<Measured> {
    let mut measured = Measured::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut rng = SplitMix64::new(1);
    for (m, k) in [SQUARE, TALL] {
        let weights: Vec<f32> = (0..m * k).map(|_| rng.next_normal() as f32).collect();
        let x: Vec<f32> = (0..k).map(|_| rng.next_normal() as f32).collect();
        for bits in 1..=4u8 {
            let quantized = quantize(&weights, m, k, Levels::Bits(bits), GROUP)?;
            let matrix = LowBitMatrix::from_quantized(&quantized, Backend::Auto)?;
            let config = ActConfig::for_matrix(&matrix);
            let mut prepared = PreparedActivations::try_new(&x, 1, k, &config)?;
            let copies = vec![matrix.clone(); COLD_BYTES.div_ceil(matrix.bytes())];
            let mut out = vec![0.0; m];
            let times = pool.install(|| {
                time(Duration::from_millis(500), |i| {
                    prepared.prepare(black_box(&x), 1, k, &config).expect("the same activations were prepared before");
                    copies[i % copies.len()].matmul_into(&prepared, black_box(&mut out));
                })
            });
            measured.insert(((m, k), ours(usize::from(bits))), 1e3 * times.median);
        }
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_stays_empty() {
        let measured = Measured::from([((SQUARE, ours(1)), 0.128), ((SQUARE, ours(2)), 0.2)]);
        let rows = all_rows(&measured, "here");
        let find = |name: &str, machine: &str| {
            rows.iter().find(|row| row.row == name && row.published_conditions == machine).unwrap()
        };
        let first = find("T-MAC 4096x4096 1 bit", "M2-Ultra");
        assert_eq!((first.published, first.ours, first.deviation), (Some(0.064), Some(0.128), Some(1.0)));
        let llama = find("llama.cpp 4096x4096 1 bit", "M2-Ultra");
        assert_eq!((llama.published, llama.ours, llama.deviation), (None, None, None));
        assert_eq!(find("T-MAC 11008x4096 1 bit", "M2-Ultra").ours, None);
        assert_eq!(find("4096x4096 2 bit over 1 bit", "M2-Ultra").ours, Some(0.2 / 0.128));
        assert_eq!(find("1 bit over llama.cpp q2_K", "all machines").ours, None);
    }
}
