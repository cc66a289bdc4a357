//! `parsimon sandbox check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use parsimon::reason::sandbox::{Isolation, Limits, Sandbox as Runner, SandboxConfig};
use serde::Serialize;

use crate::context::Context;

/// The sandbox in which model-written Python runs.
#[derive(Args)]
pub(crate) struct Sandbox {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Say which layers of isolation this kernel gives, and what is missing.
    Check(Check),
}

#[derive(Args)]
struct Check {
    /// The interpreter.
    #[arg(long, default_value = "python3", value_name = "FILE")]
    python: PathBuf,
}

#[derive(Serialize)]
struct Report {
    namespaces: bool,
    tmpfs: bool,
    landlock: String,
    seccomp: bool,
    /// Null where programs can be run.
    missing: Option<String>,
}

/// How the command line starts its own helper.
pub(super) fn config(
    python: PathBuf,
    packages: Vec<PathBuf>,
    limits: Limits,
    isolation: Isolation,
) -> anyhow::Result<SandboxConfig> {
    Ok(SandboxConfig {
        helper: (std::env::current_exe()?, vec![crate::HELPER.into()]),
        python,
        packages,
        limits,
        isolation,
        clock: std::sync::Arc::new(Wall(std::time::Instant::now())),
    })
}

/// The process's clock.
struct Wall(std::time::Instant);

impl parsimon::reason::ledger::Clock for Wall {
    fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

impl Sandbox {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let What::Check(check) = self.what;
        let report = Runner::check(config(check.python, Vec::new(), Limits::default(), Isolation::None)?)?;
        let missing = report.missing();
        let report = Report {
            namespaces: report.namespaces,
            tmpfs: report.tmpfs,
            landlock: report.landlock,
            seccomp: report.seccomp,
            missing,
        };
        cx.report(&report, |report| {
            format!(
                "namespaces: {}\nscratch in memory: {}\nLandlock: {}\nseccomp: {}\n{}",
                report.namespaces,
                report.tmpfs,
                report.landlock,
                report.seccomp,
                report.missing.as_ref().map_or("programs can be run".into(), |missing| format!(
                    "programs are not run: {missing} is missing"
                ))
            )
        })
    }
}
