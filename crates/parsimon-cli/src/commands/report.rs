//! `parsimon report`: a run folder, or the records of a bench, as one HTML page.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use parsimon::tensor::io::{AtomicFile, FormatError};
use serde::Serialize;

use crate::context::Context;
use crate::report::{Run, bench_page, page};

/// Draw the results in a run folder, or the records of a bench, as one self-contained HTML page.
#[derive(Args)]
#[command(after_help = "Examples: parsimon report --run target/demo --out target/demo/report.html\n          \
                        parsimon report --bench lut.jsonl --out lut.html")]
pub(crate) struct Report {
    /// The run folder that `cargo xtask demo` or the single commands filled.
    #[arg(long, value_name = "DIR", required_unless_present = "bench")]
    run: Option<PathBuf>,
    /// The records of `cargo xtask bench lut --json FILE`: time over bits a weight.
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    bench: Option<PathBuf>,
    /// The page to write.
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Written {
    out: String,
    bytes: usize,
    missing: Vec<String>,
}

impl Report {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (html, missing) = match (&self.run, &self.bench) {
            (Some(folder), _) => {
                let run = Run::read(folder)?;
                (page(&run), run.missing)
            }
            (None, Some(file)) => (bench_page(file)?, Vec::new()),
            (None, None) => unreachable!("the command line requires one of them"),
        };
        let mut file = AtomicFile::create(&self.out)?;
        file.write_all(html.as_bytes()).map_err(|e| FormatError::io(&self.out, "write", e))?;
        file.commit()?;
        let written = Written { out: self.out.display().to_string(), bytes: html.len(), missing };
        cx.report(&written, |w| match w.missing.len() {
            0 => format!("{}: {} bytes", w.out, w.bytes),
            _ => format!("{}: {} bytes; not in the run folder: {}", w.out, w.bytes, w.missing.join(", ")),
        })
    }
}
