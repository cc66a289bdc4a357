//! Steps: processes that are shown, timed, and named when they fail.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// The steps of one workflow and the seconds that each took.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, f64)>,
}

impl Steps {
    /// Runs `work` as the step `name`; an error is wrapped in the step's name.
    pub(crate) fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        self.done.push((name.to_owned(), seconds));
        match &result {
            Ok(_) => eprintln!("== {name}: {seconds:.1} s"),
            Err(_) => eprintln!("== {name}: failed after {seconds:.1} s"),
        }
        result.with_context(|| format!("step `{name}` failed"))
    }

    /// Name and seconds of the steps so far.
    pub(crate) fn done(&self) -> &[(String, f64)] {
        &self.done
    }

    /// A table of the steps so far.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{:<28}{:>10}\n", "step", "seconds");
        for (name, seconds) in &self.done {
            table.push_str(&format!("{name:<28}{seconds:>10.1}\n"));
        }
        let total: f64 = self.done.iter().map(|(_, seconds)| seconds).sum();
        table.push_str(&format!("{:<28}{total:>10.1}\n", "together"));
        table
    }
}

/// A command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let quote = |word: &std::ffi::OsStr| {
        let word = word.to_string_lossy();
        let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=./:,@+%".contains(c));
        if plain { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let envs =
        command.get_envs().filter_map(|(key, value)| Some(format!("{}={} ", key.to_string_lossy(), quote(value?))));
    let mut line: String = envs.collect();
    line.push_str(&quote(command.get_program()));
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&quote(arg));
    }
    line
}

/// Shows and runs a command without standard input; fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Whether a command can be started and succeeds; its output is dropped.
pub(crate) fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("parsimon");
        command.args(["generate", "--prompt", "it's a test", "-n", "4"]).env("PARSIMON_ISA", "scalar");
        assert_eq!(shown(&command), r"PARSIMON_ISA=scalar parsimon generate --prompt 'it'\''s a test' -n 4");
    }

    #[test]
    fn a_failing_step_is_named_and_counted() {
        let mut steps = Steps::default();
        steps.run("first", || Ok(())).unwrap();
        let error = steps.run("second", || -> Result<()> { anyhow::bail!("no reason") }).unwrap_err();
        assert_eq!(error.to_string(), "step `second` failed");
        let table = steps.table();
        assert!(table.contains("first") && table.contains("second") && table.contains("together"), "{table}");
    }
}
