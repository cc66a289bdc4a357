//! The folder of a run: what is asked, what was answered, and how a run that was killed goes on.
//!
//! `manifest.json` holds the settings and is compared when a run is resumed. Each finished problem is one line of `answers.part.jsonl`, on
//! disk before the next one counts as finished; a line that a kill tore is dropped. At the end the lines become `answers.jsonl` in the order
//! of the problems, so that the file does not depend on the number of workers or on how often the run was broken.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use parsimon_core::Diagnose;
use parsimon_core::io::{FormatError, read_json, write_json};
use serde_json::Value;

use crate::solver::Solution;

/// A run folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum RunError {
    #[error("{file}: {what}")]
    File { file: PathBuf, what: String },
    #[error("the run in {file} has other settings: {}", keys.join(", "))]
    ConfigMismatch { file: PathBuf, keys: Vec<String> },
    #[error("{file} holds a run; resume it, or choose another folder")]
    Exists { file: PathBuf },
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Diagnose for RunError {
    fn variant(&self) -> String {
        match self {
            RunError::Format(error) => error.variant(),
            other => parsimon_core::variant_name(other),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            RunError::File { file, .. } | RunError::ConfigMismatch { file, .. } | RunError::Exists { file } => {
                Some(file)
            }
            RunError::Format(error) => error.file(),
        }
    }
}

/// An open run.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    part: File,
    /// With the line as it was written: numbers are not printed anew.
    done: HashMap<String, (Solution, String)>,
}

impl RunFolder {
    /// Begins a run, or with `resume` goes on with one.
    ///
    /// # Errors
    ///
    /// [`RunError::Exists`] for a folder with a run that is not resumed, [`RunError::ConfigMismatch`] with the settings that differ.
    pub fn open(dir: &Path, manifest: &Value, resume: bool) -> Result<RunFolder, RunError> {
        let fail =
            |file: &Path, error: std::io::Error| RunError::File { file: file.to_path_buf(), what: error.to_string() };
        std::fs::create_dir_all(dir.join("trees")).map_err(|error| fail(dir, error))?;
        let manifest_file = dir.join("manifest.json");
        if manifest_file.exists() {
            if !resume {
                return Err(RunError::Exists { file: dir.to_path_buf() });
            }
            let known: Value = read_json(&manifest_file)?;
            let keys = differences("", &known, manifest);
            if !keys.is_empty() {
                return Err(RunError::ConfigMismatch { file: manifest_file, keys });
            }
        } else {
            write_json(&manifest_file, manifest)?;
        }
        let path = dir.join("answers.part.jsonl");
        let part =
            OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(|error| fail(&path, error))?;
        let bytes = std::fs::read(&path).map_err(|error| fail(&path, error))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        part.set_len(whole as u64).map_err(|error| fail(&path, error))?;
        let mut done = HashMap::new();
        for (at, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let solution: Solution = serde_json::from_slice(line)
                .map_err(|error| RunError::File { file: path.clone(), what: format!("line {}: {error}", at + 1) })?;
            done.insert(solution.problem.clone(), (solution, String::from_utf8_lossy(line).into_owned()));
        }
        Ok(RunFolder { dir: dir.to_path_buf(), part, done })
    }

    /// The solution of a problem that is finished.
    pub fn finished(&self, problem: &str) -> Option<&Solution> {
        self.done.get(problem).map(|(solution, _)| solution)
    }

    /// Records a finished problem and its tree, one line, durable.
    ///
    /// # Errors
    ///
    /// [`RunError`] when it cannot be written; the problem then counts as not finished.
    pub fn push(&mut self, solution: Solution, tree: Option<&crate::tree::TreeRecord>) -> Result<(), RunError> {
        if let Some(tree) = tree {
            let path = self.dir.join("trees").join(format!("{}.jsonl", file_name(&solution.problem)));
            let mut file = parsimon_core::io::AtomicFile::create(&path)?;
            let line = serde_json::to_string(tree).expect("a tree is plain data");
            writeln!(file, "{line}").map_err(|error| RunError::File { file: path.clone(), what: error.to_string() })?;
            file.commit()?;
        }
        let line = serde_json::to_string(&solution).expect("a solution is plain data");
        let path = self.dir.join("answers.part.jsonl");
        let fail = |error: std::io::Error| RunError::File { file: path.clone(), what: error.to_string() };
        self.part.write_all(format!("{line}\n").as_bytes()).map_err(fail)?;
        self.part.sync_data().map_err(fail)?;
        self.done.insert(solution.problem.clone(), (solution, line));
        Ok(())
    }

    /// Writes `answers.jsonl` in the order of the given ids.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub fn finish<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<(), RunError> {
        let path = self.dir.join("answers.jsonl");
        let mut file = parsimon_core::io::AtomicFile::create(&path)?;
        for (_, line) in ids.into_iter().filter_map(|id| self.done.get(id)) {
            writeln!(file, "{line}").map_err(|error| RunError::File { file: path.clone(), what: error.to_string() })?;
        }
        Ok(file.commit()?)
    }
}

/// A file name for an id: what is no letter, digit, dot, minus or underscore becomes an underscore.
pub fn file_name(id: &str) -> String {
    id.chars().take(100).map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// The paths of values that differ.
fn differences(path: &str, a: &Value, b: &Value) -> Vec<String> {
    let (Value::Object(x), Value::Object(y)) = (a, b) else {
        return if a == b { Vec::new() } else { vec![path.to_owned()] };
    };
    let mut keys: Vec<&String> = x.keys().chain(y.keys().filter(|key| !x.contains_key(*key))).collect();
    keys.sort();
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    keys.into_iter()
        .flat_map(|key| {
            differences(&below(key), x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null))
        })
        .collect()
}
