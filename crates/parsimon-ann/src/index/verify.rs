//! Checking what an index must be, from its files alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::Index;
use crate::ids::is_older;
use crate::space::Space;
use crate::storage::Vfs;
use crate::storage::chunk::Records;
use crate::storage::generation::{Generation, UNSPLITTABLE, chunk_format, parse_dir};
use crate::storage::wal::parse_name;
use crate::{AnnError, StorageError};

/// How much is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VerifyLevel {
    /// Sizes and checksums of the generation.
    Quick,
    /// Every chunk and every account.
    #[default]
    Full,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct Violation {
    pub kind: &'static str,
    pub file: String,
    pub offset: u64,
    pub what: String,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Nothing is wrong.
    pub clean: bool,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Live vectors.
    pub live: u64,
    /// Postings.
    pub heads: u64,
    /// Records in chunks.
    pub records: u64,
    /// Names in the folder that are no part of an index.
    pub foreign: Vec<String>,
}

impl VerifyReport {
    fn violation(&mut self, kind: &'static str, file: &str, offset: u64, what: impl Into<String>) {
        self.violations.push(Violation { kind, file: file.to_owned(), offset, what: what.into() });
    }
}

impl Index {
    /// Checks the published generation of a folder; see [`Index::checkpoint`] for bringing it up to date.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`] where the folder is no index or cannot be read; damage is in the report.
    pub fn verify(vfs: &Arc<dyn Vfs>, level: VerifyLevel) -> Result<VerifyReport, AnnError> {
        let mut report = VerifyReport::default();
        let (generation, space) = match Generation::read(&**vfs) {
            Ok(read) => read,
            Err(AnnError::Storage(StorageError::Corruption { file, offset, what })) => {
                report.violation("corruption", &file.to_string_lossy(), offset, what);
                return Ok(report);
            }
            Err(AnnError::Storage(StorageError::Missing { file })) => {
                report.violation("missing", &file.to_string_lossy(), 0, "the file is missing");
                return Ok(report);
            }
            Err(other) => return Err(other),
        };
        (report.live, report.heads) = (generation.manifest.live, generation.manifest.heads);
        report.records = generation.manifest.records;
        for name in vfs.list("").map_err(|e| StorageError::io(".", "list", e))? {
            let known = ["LOCK", "CURRENT", generation.manifest.data_file.as_str()].contains(&name.as_str());
            if !known && parse_dir(&name).is_none() && parse_name(&name).is_none() && !name.ends_with(".tmp") {
                report.foreign.push(name);
            }
        }
        if level == VerifyLevel::Full {
            check_chunks(&**vfs, &generation, &space, &mut report)?;
            check_ids(&generation, &mut report);
            check_heads(&generation, &space, &mut report);
        }
        report.clean = report.violations.is_empty();
        Ok(report)
    }
}

/// Every chunk of every posting, and the copies of every id.
fn check_chunks(
    vfs: &dyn Vfs,
    generation: &Generation,
    space: &Space,
    report: &mut VerifyReport,
) -> Result<(), AnnError> {
    let manifest = &generation.manifest;
    let name = manifest.data_file.as_str();
    let format = chunk_format(space, manifest.uuid_bytes().expect("it was checked"));
    let chunk_bytes = format.geometry.chunk_bytes();
    let file = vfs.open(name, false).map_err(|e| StorageError::io(name, "open", e))?;
    let length = file.len().map_err(|e| StorageError::io(name, "read the length of", e))?;
    if length < u64::from(manifest.data_chunks) * chunk_bytes as u64 {
        report.violation("short", name, length, "the data file is shorter than its chunks");
        return Ok(());
    }
    let mut bytes = vec![0; chunk_bytes];
    file.read_at(&mut bytes, 0).map_err(|e| StorageError::io(name, "read", e))?;
    if let Err(e) = format.check_superblock(name, &bytes) {
        report.violation("superblock", name, 0, e.to_string());
    }
    let mut copies: BTreeMap<u32, (u32, bool)> = BTreeMap::new();
    let limit = manifest.config.posting_limit.unwrap_or_else(|| format.geometry.default_limit());
    for post in &generation.posts {
        let mut records = Records::default();
        for (index, &chunk) in post.chunks.iter().enumerate() {
            let offset = u64::from(chunk) * chunk_bytes as u64;
            file.read_at(&mut bytes, offset).map_err(|e| StorageError::io(name, "read", e))?;
            let view = match format.decode(&bytes) {
                Ok(view) => view,
                Err(what) => {
                    report.violation("chunk", name, offset, what);
                    continue;
                }
            };
            if (view.owner.head, view.owner.index as usize) != (post.head, index) {
                report.violation("owner", name, offset, format!("it belongs to posting {}", view.owner.head));
            }
            if view.seq >= manifest.chunk_seq {
                report.violation("sequence", name, offset, format!("{} is not below {}", view.seq, manifest.chunk_seq));
            }
            if index + 1 < post.chunks.len() && view.count < format.geometry.cap {
                report.violation("order", name, offset, "a chunk before the last is not full");
            }
            view.append_to(&mut records);
        }
        if records.len() != post.records as usize {
            let what = format!("posting {} has {} records, posts.bin says {}", post.head, records.len(), post.records);
            report.violation("count", name, 0, what);
        }
        if post.records > 4 * limit && post.flags & UNSPLITTABLE == 0 {
            report.violation("size", name, 0, format!("posting {} has {} records", post.head, post.records));
        }
        for (&iid, &version) in records.iids.iter().zip(&records.versions) {
            let current = generation.ids.version.get(iid as usize).copied();
            let entry = copies.entry(iid).or_default();
            entry.0 += 1;
            match current {
                Some(current) => entry.1 |= !is_older(version, current),
                None => report.violation("record", name, 0, format!("posting {} names id {iid}", post.head)),
            }
        }
    }
    check_copies(generation, &copies, report);
    Ok(())
}

/// The account of copies: records of every id, and whether one is of its current version.
fn check_copies(generation: &Generation, copies: &BTreeMap<u32, (u32, bool)>, report: &mut VerifyReport) {
    for (iid, &state) in generation.ids.state.iter().enumerate() {
        let (count, has_current) = copies.get(&(iid as u32)).copied().unwrap_or_default();
        if count != u32::from(generation.ids.copies[iid]) {
            let what = format!("id {iid} has {count} records, ids.bin says {}", generation.ids.copies[iid]);
            report.violation("copies", "ids.bin", 0, what);
        }
        if state == 2 && !has_current {
            report.violation("lost", "ids.bin", 0, format!("live id {iid} has no record of its version"));
        }
        if state == 0 && count > 0 {
            report.violation("free", "ids.bin", 0, format!("free id {iid} has records"));
        }
    }
}

fn check_ids(generation: &Generation, report: &mut VerifyReport) {
    let mut seen = HashSet::new();
    for (iid, (&ext, &state)) in generation.ids.ext.iter().zip(&generation.ids.state).enumerate() {
        if state == 2 && !seen.insert(ext) {
            report.violation("ids", "ids.bin", 0, format!("external id {ext} is live twice, also as {iid}"));
        }
    }
}

fn check_heads(generation: &Generation, space: &Space, report: &mut VerifyReport) {
    let mut seen = HashSet::new();
    for (post, row) in generation.posts.iter().zip(generation.head_rows.chunks_exact(space.stride())) {
        if !seen.insert(row) {
            report.violation("heads", "heads.bin", 0, format!("head {} equals another", post.head));
        }
        if post.head >= generation.manifest.next_head_id {
            report.violation("heads", "heads.bin", 0, format!("head {} is not below the next id", post.head));
        }
    }
}
