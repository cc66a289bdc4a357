//! The record of a measurement, and where records go.

use std::collections::BTreeMap;

use parsimon_simd::Level;
use serde::Serialize;
use serde_json::Value;

use crate::measure::Times;

/// One measurement; the field names are the contract of docs/ARCHITECTURE.md.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) area: &'static str,
    pub(crate) case: String,
    pub(crate) variant: String,
    pub(crate) params: BTreeMap<&'static str, Value>,
    pub(crate) isa: &'static str,
    pub(crate) threads: usize,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
    /// The physical bound in the same unit, from a probe in the same run.
    pub(crate) limit: Option<f64>,
    pub(crate) pct_of_limit: Option<f64>,
    /// The variant that the ratio compares with.
    pub(crate) baseline: Option<String>,
    /// How many times faster than the baseline.
    pub(crate) ratio_to_baseline: Option<f64>,
    /// The result was compared with the reference before timing; a failed comparison ends the run.
    pub(crate) checked: bool,
}

impl Record {
    /// A time in microseconds of the area `lut`, without limit and baseline.
    pub(crate) fn lut_time(case: &str, variant: &str, level: Level, threads: usize, times: Times) -> Self {
        Record {
            area: "lut",
            case: case.to_owned(),
            variant: variant.to_owned(),
            params: BTreeMap::new(),
            isa: level.name(),
            threads,
            metric: "time",
            unit: "us",
            median: times.median * 1e6,
            min: times.min * 1e6,
            max: times.max * 1e6,
            runs: times.runs,
            limit: None,
            pct_of_limit: None,
            baseline: None,
            ratio_to_baseline: None,
            checked: true,
        }
    }
}

/// Prints records as they come and keeps them.
pub(crate) struct Sink {
    filter: Option<String>,
    records: Vec<Record>,
}

impl Sink {
    pub(crate) fn new(filter: Option<String>) -> Self {
        println!(
            "{:<6} {:<22} {:<23} {:>3} {:>11} {:>11} {:<9} {:>6} {:>8} {:>7} {:>8} {:>6}",
            "area", "case", "variant", "thr", "median", "min", "unit", "limit", "ratio", "GB/s", "GOP/s", "/dot"
        );
        Sink { filter, records: Vec::new() }
    }

    /// Whether a case is asked for.
    pub(crate) fn wants(&self, case: &str, variant: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| case.contains(filter) || variant.contains(filter))
    }

    pub(crate) fn push(&mut self, record: Record) {
        let percent = record.pct_of_limit.map_or_else(|| "-".into(), |p| format!("{p:.0} %"));
        let ratio = record.ratio_to_baseline.map_or_else(|| "-".into(), |r| format!("{r:.2}x"));
        let number = |name: &str, digits: usize| match record.params.get(name).and_then(Value::as_f64) {
            Some(number) => format!("{number:.digits$}"),
            None => "-".into(),
        };
        println!(
            "{:<6} {:<22} {:<23} {:>3} {:>11.3} {:>11.3} {:<9} {percent:>6} {ratio:>8} {:>7} {:>8} {:>6}",
            record.area,
            record.case,
            record.variant,
            record.threads,
            record.median,
            record.min,
            record.unit,
            number("gb_per_s", 1),
            number("gop_per_s", 0),
            number("ratio_to_dot_peak", 2)
        );
        self.records.push(record);
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }
}
