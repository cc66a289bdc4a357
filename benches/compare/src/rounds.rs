//! Taking turns: all variants of a case again and again, a few runs each.

use std::time::{Duration, Instant};

use crate::case::Case;
use crate::measure::Times;
use crate::variant::Product;

/// Timed runs of a turn. One run before them is not timed: it brings threads, code and, where the weights are hot, the cache back from what
/// the variant before left.
pub(crate) const TURN: usize = 3;

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
            turn(&mut ***product, seconds, call, case.n > 1);
        }
        rounds += 1;
    }
    seconds.into_iter().map(summary).collect()
}

fn turn(product: &mut dyn Product, seconds: &mut Vec<f64>, call: &mut usize, may_be_long: bool) {
    let is_long = may_be_long && seconds.last().is_some_and(|&last| last > LONG_RUN);
    let timed = if is_long { 1 } else { TURN };
    for run in 0..=timed {
        if run == 0 && is_long {
            continue;
        }
        let start = Instant::now();
        product.run(*call);
        let elapsed = start.elapsed().as_secs_f64();
        *call += 1;
        if run > 0 {
            seconds.push(elapsed);
        }
    }
    product.rest();
}

fn summary(mut seconds: Vec<f64>) -> Times {
    seconds.sort_by(f64::total_cmp);
    Times { min: seconds[0], median: seconds[seconds.len() / 2], max: seconds[seconds.len() - 1], runs: seconds.len() }
}
