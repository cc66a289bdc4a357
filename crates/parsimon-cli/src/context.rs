//! What every command gets: where results go, the progress bar, and Ctrl-C.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use parsimon::tensor::{CancelFlag, Control};
use serde::Serialize;

use crate::progress::Bar;

/// Exit status of a process that a second Ctrl-C ends: 128 + SIGINT.
const KILLED_BY_INTERRUPT: i32 = 130;

pub(crate) struct Context {
    json: bool,
    bar: Bar,
    cancel: CancelFlag,
    /// What Ctrl-C stops instead of the program.
    part: Arc<Mutex<Option<CancelFlag>>>,
}

impl Context {
    pub(crate) fn new(json: bool) -> anyhow::Result<Self> {
        let cancel = CancelFlag::new();
        let flag = cancel.clone();
        let part: Arc<Mutex<Option<CancelFlag>>> = Arc::default();
        let current = Arc::clone(&part);
        ctrlc::set_handler(move || {
            if let Some(part) = current.lock().unwrap_or_else(PoisonError::into_inner).take() {
                part.cancel();
                return;
            }
            if flag.is_cancelled() {
                std::process::exit(KILLED_BY_INTERRUPT);
            }
            flag.cancel();
        })
        .context("cannot install the Ctrl-C handler")?;
        Ok(Context { json, bar: Bar::new(), cancel, part })
    }

    /// Progress and cancel for library calls.
    pub(crate) fn control(&self) -> Control<'_> {
        Control { progress: &self.bar, cancel: &self.cancel }
    }

    /// Whether a program reads.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
    pub(crate) fn cancel(&self) -> &CancelFlag {
        &self.cancel
    }

    /// Runs `act` with a flag of its own, which the next Ctrl-C sets instead of stopping the program.
    pub(crate) fn interruptible<T>(&self, act: impl FnOnce(&CancelFlag) -> T) -> T {
        let flag = CancelFlag::new();
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = Some(flag.clone());
        let result = act(&flag);
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }

    /// Prints the result: as JSON for programs, as `text` for people.
    pub(crate) fn report<T: Serialize>(&self, result: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        self.bar.clear();
        let mut line = if self.json { serde_json::to_string(result)? } else { text(result) };
        if !line.ends_with('\n') {
            line.push('\n');
        }
        std::io::stdout().write_all(line.as_bytes()).context("cannot write to standard output")
    }
}
