//! The closing table of the demo.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Made, Variant};

/// One row a model: bits, size, quality, speed.
struct Row {
    name: &'static str,
    bits_per_weight: f64,
    bytes: u64,
    ppl: f64,
    tokens_per_s: f64,
}

/// Reads the run folder and draws the table.
pub(super) fn table(out: &Path, variants: &[Variant]) -> Result<String> {
    let rows = variants.iter().map(|variant| row(out, variant)).collect::<Result<Vec<_>>>()?;
    Ok(drawn(&rows))
}

fn row(out: &Path, variant: &Variant) -> Result<Row> {
    let folder = out.join(variant.folder());
    let bits_per_weight = match variant.made {
        Made::Trained => 32.0,
        _ => number(&folder.join("quantize.json"), "bits_per_weight")?,
    };
    let model = folder.join("model.safetensors");
    Ok(Row {
        name: variant.name,
        bits_per_weight,
        bytes: std::fs::metadata(&model).with_context(|| format!("cannot read {}", model.display()))?.len(),
        ppl: number(&out.join(format!("eval/{}.json", variant.name)), "ppl")?,
        tokens_per_s: number(&out.join(format!("generate/{}.json", variant.name)), "tokens_per_s")?,
    })
}

fn number(path: &Path, key: &str) -> Result<f64> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    value[key].as_f64().with_context(|| format!("{} has no number `{key}`", path.display()))
}

fn drawn(rows: &[Row]) -> String {
    let base = rows.first().map_or(f64::NAN, |row| row.tokens_per_s);
    let mut table = format!(
        "{:<8}{:>14}{:>12}{:>14}{:>12}{:>14}\n",
        "model", "bits/weight", "size", "perplexity", "tokens/s", "against f32"
    );
    for row in rows {
        let (size, ratio) = (format!("{:.2} MB", row.bytes as f64 / 1e6), format!("{:.2}x", row.tokens_per_s / base));
        table.push_str(&format!(
            "{:<8}{:>14.2}{size:>12}{:>14.3}{:>12.0}{ratio:>14}\n",
            row.name, row.bits_per_weight, row.ppl, row.tokens_per_s
        ));
    }
    table.push_str(
        "bits/weight: of the quantized projections, scales and zero points included; size: the whole checkpoint.\n",
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_shown_against_the_first_row() {
        let row =
            |name, tokens_per_s| Row { name, bits_per_weight: 4.25, bytes: 2_500_000, ppl: 12.3456, tokens_per_s };
        let table = drawn(&[row("f32", 100.0), row("q4", 250.0)]);
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["f32", "4.25", "2.50", "MB", "12.346", "100", "1.00x"]);
        assert_eq!(words[2], ["q4", "4.25", "2.50", "MB", "12.346", "250", "2.50x"]);
    }
}
