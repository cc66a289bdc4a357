//! Starts `parsimon` commands with `--json`, shows them, and keeps what they return in the run folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{self, Steps};
use crate::workspace;

/// What a run leaves in its folder; a new run removes exactly these.
const OWN: &[&str] =
    &["warc", "corpus", "model", "q4", "q3", "vptq2", "q2", "q1.58", "eval", "generate", "demo.json", "report.html"];

/// A run of the demo.
pub(super) struct Runner {
    out: PathBuf,
    steps: Steps,
}

impl Runner {
    /// Starts with a run folder that holds nothing of an earlier run.
    pub(super) fn start(out: PathBuf) -> Result<Runner> {
        for name in OWN {
            let path = out.join(name);
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match removed {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
        Ok(Runner { out, steps: Steps::default() })
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// A path in the run folder, as a command takes it.
    pub(super) fn path(&self, relative: &str) -> String {
        let path = if relative.is_empty() { self.out.clone() } else { self.out.join(relative) };
        path.display().to_string()
    }

    /// Runs `parsimon <words> --json` as the step `name`, and saves what it prints where `save` says.
    pub(super) fn json<S: AsRef<str>>(&mut self, name: &str, words: &[S], save: Option<&str>) -> Result<Value> {
        let mut command = Command::new(workspace::built("parsimon"));
        command.args(words.iter().map(AsRef::as_ref)).arg("--json");
        let value = self.steps.run(name, || returned(&mut command))?;
        if let Some(path) = save {
            self.save(path, &value)?;
        }
        Ok(value)
    }

    /// Writes a value into the run folder.
    pub(super) fn save(&self, relative: &str, value: &Value) -> Result<()> {
        let path = self.out.join(relative);
        let folder = path.parent().expect("the path lies in the run folder");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let beside = self.out.join(format!("{relative}.part"));
        std::fs::write(&beside, format!("{value:#}\n"))
            .with_context(|| format!("cannot write {}", beside.display()))?;
        std::fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Seconds of the steps so far, as data.
    pub(super) fn seconds(&self) -> Vec<Value> {
        self.steps.done().iter().map(|(name, seconds)| json!({"name": name, "seconds": seconds})).collect()
    }

    /// Seconds of the steps so far, as a table.
    pub(super) fn table(&self) -> String {
        self.steps.table()
    }
}

/// The one JSON document that a command prints.
fn returned(command: &mut Command) -> Result<Value> {
    eprintln!("$ {}", process::shown(command));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    ensure!(output.status.success(), "the command ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("the command did not print one JSON document on standard output")
}
