//! VPTQ: the paper's ablation in shape on a synthetic layer of 512 x 512, perplexity against bits on a trained model that is here, and the paper's
//! perplexities, which are of models that are not.
//!
//! Ours is the relative proxy error of one layer; the paper's numbers are perplexities of Llama-2-13B on WikiText-2. They are not to be compared as
//! numbers; the order of the rows is.

mod trained;

use std::path::Path;

use anyhow::Context;
use parsimon_core::io::Checkpoint;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_vq::{
    ColumnWeights, FinetuneConfig, Gptq, Hessian, Layer, LayerReport, OutlierConfig, Outliers, Quantizer, Rtn, Vptq,
    VptqConfig, finetune,
};

use super::Row;

/// A row of the ablation: its name, the configuration, training of the codebooks, and the paper's perplexity where there is one.
type Ablation = (&'static str, VptqConfig, bool, Option<f64>);

fn ablation() -> Vec<Ablation> {
    let base = VptqConfig::default();
    let book = |vector_len: usize, centroids: usize, residual: usize, beam: usize| VptqConfig {
        vector_len,
        centroids,
        residual,
        beam,
        iters: 30,
        ..base.clone()
    };
    let outliers = |percent: f64| {
        let columns = Outliers::Percent(percent);
        VptqConfig { outlier: Some(OutlierConfig { columns, vector_len: 4, centroids: 256 }), ..base.clone() }
    };
    vec![
        ("v 2, K 16", book(2, 16, 0, 1), false, Some(14800.0)),
        ("v 4, K 256", base.clone(), false, Some(7.21)),
        ("v 6, K 4096", book(6, 4096, 0, 1), false, Some(6.29)),
        ("v 4, K 256, errors not spread", VptqConfig { feedback: false, ..base.clone() }, false, None),
        (
            "v 4, K 256, k-means weighed by H_jj, no refits",
            VptqConfig { weights: ColumnWeights::Hessian, em_rounds: 0, ..base.clone() },
            false,
            None,
        ),
        ("v 8, 256 + 256", book(8, 256, 256, 1), false, None),
        ("v 8, 256 + 256, beam 8", book(8, 256, 256, 8), false, None),
        ("v 4, K 256, outliers 1 %", outliers(1.0), false, None),
        ("v 4, K 256, outliers 2 %", outliers(2.0), false, None),
        ("v 4, K 256, outliers 5 %", outliers(5.0), false, None),
        ("v 4, K 256, 2 groups", VptqConfig { groups: 2, ..base.clone() }, false, None),
        ("v 4, K 256, 4 groups", VptqConfig { groups: 4, ..base.clone() }, false, None),
        ("v 4, K 256, layer trained", base.clone(), true, None),
        ("v 8, 256 + 256, beam 8, layer trained", book(8, 256, 256, 8), true, None),
        ("v 4, 256 + 16 (3 bits)", book(4, 256, 16, 1), false, Some(4.82)),
        ("v 4, 256 + 256 (4 bits)", book(4, 256, 256, 1), false, Some(4.64)),
    ]
}

/// Perplexities of WikiText-2 that the paper prints: model, bits, method.
const PUBLISHED: [(&str, f64); 12] = [
    ("Llama-2-7B, FP16", 5.12),
    ("Llama-2-7B, GPTQ 2.125 bits", 50.75),
    ("Llama-2-7B, QuIP# 2 bits", 6.19),
    ("Llama-2-7B, AQLM 2.29 bits", 6.29),
    ("Llama-2-7B, VPTQ 2.02 bits", 6.13),
    ("Llama-2-7B, VPTQ 2.26 bits", 5.95),
    ("Llama-2-13B, VPTQ 2.02 bits", 5.32),
    ("Llama-2-70B, VPTQ 2.07 bits", 3.93),
    ("Llama-3-8B, VPTQ 2.08 bits", 9.29),
    ("Llama-3-8B, VPTQ 3.03 bits", 6.97),
    ("Mistral-7B, VPTQ 2.04 bits", 5.64),
    ("Mistral-7B, GPTQ 2 bits", 1535.0),
];

pub(super) fn rows(figures: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let shared = std::env::var_os("PARSIMON_SHARED").map_or_else(|| "../shared".into(), std::path::PathBuf::from);
    let path = shared.join("data/vq/synth.safetensors");
    let file = Checkpoint::open(&path).with_context(|| "set PARSIMON_SHARED to the folder of the golden data")?;
    let weights = file.tensor("w")?.to_f32()?;
    let lower = file.tensor("h_tril")?.to_f64()?;
    let k = 512;
    let at = |i: usize, j: usize| lower[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)];
    let hessian = Hessian::try_new((0..k * k).map(|i| at(i / k, i % k)).collect(), k)?;
    let layer = Layer { name: "synth", weights: &weights, m: weights.len() / k, k, hessian: &hessian };
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    let mut rows = Vec::new();
    let mut push = |name: &str, report: &LayerReport, published: Option<f64>| {
        let bits = report.bits.total();
        rows.push(Row {
            paper: "vptq",
            table: "Ablation: the paper's perplexity of Llama-2-13B, our relative proxy error of a layer",
            row: format!("{name} ({bits:.2} bits here)"),
            published,
            published_conditions: "WikiText-2".into(),
            ours: Some(report.rel),
            unit: "rel",
            conditions: "a synthetic layer of 512 x 512 with outlier inputs, f16, seed 0".into(),
            // Numbers of two kinds.
            deviation: None,
        });
    };
    push("rounding to nearest, 2 bits, groups of 64", &Rtn { bits: 2, group: 64 }.quantize(&layer, &control)?.1, None);
    for act_order in [false, true] {
        let gptq = Gptq { act_order, ..Gptq::new(2, 64) };
        let name = if act_order { "GPTQ, 2 bits, groups of 64, act-order" } else { "GPTQ, 2 bits, groups of 64" };
        push(name, &gptq.quantize(&layer, &control)?.1, None);
    }
    for (name, config, trained, published) in ablation() {
        let (linear, mut report) = Vptq { config }.quantize(&layer, &control)?;
        if trained {
            let tuned = finetune(&linear, &layer, &FinetuneConfig::default(), &control)?;
            report.rel = tuned.rel_after.min(tuned.rel_before);
        }
        push(name, &report, published);
    }
    rows.extend(trained::rows(&shared.join("data/models"), figures)?);
    rows.extend(PUBLISHED.map(|(row, perplexity)| Row {
        paper: "vptq",
        table: "Perplexity, published; the models are not here",
        row: row.into(),
        published: Some(perplexity),
        published_conditions: "WikiText-2".into(),
        ours: None,
        unit: "ppl",
        conditions: "not measured".into(),
        deviation: None,
    }));
    Ok(rows)
}
