//! Sigma's decode times and SeerAttention's speed-ups, beside what a CPU reaches: the shape is what can be compared, not the times.

use std::time::Duration;

use parsimon_attn::HeadMap;
use parsimon_attn::KvDtype;
use parsimon_attn::cost::CostShape;

use super::Row;
use crate::attention::{decode_times, sparse_speedups};
use crate::probe::processor;

/// PAPER(sigma Table 15): the saving of heads 32/4/16 over 32/16/16 in total kernel time, by the length of the prefix, on an H100.
const SIGMA_SAVING: [(usize, f64); 4] = [(2048, 0.0139), (4096, 0.1802), (16_384, 0.2335), (32_768, 0.2531)];

/// PAPER(seerattention §4): kernel speed-up over FlashAttention-2 by sparsity, gate included, on an A100 at 8k.
const SEER_SPEEDUP: [(f64, f64); 5] = [(0.5, 1.56), (0.6, 1.76), (0.7, 2.16), (0.8, 2.92), (0.9, 4.15)];

pub(super) fn sigma() -> anyhow::Result<Vec<Row>> {
    let conditions = format!("one layer, d = 128, f32, one token, one thread; {}", processor());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut rows = vec![cache_row()?];
    for (n, published) in SIGMA_SAVING {
        let budget = Duration::from_millis(400);
        let (sigma, gqa) = pool.install(|| {
            let sigma = decode_times((32, 4, 16), KvDtype::F32, n, budget)?.0;
            anyhow::Ok((sigma, decode_times((32, 16, 16), KvDtype::F32, n, budget)?.0))
        })?;
        let ours = 1.0 - sigma.min / gqa.min;
        rows.push(row(
            "sigma",
            "Table 15: saving of decode time",
            format!("prefix {n}"),
            published,
            Some(ours),
            &conditions,
        ));
    }
    rows.push(row(
        "sigma",
        "saving at 64k prefix and output",
        "total".into(),
        0.3336,
        None,
        "not run: hours of decode on a CPU",
    ));
    Ok(rows)
}

fn cache_row() -> anyhow::Result<Row> {
    let shape = |n_k| {
        let heads = HeadMap::try_new(32, n_k, 16)?;
        anyhow::Ok(CostShape {
            layers: 26,
            heads,
            d_qk: 64,
            d_k_cached: 64,
            d_v: 64,
            bytes: 2,
            hidden: 2048,
            d_aug: 3072,
        })
    };
    let ours = shape(4)?.kv_saving(&shape(16)?);
    Ok(row("sigma", "saving of cache bytes", "1.5B".into(), 0.375, Some(ours), "counted"))
}

pub(super) fn seerattention() -> anyhow::Result<Vec<Row>> {
    let conditions =
        format!("random lists, h = 8, d = 128, f32, n = 8192, kernel without gate, one thread; {}", processor());
    let ours = sparse_speedups(8192, &SEER_SPEEDUP.map(|(sparsity, _)| 1.0 - sparsity))?;
    let rows = SEER_SPEEDUP.iter().zip(ours);
    Ok(rows
        .map(|(&(sparsity, published), ours)| {
            let table = "kernel speed-up over dense at 8k";
            row("seerattention", table, format!("sparsity {sparsity}"), published, Some(ours), &conditions)
        })
        .collect())
}

fn row(
    paper: &'static str,
    table: &'static str,
    row: String,
    published: f64,
    ours: Option<f64>,
    conditions: &str,
) -> Row {
    let published_conditions = if table.contains("bytes") { "counted" } else { "GPU" }.to_owned();
    Row {
        paper,
        table,
        row,
        published: Some(published),
        published_conditions,
        ours,
        unit: "",
        conditions: conditions.to_owned(),
        deviation: ours.map(|ours| ours / published - 1.0),
    }
}
