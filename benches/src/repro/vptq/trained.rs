//! Perplexity against bits on a trained model: rounding, GPTQ and codebooks.

use std::path::Path;

use anyhow::Context;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{
    CalibratedMethod, LoadOptions, Model, PerplexityOptions, Tokenizer, calibration_windows, perplexity,
    quantize_calibrated,
};
use parsimon_vq::{FloatType, Gptq, QuantizeError, Rtn, VptqConfig};

use super::super::Row;
use super::super::figure::{Figure, Series};

const MODEL: &str = "llama-ref-16m";
/// Tokens of a window, of calibration and of the held-out text alike.
const CTX: usize = 512;
const CALIBRATION_WINDOWS: usize = 64;
const WINDOWS: usize = 32;
const GROUP: usize = 64;

/// The rows, and the figure where a folder is given.
pub(super) fn rows(models: &Path, figures: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let folder = models.join(MODEL);
    let tokenizer = Tokenizer::open(&folder)?;
    let text = |file: &str| {
        let path = models.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(tokenizer.encode(&text, true)?)
    };
    let (windows, heldout) =
        (calibration_windows(&text("calibration_docs.txt")?, CTX, CALIBRATION_WINDOWS)?, text("heldout_docs.txt")?);
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    let options = PerplexityOptions { max_windows: Some(WINDOWS), ..PerplexityOptions::new(CTX) };
    let ppl = |folder: &Path| {
        let model = Model::open(folder, &LoadOptions { dequantize: true, ..LoadOptions::default() })?;
        anyhow::Ok(perplexity(&model, &heldout, &options, &control)?.ppl)
    };
    let full = ppl(&folder)?;
    let mut rows = vec![row("16 bits".to_owned(), full)];
    let mut lines = Vec::new();
    let preset = |bits: f64| {
        move |shape: (usize, usize), float: FloatType| {
            let option = || QuantizeError::Option { key: "bits", value: bits.to_string(), expected: "2, 3 or 4" };
            VptqConfig::preset(bits, shape, float).ok_or_else(option)
        }
    };
    for name in ["rounding to nearest", "GPTQ, act-order", "VPTQ"] {
        let mut points = Vec::new();
        for bits in [2u8, 3, 4] {
            let choose = preset(f64::from(bits));
            let method = match name {
                "VPTQ" => CalibratedMethod::Vptq { config: &choose, finetune: None, explain: false },
                "GPTQ, act-order" => CalibratedMethod::Gptq(Gptq { act_order: true, ..Gptq::new(bits, GROUP) }),
                _ => CalibratedMethod::Rtn(Rtn { bits, group: GROUP }),
            };
            let out = tempfile::tempdir()?;
            let report = quantize_calibrated(&folder, out.path(), &windows, &method, &control)?;
            let perplexity = ppl(out.path())?;
            eprintln!("{name}, {:.2} bits: perplexity {perplexity:.3}", report.bits_per_weight);
            rows.push(row(format!("{name}, {:.2} bits with everything", report.bits_per_weight), perplexity));
            points.push((report.bits_per_weight, perplexity));
        }
        lines.push(Series { name: name.to_owned(), points });
    }
    if let Some(dir) = figures {
        let figure = Figure {
            title: "Perplexity of llama-ref-16m against bits a weight",
            x: "bits a weight, everything counted",
            y: "perplexity",
            level: Some(("16 bits", full)),
            is_log: true,
        };
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("vptq-perplexity.svg"), figure.svg(&lines))?;
    }
    Ok(rows)
}

fn row(row: String, perplexity: f64) -> Row {
    Row {
        paper: "vptq",
        table: "Perplexity of a trained model of 16 million parameters",
        row,
        published: None,
        published_conditions: "-".into(),
        ours: Some(perplexity),
        unit: "ppl",
        conditions: format!(
            "{MODEL}, {WINDOWS} windows of {CTX} held-out tokens, {CALIBRATION_WINDOWS} for calibration"
        ),
        deviation: None,
    }
}
