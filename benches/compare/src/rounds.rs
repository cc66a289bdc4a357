//! Taking turns: all variants of a case again and again, a few runs each.

use std::time::{Duration, Instant};

use crate::case::Case;
use crate::measure::Times;
use crate::variant::Product;

/// Runs of a turn while the weights are cold: untimed, then timed. The untimed one brings threads and code back from what the variant
/// before left.
const COLD_RUNS: (usize, usize) = (1, 3);

/// The same while they are hot: a cache that others have filled takes more than one run to hold them again.
const HOT_RUNS: (usize, usize) = (2, 8);

/// Copies of cold weights at least: more than a turn reads.
pub(crate) const COPIES_MIN: usize = COLD_RUNS.0 + COLD_RUNS.1 + 1;

/// A run that takes longer needs no company in its turn.
const LONG_RUN: f64 = 0.03;

/// Rounds at least, whatever the budget says.
const ROUNDS_MIN: usize = 3;

/// Times of every product, in their order, from rounds over all of them for about `budget`. A product that has had twice its share of the
/// budget sits out, so that a slow one does not cost the others their rounds.
pub(crate) fn alternate(products: &mut [&mut Box<dyn Product>], case: &Case, budget: Duration) -> Vec<Times> {
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); products.len()];
    let mut calls = vec![0; products.len()];
    let share_max = 2.0 * budget.as_secs_f64() / products.len() as f64;
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || begin.elapsed() < budget {
        for ((product, seconds), call) in products.iter_mut().zip(&mut seconds).zip(&mut calls) {
            if rounds >= ROUNDS_MIN && seconds.iter().sum::<f64>() > share_max {
                continue;
            }
            turn(&mut ***product, seconds, call, if case.is_cold { COLD_RUNS } else { HOT_RUNS });
        }
        rounds += 1;
    }
    seconds.into_iter().map(summary).collect()
}

fn turn(product: &mut dyn Product, seconds: &mut Vec<f64>, call: &mut usize, runs: (usize, usize)) {
    let is_long = seconds.last().is_some_and(|&last| last > LONG_RUN);
    let (untimed, timed) = if is_long { (0, 1) } else { runs };
    for run in 0..untimed + timed {
        let start = Instant::now();
        product.run(*call);
        let elapsed = start.elapsed().as_secs_f64();
        *call += 1;
        if run >= untimed {
            seconds.push(elapsed);
        }
    }
    product.rest();
}

fn summary(mut seconds: Vec<f64>) -> Times {
    seconds.sort_by(f64::total_cmp);
    Times { min: seconds[0], median: seconds[seconds.len() / 2], max: seconds[seconds.len() - 1], runs: seconds.len() }
}
