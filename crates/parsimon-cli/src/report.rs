//! The report of a run: one HTML page that needs nothing else, drawn from the data that the commands left in the run folder.
//!
//! [`Run::read`] collects the data, [`page()`] draws it; both know nothing of the command line. Plots are SVG text in this page, so that
//! one style sheet serves light and dark.

mod bench;
mod corpus;
mod models;
mod numbers;
mod page;
mod run;
mod svg;
mod training;

pub(crate) use bench::{BenchError, bench_page};
pub(crate) use page::page;
pub(crate) use run::Run;

#[cfg(test)]
mod tests;
