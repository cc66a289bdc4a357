//! `parsimon report`: a run folder as one HTML page.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use parsimon::tensor::io::{AtomicFile, FormatError};
use serde::Serialize;

use crate::context::Context;
use crate::report::{Run, page};

/// Draw the results in a run folder as one self-contained HTML page.
#[derive(Args)]
#[command(after_help = "Example: parsimon report --run target/demo --out target/demo/report.html")]
pub(crate) struct Report {
    /// The run folder that `cargo xtask demo` or the single commands filled.
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
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
        let run = Run::read(&self.run)?;
        let html = page(&run);
        let mut file = AtomicFile::create(&self.out)?;
        file.write_all(html.as_bytes()).map_err(|e| FormatError::io(&self.out, "write", e))?;
        file.commit()?;
        let written = Written { out: self.out.display().to_string(), bytes: html.len(), missing: run.missing };
        cx.report(&written, |w| match w.missing.len() {
            0 => format!("{}: {} bytes", w.out, w.bytes),
            _ => format!("{}: {} bytes; not in the run folder: {}", w.out, w.bytes, w.missing.join(", ")),
        })
    }
}
