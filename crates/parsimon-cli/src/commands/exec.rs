//! `parsimon exec`: one Python program in the sandbox.

use std::path::PathBuf;

use clap::Args;
use parsimon::reason::CodeRunner;
use parsimon::reason::policy::{Job, RunOutcome};
use parsimon::reason::sandbox::{Isolation, IsolationReport, Limits, Sandbox};
use serde::Serialize;

use super::sandbox;
use crate::context::Context;
use crate::failure::BadInput;

/// Run a Python program in the sandbox, as a search runs what a model wrote.
#[derive(Args)]
#[command(after_help = "Example: parsimon exec program.py --limits wall_ms=2000 --json")]
pub(crate) struct Exec {
    /// The program.
    file: PathBuf,
    /// wall_ms, cpu_s, memory_bytes, scratch_bytes or output_bytes.
    #[arg(long, value_name = "KEY=N", value_delimiter = ',')]
    limits: Vec<String>,
    /// Folders of packages that the program may import.
    #[arg(long, value_name = "DIR")]
    packages: Vec<PathBuf>,
    /// The interpreter.
    #[arg(long, default_value = "python3", value_name = "FILE")]
    python: PathBuf,
    /// Run even where the kernel has no isolation to offer.
    #[arg(long)]
    unsandboxed: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    outcome: RunOutcome,
    isolation: IsolationReport,
}

/// Limits with some of them set by `key=number`.
pub(super) fn limits(settings: &[String]) -> anyhow::Result<Limits> {
    let mut value = serde_json::to_value(Limits::default())?;
    for setting in settings {
        let (key, number) =
            setting.split_once('=').ok_or_else(|| BadInput::new(format!("`{setting}` is no key=number")))?;
        let slot = value.get_mut(key).ok_or_else(|| BadInput::new(format!("there is no limit `{key}`")))?;
        *slot = number.parse::<u64>().map_err(|_| BadInput::new(format!("`{number}` is no number")))?.into();
    }
    Ok(serde_json::from_value(value)?)
}

impl Exec {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let program = std::fs::read_to_string(&self.file)
            .map_err(|error| BadInput { file: Some(self.file.clone()), message: error.to_string() })?;
        let isolation = if self.unsandboxed { Isolation::None } else { Isolation::Required };
        let sandbox = Sandbox::new(sandbox::config(self.python, self.packages, limits(&self.limits)?, isolation)?)?;
        let outcome = sandbox.run(&Job { problem: "exec", tag: "0", program: &program })?;
        let report = Report { outcome, isolation: sandbox.report().clone() };
        cx.report(&report, |report| format!("{:?}\n{}", report.outcome.status, report.outcome.observation))
    }
}
