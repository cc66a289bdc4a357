//! Any bytes as a file of vectors, ids or ground truth; the first byte chooses the format.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use parsimon_ann::io::{GroundTruth, VectorFile, read_ids};

const NAMES: [&str; 7] = ["v.fvecs", "v.bvecs", "v.ivecs", "v.fbin", "v.u8bin", "v.i8bin", "v.npy"];

/// Reads every row that the file says it has.
fn rows(path: &Path) {
    let Ok(file) = VectorFile::open(path) else { return };
    let bytes: usize = (0..file.len()).map(|i| file.row(i).len()).sum();
    assert_eq!(bytes, file.len() * file.dim() * file.element().size());
    let _ = file.first_not_finite();
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let choice = usize::from(choice);
    match NAMES.get(choice) {
        Some(name) => parsimon_fuzz::as_file(name, data, rows),
        None if choice % 2 == 0 => parsimon_fuzz::as_file("ids.ibin", data, |path| drop(read_ids(path))),
        None => parsimon_fuzz::as_file("truth.bin", data, |path| {
            let Ok(truth) = GroundTruth::read(path) else { return };
            let _ = truth.recall(&vec![Vec::new(); truth.queries()], truth.k);
        }),
    }
});
