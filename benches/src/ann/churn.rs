//! Days of churn: so many vectors go, as many come, and the index is maintained once.

use std::path::Path;

use parsimon_ann::io::VectorFile;
use parsimon_ann::{Budget, Compat, Counts, Index, Runtime, VectorId};
use parsimon_core::SplitMix64;

use super::{Quality, RUNTIME, build, cpu_seconds, quality, truth_of};

/// Postings read at which quality is told.
pub(crate) const NPROBES: [usize; 4] = [4, 8, 16, 32];

/// What goes each day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    /// Random vectors.
    Churn,
    /// The oldest.
    Shift,
}

/// The state after some days.
#[derive(Clone, Debug)]
pub(crate) struct Day {
    pub(crate) day: usize,
    pub(crate) quality: [Quality; NPROBES.len()],
    /// Stale records of all.
    pub(crate) stale: f64,
    pub(crate) heads: u64,
    pub(crate) posting_p50: u64,
    pub(crate) posting_p99: u64,
    pub(crate) posting_max: u64,
    pub(crate) ram_mb: f64,
    pub(crate) counts: Counts,
    /// CPU microseconds an insert, without the rebalancing, and the rebalancing.
    pub(crate) insert_us: f64,
    pub(crate) maintain_us: f64,
}

pub(crate) struct Run<'a> {
    pub(crate) base: &'a VectorFile,
    pub(crate) queries: &'a VectorFile,
    pub(crate) stream: Stream,
    pub(crate) start: usize,
    pub(crate) days: usize,
    pub(crate) per_day: usize,
    /// Days after which quality is measured, beside the first and the last.
    pub(crate) every: usize,
    pub(crate) compat: Compat,
}

impl Run<'_> {
    /// The states after the measured days, and last a fresh build of the final set.
    pub(crate) fn run(&self, dir: &Path) -> anyhow::Result<(Vec<Day>, Day)> {
        let mut live: Vec<u64> = (0..self.start as u64).collect();
        drop(build(&dir.join("index"), self.base, &live)?);
        let index = Index::open(&dir.join("index"), Runtime { compat: self.compat, ..RUNTIME })?;
        let mut rng = SplitMix64::new(11);
        let mut days = vec![self.measure(&index, &live, 0, 0.0, 0.0)?];
        let (mut insert, mut maintain, mut inserted) = (0.0, 0.0, 0);
        for day in 0..self.days {
            for _ in 0..self.per_day {
                let at = if self.stream == Stream::Churn { rng.below(live.len() as u64) as usize } else { 0 };
                let id = if self.stream == Stream::Churn { live.swap_remove(at) } else { live.remove(at) };
                index.delete(&[VectorId(id)])?;
            }
            let begin = (self.start + day * self.per_day) as u64;
            let start = cpu_seconds();
            for row in begin..begin + self.per_day as u64 {
                index.insert(&[VectorId(row)], self.base.row(row as usize))?;
                live.push(row);
            }
            insert += cpu_seconds() - start;
            let start = cpu_seconds();
            index.maintain(&Budget::default())?;
            maintain += cpu_seconds() - start;
            inserted += self.per_day;
            if (day + 1).is_multiple_of(self.every) || day + 1 == self.days {
                let us = |seconds: f64| seconds * 1e6 / inserted as f64;
                days.push(self.measure(&index, &live, day + 1, us(insert), us(maintain))?);
                (insert, maintain, inserted) = (0.0, 0.0, 0);
            }
        }
        anyhow::ensure!(index.len() == live.len() as u64, "no vector was lost");
        let (fresh, _) = build(&dir.join("fresh"), self.base, &live)?;
        Ok((days, self.measure(&fresh, &live, self.days, 0.0, 0.0)?))
    }

    fn measure(
        &self,
        index: &Index,
        live: &[u64],
        day: usize,
        insert_us: f64,
        maintain_us: f64,
    ) -> anyhow::Result<Day> {
        let truth = truth_of(self.base, self.queries, live)?;
        let mut at = NPROBES.iter().map(|&nprobe| quality(index, self.queries, &truth, nprobe));
        let mut next = || at.next().expect("one a width");
        let quality = [next()?, next()?, next()?, next()?];
        let stats = index.stats()?;
        let ram = stats.ram_bytes;
        Ok(Day {
            day,
            quality,
            stale: stats.stale as f64 / stats.records.max(1) as f64,
            heads: stats.heads,
            posting_p50: stats.postings.p50,
            posting_p99: stats.postings.p99,
            posting_max: stats.postings.max,
            ram_mb: (ram.heads + ram.ids + ram.tails) as f64 / 1e6,
            counts: stats.counts,
            insert_us,
            maintain_us,
        })
    }
}
