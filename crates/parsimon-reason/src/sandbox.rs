//! Model-written Python in a process of its own, behind namespaces, Landlock, seccomp and resource limits. Linux only.
//!
//! A helper executable (a program that calls [`helper_main`]) is started for every job. It enters new user, process, network, IPC, host-name
//! and mount namespaces and mounts a small memory file system as the only place to write; its child, process 1 of the namespace, sets
//! resource limits, allows itself to read libraries and the interpreter alone (Landlock), allows itself the system calls of a computing
//! program alone (seccomp), and becomes the interpreter. The program comes over standard input; a driver runs it and writes one record of
//! how it ended. A program can lie about its own outcome; it can affect nothing else.
//!
//! What a kernel lacks is reported by [`Sandbox::check`]; without seccomp, or without both Landlock and a mount namespace, nothing is run
//! unless [`Isolation::None`] was asked for by name.

mod parent;
mod rules;
mod stages;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::Clock;

pub use parent::Sandbox;
pub use stages::helper_main;

/// How much isolation is demanded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Seccomp, and Landlock or a mount namespace.
    Required,
    /// What there is. Only for programs that are trusted.
    None,
}

/// What a program may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Wall clock.
    pub wall_ms: u64,
    /// Processor time, in whole seconds.
    pub cpu_s: u64,
    /// Address space.
    pub memory_bytes: u64,
    /// Files in the scratch folder.
    pub scratch_bytes: u64,
    /// Standard output.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { wall_ms: 6000, cpu_s: 5, memory_bytes: 512 << 20, scratch_bytes: 16 << 20, output_bytes: 64 << 10 }
    }
}

/// How jobs are run.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The executable that calls [`helper_main`], and its first arguments.
    pub helper: (PathBuf, Vec<String>),
    /// The interpreter; a shim is followed to what it starts.
    pub python: PathBuf,
    /// Folders of packages that programs may import.
    pub packages: Vec<PathBuf>,
    /// What a program may use.
    pub limits: Limits,
    /// How much isolation is demanded.
    pub isolation: Isolation,
    /// Measures the wall clock of outcomes; the limit needs none.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("helper", &self.helper)
            .field("python", &self.python)
            .finish_non_exhaustive()
    }
}

/// Which layers this kernel gives.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct IsolationReport {
    /// User, process, network, IPC, host-name and mount namespaces.
    pub namespaces: bool,
    /// The scratch folder is a memory file system.
    pub tmpfs: bool,
    /// Landlock: `full`, `partial` or `none`.
    pub landlock: String,
    /// The system-call filter.
    pub seccomp: bool,
}

impl IsolationReport {
    /// What is missing for [`Isolation::Required`]; `None` where it suffices.
    pub fn missing(&self) -> Option<String> {
        if !self.seccomp {
            return Some("seccomp".into());
        }
        (self.landlock == "none" && !self.namespaces).then(|| "Landlock or a mount namespace".into())
    }
}

/// What the helper is told, as JSON on its command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    stage: u8,
    /// Print a report instead of becoming the interpreter.
    probe: bool,
    python: PathBuf,
    prefix: PathBuf,
    packages: Vec<PathBuf>,
    scratch: PathBuf,
    limits: Limits,
    isolation: Isolation,
    /// What stage 1 reached.
    report: IsolationReport,
    /// First arguments of the helper.
    before: Vec<String>,
}
