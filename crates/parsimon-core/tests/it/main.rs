//! Golden files of the formats that this crate reads.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod blocks;
mod gguf;
mod packed;

use std::path::Path;

/// Runs `cases` on the copy of golden data that is committed with this crate, and on the shared one where it exists.
fn shared_and_committed(place: &str, cases: impl Fn(&Path) -> usize) {
    parsimon_testkit::committed("parsimon-core", env!("CARGO_MANIFEST_DIR"), |dir| cases(&dir.join(place)));
    parsimon_testkit::golden("parsimon-core", place, cases);
}
