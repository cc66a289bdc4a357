//! The kernels of a matrix at every level, with bytes and operations.

use parsimon::lut::roofline::Work;
use parsimon::lut::{Footprint, Plan, StoredZeros, Traits};
use parsimon::simd::Level;
use serde::Serialize;

use crate::failure::BadInput;

/// What `--plan` asks for: a matrix `[m, k]` with one zero point, times `n` tokens.
#[derive(Serialize)]
pub(super) struct PlanReport {
    m: usize,
    k: usize,
    n: usize,
    bits: u8,
    ternary: bool,
    group: usize,
    /// This machine's level first, then every lower one.
    levels: Vec<LevelPlan>,
}

#[derive(Serialize)]
struct LevelPlan {
    level: &'static str,
    kernel: String,
    reason: &'static str,
    /// Rows of a tile.
    tile_m: usize,
    codes_bytes: usize,
    scales_bytes: usize,
    /// Of codes, scales and constants, over the weights.
    bits_per_weight: f64,
    /// One token.
    gemv: Cost,
    /// All tokens.
    work: Cost,
}

/// What a product costs at least.
#[derive(Serialize)]
struct Cost {
    /// Bytes of weights that it reads.
    bytes: u64,
    /// Bytes that the kernel's inner operation looks up, or multiplies and adds.
    operations: u64,
    flops: u64,
    operations_per_byte: f64,
}

impl PlanReport {
    /// Plans for the words of `--plan`.
    pub(super) fn new(words: &[String], group: usize, best: Level) -> anyhow::Result<Self> {
        let [m, k, n, bits] = words else {
            return Err(BadInput::new("--plan takes four values: M K N BITS").into());
        };
        let (m, k, n) = (number("M", m)?, number("K", k)?, number("N", n)?);
        if n == 0 {
            return Err(BadInput::new("N = 0 tokens: a product needs at least 1").into());
        }
        let (bits, ternary) = match bits.as_str() {
            "ternary" => (2, true),
            bits => (number("BITS", bits)?, false),
        };
        // As when it is packed: one group a row is a group of k.
        let group = group.min(k);
        let traits = Traits { bits, ternary, group };
        let levels = std::iter::successors(Some(best), |level| level.lower());
        let levels: Result<Vec<_>, _> = levels.map(|level| LevelPlan::new(traits, (m, k), n, level)).collect();
        Ok(PlanReport { m, k, n, bits, ternary, group, levels: levels? })
    }

    pub(super) fn render(&self) -> String {
        let PlanReport { m, k, n, group, .. } = *self;
        let width = if self.ternary { "ternary".to_owned() } else { format!("{} bits", self.bits) };
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        let tokens = if n == 1 { "1 token".to_owned() } else { format!("{n} tokens") };
        let products = if n > 1 { vec![1, n] } else { vec![1] };
        let mut header: Vec<String> =
            ["level", "kernel", "rows a tile", "codes", "scales", "bits a weight", "read"].map(str::to_owned).into();
        header.extend(products.iter().map(|n| format!("operations, n = {n}")));
        header.push(format!("a byte, n = {n}"));
        table.set_header(header);
        for plan in &self.levels {
            let mut row = vec![plan.level.to_owned(), plan.kernel.clone(), plan.tile_m.to_string()];
            row.extend([plan.codes_bytes, plan.scales_bytes].map(|bytes| bytes.to_string()));
            row.extend([format!("{:.3}", plan.bits_per_weight), plan.gemv.bytes.to_string()]);
            row.extend([&plan.gemv, &plan.work][..products.len()].iter().map(|cost| cost.operations.to_string()));
            row.push(format!("{:.2}", plan.work.operations_per_byte));
            table.add_row(row);
        }
        let mut lines = vec![format!("weights [{m}, {k}], {width}, groups of {group}, one zero point, times {tokens}")];
        lines.push(table.to_string());
        lines.extend(self.levels.iter().map(|plan| format!("{}: {}: {}", plan.level, plan.kernel, plan.reason)));
        let flops = self.levels.first().map_or(0, |plan| plan.work.flops);
        lines.push(format!("sizes in bytes; a product reads the weights once; {flops} multiplications and additions"));
        lines.push("no time is below bytes / bandwidth or operations / peak".to_owned());
        lines.join("\n")
    }
}

impl LevelPlan {
    fn new(traits: Traits, shape: (usize, usize), n: usize, level: Level) -> anyhow::Result<Self> {
        let Plan { kernel, reason } = Plan::new(traits, level)?;
        let footprint = Footprint::try_new(kernel, traits, shape, StoredZeros::Uniform)?;
        let cost = |n| Cost::new(&Work::of_shape(kernel.method(), traits.bits, shape, footprint.bytes(), n));
        Ok(LevelPlan {
            level: level.name(),
            kernel: kernel.name(),
            reason,
            tile_m: kernel.tile_m(),
            codes_bytes: footprint.codes,
            scales_bytes: footprint.scales,
            bits_per_weight: 8.0 * footprint.bytes() as f64 / (shape.0 as f64 * shape.1 as f64),
            gemv: cost(1),
            work: cost(n),
        })
    }
}

impl Cost {
    fn new(work: &Work) -> Self {
        let Work { bytes, operations, flops } = *work;
        Cost { bytes, operations, flops, operations_per_byte: operations as f64 / bytes as f64 }
    }
}

/// A whole number of the arguments.
fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, BadInput>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| {
        let or = if name == "BITS" { " (1 to 8, or `ternary`)" } else { "" };
        BadInput::new(format!("{name} = `{text}` is no whole number{or}: {e}"))
    })
}
