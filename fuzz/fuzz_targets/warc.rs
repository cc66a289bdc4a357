//! Any bytes as a web archive: records and errors, no panic and no endless loop.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use parsimon_data::warc::{WarcOptions, WarcReader};

fuzz_target!(|data: &[u8]| {
    for record in WarcReader::from_bytes(Path::new("input.warc"), data, WarcOptions::default()).flatten() {
        let _ = (record.record_type(), record.target_uri().map(str::len), record.http().is_some());
    }
});
