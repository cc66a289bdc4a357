//! Records of `cargo xtask bench lut` as plots: the time of a product over the bits that it reads for a weight.
//!
//! A kernel whose time is proportional to the bits (the claim of T-MAC) lies on a line through the origin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parsimon::tensor::Diagnose;
use serde::Deserialize;

use super::numbers::{escape, significant};
use super::page::document;
use super::svg::{Axis, Plot, Point, Scale};

/// One line of a record file, as far as it is shown; docs/ARCHITECTURE.md has the whole.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    area: String,
    case: String,
    variant: String,
    threads: usize,
    metric: String,
    unit: String,
    median: f64,
    params: BTreeMap<String, serde_json::Value>,
}

/// A record file cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{}: cannot read: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {source}", file.display())]
    BadRecord { file: PathBuf, line: usize, source: serde_json::Error },
    #[error("{}: no time of a low-bit product, `cargo xtask bench lut --json FILE` records some", file.display())]
    NothingToDraw { file: PathBuf },
}

impl Diagnose for BenchError {
    fn file(&self) -> Option<&Path> {
        match self {
            BenchError::Read { file, .. } | BenchError::BadRecord { file, .. } | BenchError::NothingToDraw { file } => {
                Some(file)
            }
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            BenchError::BadRecord { line, .. } => Some(format!("line {line}")),
            _ => None,
        }
    }
}

/// A time at a number of bits, with the variant it belongs to.
struct Timed {
    bits: f64,
    micros: f64,
    variant: String,
}

/// The variants of a case by kernel.
type Series = BTreeMap<String, Vec<Timed>>;

/// Draws all cases of a record file.
pub(crate) fn bench_page(file: &Path) -> Result<String, BenchError> {
    let text = std::fs::read_to_string(file).map_err(|source| BenchError::Read { file: file.to_owned(), source })?;
    let mut cases: BTreeMap<(String, usize), Series> = BTreeMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |source| BenchError::BadRecord { file: file.to_owned(), line: i + 1, source };
        let line: Line = serde_json::from_str(line).map_err(bad)?;
        if let Some((series, timed)) = timed(&line) {
            cases.entry((line.case, line.threads)).or_default().entry(series).or_default().push(timed);
        }
    }
    if cases.is_empty() {
        return Err(BenchError::NothingToDraw { file: file.to_owned() });
    }
    let body: String = cases.into_iter().map(|((case, threads), series)| section(&case, threads, series)).collect();
    Ok(document("Parsimon bench", "Time of a product over the bits that it reads for a weight.", &body))
}

/// The series of a record and its point; nothing for dense weights and for anything that is not the time of a product.
fn timed(line: &Line) -> Option<(String, Timed)> {
    let number = |name: &str| line.params.get(name).and_then(serde_json::Value::as_f64);
    if !line.area.starts_with("lut") || line.metric != "time" || line.unit != "us" {
        return None;
    }
    let from_bytes = || Some(8.0 * number("bytes")? / (number("m")? * number("k")?));
    let bits = number("bits_per_weight").or_else(from_bytes)?;
    // `lut-avx2-3bit` and `ours lut-avx2 3bit` belong to `lut-avx2`; of a peer's kernels each is one of a kind.
    let variant = line.variant.trim_start_matches("ours ");
    let is_kernel = ["lut-", "elut-", "dot-"].iter().any(|prefix| variant.starts_with(prefix));
    if bits > 12.0 || variant.ends_with("product only") {
        return None;
    }
    let series = if is_kernel {
        variant.split(' ').next()?.split('-').take(2).collect::<Vec<_>>().join("-")
    } else {
        variant.split(' ').next()?.to_owned()
    };
    Some((series, Timed { bits, micros: line.median, variant: variant.to_owned() }))
}

/// Colours of the style sheet, in the order of use.
const CLASSES: [&str; 6] = ["main", "s1", "s2", "s3", "s4", "s5"];

fn section(case: &str, threads: usize, series: Series) -> String {
    let all = || series.values().flatten();
    let x = Axis {
        title: "bits read for a weight, scales included",
        scale: Scale::linear(all().map(|t| t.bits).chain([0.0])),
    };
    let y = Axis { title: "microseconds", scale: Scale::linear(all().map(|t| t.micros).chain([0.0])) };
    let mut plot = Plot::new(x, y, 150.0);
    let mut labels = Vec::new();
    for ((name, points), class) in series.iter().zip(CLASSES.iter().cycle()) {
        let mut sorted: Vec<Point> = points.iter().map(|t| (t.bits, t.micros)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some(&last) = sorted.last() else { continue };
        labels.push((*class, last.1, name.clone()));
        let is_kernel = name.contains('-');
        if is_kernel && sorted.len() > 1 {
            plot.line("faint", [(0.0, 0.0), sorted[0]]);
            plot.line(class, sorted.iter().copied());
        }
        for timed in points {
            plot.mark(
                class,
                (timed.bits, timed.micros),
                &format!("{}: {} us", timed.variant, significant(timed.micros)),
            );
        }
    }
    plot.end_labels(&labels);
    let threads = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
    let description = format!("{case}, {threads}: time over bits a weight of {} kernels", labels.len());
    format!(
        "<section><h2>{}, {threads}</h2>\n<figure>\n{}<figcaption>Grey: from the origin to a kernel's fewest bits. Where the \
         coloured line goes on in its direction, time is proportional to bits.</figcaption>\n</figure>\n</section>\n",
        escape(case),
        plot.finish(&description)
    )
}
