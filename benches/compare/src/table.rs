//! The printed table of a case, and its records.

use parsimon_simd::Level;
use serde_json::json;

use crate::case::{COLD_BYTES, Case};
use crate::measure::Times;
use crate::ours::DENSE;
use crate::probe::read_bandwidth;
use crate::record::Record;
use crate::variant::{Class, Part, Plan};

type Row<'a> = (&'a Plan, usize, Times);

/// Prints the variants of a case beside each other and returns their records.
///
/// A peer's ratio is our time over its time, ours being the fastest whole product of the same class: below 1 we are faster.
pub(crate) fn print(case: &Case, rows: &[Row<'_>]) -> Vec<Record> {
    println!("\n{}, {} threads", case.name(), case.threads);
    println!(
        "{:<30} {:>6} {:>11} {:>11} {:>7} {:>8} {:>9} {:>9} {:>6}",
        "variant", "bits", "median us", "min us", "GB/s", "GOP/s", "ours/it", "of minima", "runs"
    );
    let bandwidth = (case.is_cold && case.threads == 1).then(|| read_bandwidth(COLD_BYTES));
    rows.iter()
        .map(|row| {
            let record = record(case, row, rows, bandwidth);
            print_row(case, row, &record);
            record
        })
        .collect()
}

fn print_row(case: &Case, (plan, bytes, times): &Row<'_>, record: &Record) {
    let ratio = |ratio: Option<f64>| match ratio {
        Some(ratio) if !plan.is_ours() => format!("{ratio:.2}"),
        _ => "-".into(),
    };
    println!(
        "{:<30} {:>6.3} {:>11.1} {:>11.1} {:>7.1} {:>8.0} {:>9} {:>9} {:>6}",
        plan.name,
        8.0 * *bytes as f64 / (case.m * case.k) as f64,
        times.median * 1e6,
        times.min * 1e6,
        *bytes as f64 / times.median * 1e-9,
        2e-9 * (case.m * case.k * case.n) as f64 / times.median,
        ratio(record.ratio_to_baseline),
        ratio(record.params.get("ratio_of_minima").and_then(|value| value.as_f64())),
        times.runs
    );
}

fn record(case: &Case, (plan, bytes, times): &Row<'_>, rows: &[Row<'_>], bandwidth: Option<f64>) -> Record {
    let baseline = baseline(plan, rows);
    let limit = bandwidth.map(|bandwidth| 1e6 * *bytes as f64 / bandwidth);
    let mut params = std::collections::BTreeMap::from([
        ("m", json!(case.m)),
        ("k", json!(case.k)),
        ("n", json!(case.n)),
        ("bits_per_weight", json!(8.0 * *bytes as f64 / (case.m * case.k) as f64)),
    ]);
    if let Some((_, _, ours)) = baseline {
        params.insert("ratio_of_minima", json!(ours.min / times.min));
    }
    Record {
        area: "lut-peers",
        params,
        limit,
        pct_of_limit: limit.map(|limit| 100.0 * limit / (1e6 * times.median)),
        baseline: baseline.map(|(ours, _, _)| ours.name.clone()),
        ratio_to_baseline: baseline.map(|(_, _, ours)| ours.median / times.median),
        ..Record::lut_time(&case.name(), &plan.name, Level::best(), case.threads, *times)
    }
}

/// What a variant is compared with: ours with dense `f32`, a peer's with our best of its class.
fn baseline<'a, 'b>(plan: &Plan, rows: &'a [Row<'b>]) -> Option<&'a Row<'b>> {
    let ours = rows.iter().filter(|(other, _, _)| other.is_ours() && other.part == Part::Whole);
    if plan.is_ours() {
        return ours.into_iter().find(|(other, _, _)| other.name.ends_with(DENSE));
    }
    ours.filter(|(other, _, _)| other.class == plan.class && plan.class != Class::Float)
        .min_by(|(_, _, a), (_, _, b)| a.median.total_cmp(&b.median))
}
