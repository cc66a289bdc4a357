//! The bar on standard error; it hides itself where that is no terminal.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use parsimon::tensor::{Progress, Unit};

pub(crate) struct Bar(Mutex<ProgressBar>);

impl Bar {
    pub(crate) fn new() -> Self {
        Bar(Mutex::new(ProgressBar::hidden()))
    }

    /// Removes the bar from the screen, so that a result can be printed.
    pub(crate) fn clear(&self) {
        self.with(|bar| bar.finish_and_clear());
    }

    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        act(&self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn start(&self, task: &str, total: Option<u64>, unit: Unit) {
        let (count, name) = match unit {
            Unit::Bytes => ("{bytes}/{total_bytes} ({bytes_per_sec}", ""),
            Unit::Items(name) => ("{human_pos}/{human_len} ({per_sec}", name),
        };
        let template = match total {
            Some(_) => format!("{{prefix}} {{wide_bar}} {count}, {{eta}} left) {name} {{msg}}"),
            None => format!("{{prefix}} {{spinner}} {{human_pos}} {name} ({{elapsed}}) {{msg}}"),
        };
        let style = ProgressStyle::with_template(&template).expect("the templates above are well formed");
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        bar.set_style(style);
        bar.set_prefix(task.to_owned());
        let mut current = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        current.finish_and_clear();
        *current = bar;
    }

    fn advance(&self, n: u64) {
        self.with(|bar| bar.inc(n));
    }

    fn message(&self, text: &str) {
        self.with(|bar| bar.set_message(text.to_owned()));
    }

    fn finish(&self) {
        self.with(|bar| bar.finish_and_clear());
    }
}
