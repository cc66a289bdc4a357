//! Tests of the index from outside: power failures, damage, concurrent histories.

mod concurrency;
mod crash;
mod disk;
mod kill;
