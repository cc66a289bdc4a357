//! Timing: many short runs, their minimum, median and maximum.

use std::time::{Duration, Instant};

/// Times of a repeated call, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
}

/// Calls `run` once to warm up, then repeatedly for about `budget`, at least 5 times. `run` gets the number of the call.
pub(crate) fn time(budget: Duration, mut run: impl FnMut(usize)) -> Times {
    const RUNS_MIN: usize = 5;
    const RUNS_MAX: usize = 100_000;
    run(0);
    let begin = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < RUNS_MIN || (begin.elapsed() < budget && seconds.len() < RUNS_MAX) {
        let start = Instant::now();
        run(seconds.len() + 1);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Times { min: seconds[0], median: seconds[seconds.len() / 2], max: seconds[seconds.len() - 1], runs: seconds.len() }
}
