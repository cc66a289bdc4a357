//! What the server counts, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parsimon::model::{EngineStats, FinishReason};

use super::engine_thread::Output;

/// Upper bounds of the histograms' buckets in seconds.
const BOUNDS_S: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Counters of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Answers by route and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    engine: Mutex<EngineStats>,
    finished: [AtomicU64; OUTCOMES.len()],
    first_token: Histogram,
    between_tokens: Histogram,
}

/// How a sequence can end, as a label.
const OUTCOMES: [&str; 4] = ["stop", "length", "cancelled", "failed"];

/// Counts of durations below each bound, and their sum.
#[derive(Default)]
struct Histogram {
    /// The last one is for durations above every bound.
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    pub(crate) fn request(&self, route: &'static str, status: u16) {
        *locked(&self.requests).entry((route, status)).or_default() += 1;
    }

    pub(crate) fn set_engine(&self, stats: EngineStats) {
        *locked(&self.engine) = stats;
    }

    /// A token came; `previous` is when the one before it came, and `None` for the first.
    pub(crate) fn token(&self, submitted: Instant, previous: Option<Instant>) {
        match previous {
            None => self.first_token.observe(submitted.elapsed()),
            Some(previous) => self.between_tokens.observe(previous.elapsed()),
        }
    }

    pub(crate) fn finished(&self, output: &Output) {
        let outcome = match output {
            Output::Finished(FinishReason::Stop, _) => 0,
            Output::Finished(FinishReason::Cancelled, _) => 2,
            Output::Failed(_) => 3,
            Output::Finished(..) | Output::Token(_) => 1,
        };
        self.finished[outcome].fetch_add(1, Ordering::Relaxed);
    }

    /// The text that `GET /metrics` answers.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        header(&mut text, "parsimon_requests_total", "counter", "HTTP answers by route and status.");
        for (&(route, status), count) in locked(&self.requests).iter() {
            line(&mut text, format_args!("parsimon_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"));
        }
        header(&mut text, "parsimon_sequences_total", "counter", "Sequences by how they ended.");
        for (outcome, count) in OUTCOMES.iter().zip(&self.finished) {
            let count = count.load(Ordering::Relaxed);
            line(&mut text, format_args!("parsimon_sequences_total{{outcome=\"{outcome}\"}} {count}"));
        }
        let stats = *locked(&self.engine);
        let gauges = [
            ("sequences_running", stats.running, "Sequences that run."),
            ("sequences_waiting", stats.waiting, "Sequences that wait in the engine."),
            ("kv_positions", stats.cache_positions, "Positions of the cache of keys and values."),
            ("kv_positions_used", stats.used_positions, "Positions that sequences hold."),
            ("kv_positions_kept", stats.kept_positions, "Positions kept for prompts that begin alike."),
        ];
        for (name, value, help) in gauges {
            let name = format!("parsimon_{name}");
            header(&mut text, &name, "gauge", help);
            line(&mut text, format_args!("{name} {value}"));
        }
        let counters = [
            ("steps_total", stats.steps, "Steps of the engine."),
            ("prompt_tokens_total", stats.prompt_tokens, "Tokens of prompts that ran."),
            ("cached_prompt_tokens_total", stats.cached_tokens, "Tokens of prompts found in the prefix cache."),
            ("generated_tokens_total", stats.generated_tokens, "Tokens generated."),
            ("drafted_tokens_total", stats.drafted_tokens, "Tokens drafted."),
            ("accepted_tokens_total", stats.accepted_tokens, "Drafted tokens that were chosen."),
            ("preemptions_total", stats.preemptions, "Sequences that gave up their place in the cache."),
        ];
        for (name, value, help) in counters {
            let name = format!("parsimon_{name}");
            header(&mut text, &name, "counter", help);
            line(&mut text, format_args!("{name} {value}"));
        }
        let help = "Time from the queue to the first token.";
        self.first_token.render(&mut text, "parsimon_time_to_first_token_seconds", help);
        self.between_tokens.render(&mut text, "parsimon_inter_token_seconds", "Time between tokens of a sequence.");
        text
    }
}

fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes what is written");
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let bucket = BOUNDS_S.partition_point(|&bound| bound < duration.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn render(&self, text: &mut String, name: &str, help: &str) {
        header(text, name, "histogram", help);
        let mut count = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS_S.get(i).map_or("+Inf".to_owned(), f64::to_string);
            line(text, format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        let sum_s = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        line(text, format_args!("{name}_sum {sum_s}\n{name}_count {count}"));
    }
}
