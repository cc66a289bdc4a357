//! Development only: golden files, error measures, a counting allocator and a simulated disk that tests share.
//!
//! Golden data lies in the folder that `PARSIMON_SHARED` names, by default `shared` beside the workspace. A test that needs it
//! goes through [`golden`], which says plainly what it skips when the folder is absent and counts what ran: with
//! `PARSIMON_GOLDEN_LOG=FILE` every call adds a line `crate<TAB>place<TAB>cases<TAB>skipped` to FILE, and `cargo xtask ci` prints the
//! sums.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod alloc;
mod disk;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use alloc::{CountingAllocator, allocations};
pub use disk::{SimDisk, SimFile};

/// The folder of shared golden data, whether it exists or not.
pub fn shared_dir() -> PathBuf {
    match std::env::var_os("PARSIMON_SHARED") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    }
}

/// How many golden cases a test checked, and how many it left out because they need what is not built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cases {
    /// Checked.
    pub run: usize,
    /// Left out.
    pub skipped: usize,
}

impl From<usize> for Cases {
    fn from(run: usize) -> Self {
        Cases { run, skipped: 0 }
    }
}

/// Runs `cases` on the golden folder `data/<place>`; it returns how many cases it checked.
///
/// Where the folder is absent, prints what is skipped and passes.
///
/// # Panics
///
/// When the folder exists and no case was checked: a golden test that checks nothing is a mistake.
pub fn golden<C: Into<Cases>>(package: &str, place: &str, cases: impl FnOnce(&Path) -> C) {
    let dir = shared_dir().join("data").join(place);
    if !dir.exists() {
        eprintln!("{package}: skipped, golden data `{place}` is not at {} (set PARSIMON_SHARED)", dir.display());
        log(package, place, Cases { run: 0, skipped: 1 });
        return;
    }
    let cases = cases(&dir).into();
    assert!(cases.run > 0, "{package}: no case was checked in {}", dir.display());
    log(package, place, cases);
}

/// As [`golden`], on data committed with a package: `tests/data` below its `CARGO_MANIFEST_DIR`, which must exist.
///
/// # Panics
///
/// When no case was checked.
pub fn committed<C: Into<Cases>>(package: &str, manifest_dir: &str, cases: impl FnOnce(&Path) -> C) {
    let cases = cases(&Path::new(manifest_dir).join("tests/data")).into();
    assert!(cases.run > 0, "{package}: no case was checked in {manifest_dir}/tests/data");
    log(package, "tests/data", cases);
}

fn log(package: &str, place: &str, Cases { run, skipped }: Cases) {
    let Some(path) = std::env::var_os("PARSIMON_GOLDEN_LOG") else { return };
    let line = format!("{package}\t{place}\t{run}\t{skipped}\n");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("PARSIMON_GOLDEN_LOG can be written");
}

/// Normalized mean squared error `sum (x - y)^2 / sum y^2`; 0 when both are all zero.
pub fn nmse(x: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(x.len(), reference.len());
    let error: f64 = x.iter().zip(reference).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum();
    let energy: f64 = reference.iter().map(|y| y * y).sum();
    if error == 0.0 { 0.0 } else { error / energy }
}

/// The largest `|x - y|`, divided by the largest `|y|` (by 1 when `y` is all zero). NaN anywhere gives NaN.
pub fn max_rel(x: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(x.len(), reference.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0f64, |largest, v| if v.is_nan() || v.abs() > largest { v.abs() } else { largest })
    };
    let error = largest(&mut x.iter().zip(reference).map(|(&x, y)| f64::from(x) - y));
    let scale = largest(&mut reference.iter().copied());
    error / if scale == 0.0 { 1.0 } else { scale }
}

/// Relative distance `|x - y|_2 / |y|_2`.
pub fn rel_l2(x: &[f32], reference: &[f64]) -> f64 {
    nmse(x, reference).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures() {
        assert_eq!(nmse(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(nmse(&[0.0, 0.0], &[3.0, 4.0]), 1.0);
        assert_eq!(rel_l2(&[3.0, 0.0], &[3.0, 4.0]), 0.8);
        assert_eq!(max_rel(&[1.0, 4.5], &[1.0, 4.0]), 0.125);
        assert_eq!(max_rel(&[0.5], &[0.0]), 0.5);
        assert!(max_rel(&[f32::NAN, 0.0], &[1.0, 1.0]).is_nan());
    }
}
