//! Damaged files of an index, under checksums that are right: opening is an error, or the index can be searched and checked.
//!
//! The first byte chooses the file, the rest are patches of four bytes: place, value. Checksums of checksums are made anew from inside
//! out, so that the parsers behind them see the damage.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crc32c::crc32c;
use libfuzzer_sys::fuzz_target;
use parsimon_ann::{
    Durability, Element, Index, IndexConfig, Metric, Runtime, SearchParams, Space, StdVfs, VectorId, VerifyLevel, Vfs,
};

type Files = Vec<(String, Vec<u8>)>;

/// A small index with chunks, a generation and a log: every file by name.
fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = parsimon_fuzz::folder().join("source");
        let space = Space::new(Metric::L2, Element::U8, 8, None).expect("a space");
        let config = IndexConfig { posting_limit: Some(8), ..IndexConfig::default() };
        let index = Index::create(&dir, &space, &config, [7; 16], runtime()).expect("an index");
        for id in 0..60u8 {
            index.insert(&[VectorId(id.into())], &[id.wrapping_mul(37), id, 3, id / 2, 9, 200, id ^ 5, 1]).expect("an insert");
        }
        index.checkpoint().expect("a checkpoint");
        index.delete(&[VectorId(3), VectorId(9)]).expect("a delete");
        index.insert(&[VectorId(100)], &[1; 8]).expect("an insert");
        index.flush().expect("a log");
        drop(index);
        let mut files = Files::new();
        collect(&dir, "", &mut files);
        files.sort();
        files
    })
}

fn runtime() -> Runtime {
    Runtime { durability: Durability::Deferred, ..Runtime::default() }
}

fn collect(dir: &Path, prefix: &str, files: &mut Files) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.push((name, std::fs::read(entry.path()).expect("a file")));
        }
    }
}

fn put(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Makes the checksums inside a file right.
fn seal(name: &str, bytes: &mut [u8]) {
    if name.starts_with("data") {
        for chunk in bytes.chunks_exact_mut(4096).skip(1) {
            let crc = crc32c(&chunk[8..]);
            put(chunk, 4, crc);
        }
        let crc = crc32c(&bytes[..60.min(bytes.len())]);
        put(bytes, 60, crc);
    } else if name.starts_with("wal") {
        let mut at = 64;
        while at + 24 <= bytes.len() {
            let len = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
            let Some(record) = bytes.get(at + 8..at + 24 + len) else { break };
            let crc = crc32c(record);
            put(bytes, at + 4, crc);
            at = (at + 24 + len).next_multiple_of(8);
        }
    } else if name.ends_with(".bin") && bytes.len() >= 64 {
        let crc = crc32c(&bytes[64..]);
        put(bytes, 12, crc);
        let crc = crc32c(&bytes[..60]);
        put(bytes, 60, crc);
    }
}

/// Makes the manifest name the files as they are, and `CURRENT` the manifest.
fn seal_all(files: &mut Files) {
    let of = |files: &Files, name: &str| files.iter().position(|(file, _)| file.ends_with(name));
    let Some(manifest) = of(files, "manifest.json") else { return };
    let mut text = String::from_utf8_lossy(&files[manifest].1).into_owned();
    if let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&text) {
        for name in ["heads.bin", "posts.bin", "ids.bin"] {
            let Some(at) = of(files, name) else { continue };
            let bytes = &files[at].1;
            if let Some(entry) = value.get_mut("files").and_then(|files| files.get_mut(name)) {
                entry["bytes"] = bytes.len().into();
                entry["crc32c"] = format!("{:08x}", crc32c(bytes)).into();
            }
        }
        text = value.to_string();
        files[manifest].1 = text.into_bytes();
    }
    let bytes = &files[manifest].1;
    let current = files.iter().position(|(name, _)| name == "CURRENT").expect("CURRENT");
    let old = String::from_utf8_lossy(&files[current].1).into_owned();
    let generation = old.split(' ').nth(2).unwrap_or("1");
    let line = format!("parsimon-ann 1 {generation} {} {:08x}", bytes.len(), crc32c(bytes));
    files[current].1 = format!("{line} {:08x}\n", crc32c(line.as_bytes())).into_bytes();
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, patches)) = data.split_first() else { return };
    let mut files = files().clone();
    let chosen = usize::from(choice) % files.len();
    let (name, bytes) = &mut files[chosen];
    for patch in patches.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]]));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = patch[2];
        } else if patch[3] == 0 {
            bytes.truncate(at / 2);
        }
    }
    let name = name.clone();
    seal(&name, &mut files[chosen].1);
    if name != "CURRENT" {
        seal_all(&mut files);
    }
    let dir = parsimon_fuzz::folder().join("damaged");
    let _ = std::fs::remove_dir_all(&dir);
    for (name, bytes) in &files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    let vfs: Arc<dyn Vfs> = Arc::new(StdVfs::new(&dir));
    let _ = Index::verify(&vfs, VerifyLevel::Full);
    let _ = parsimon_ann::salvage(&vfs, &parsimon_fuzz::folder().join("saved.u8bin"));
    let Ok(index) = Index::open_on(vfs, runtime()) else { return };
    let mut found = Vec::new();
    let params = SearchParams { k: 100, nprobe: usize::MAX, ..SearchParams::default() };
    if index.space().vector_bytes() == 8 {
        let _ = index.searcher().search_into(&[5; 8], &params, &mut found);
    }
});
