//! A disk in memory that can lose power at any moment.
//!
//! Every operation is counted. At a chosen one the power fails: that operation and all later ones return an error. What a later start
//! finds is drawn from a seed: everything synchronized, and of the rest any part, written in any order and torn at 512 bytes. Names
//! (created, renamed, removed) are durable after a synchronization of their folder; until then a prefix of their changes survives.
//!
//! It knows no trait of any crate; a test that needs one wraps it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// The content of a file: what was synchronized, and what was written since.
#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last synchronization, as (offset, bytes), and lengths set.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len(), 0);
            }
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
        Change::Length(length) => bytes.resize(*length, 0),
    }
}

type Inode = usize;

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, Inode),
    Unlink(String),
    Rename(String, String),
}

fn apply_name(names: &mut BTreeMap<String, Inode>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            // A folder takes what is below it along.
            let below = format!("{from}/");
            let moved: Vec<String> = names.keys().filter(|n| *n == from || n.starts_with(&below)).cloned().collect();
            for name in moved {
                let inode = names.remove(&name).expect("it was just listed");
                names.insert(format!("{to}{}", &name[from.len()..]), inode);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    /// Changes of names since their folder was synchronized, in order.
    pending_names: Vec<NameChange>,
    operations: u64,
    fail_at: Option<u64>,
    /// Bytes that all files may have together.
    capacity: Option<usize>,
}

/// A disk in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// An open file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: Inode,
}

/// A generator of its own, so that the test kit needs no other crate.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 29)
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        SimDisk::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far that change something.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets operation number `at` (from 0) and all later ones fail; `None` mends it.
    pub fn fail_at(&self, at: Option<u64>) {
        self.lock().fail_at = at;
    }

    /// Lets writes fail with `StorageFull` once all files together would have more bytes.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.lock().capacity = bytes;
    }

    /// The disk as a start after the power failure finds it.
    pub fn after_crash(&self, mut seed: u64) -> SimDisk {
        let state = self.lock();
        let mut names = state.durable_names.clone();
        let survive = next(&mut seed) as usize % (state.pending_names.len() + 1);
        state.pending_names[..survive].iter().for_each(|change| apply_name(&mut names, change));
        let files = state.files.iter().map(|content| {
            let mut bytes = content.durable.clone();
            let mut sectors: Vec<Change> = Vec::new();
            for change in &content.pending {
                match change {
                    Change::Write(offset, data) => {
                        let mut at = 0;
                        while at < data.len() {
                            let end = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                            let end = end.min(data.len());
                            sectors.push(Change::Write(offset + at, data[at..end].to_vec()));
                            at = end;
                        }
                    }
                    Change::Length(length) => sectors.push(Change::Length(*length)),
                }
            }
            // 0: nothing survives, 1: everything, else each sector by a coin. Later writes to a sector come after earlier ones.
            let mode = next(&mut seed) % 4;
            for change in &sectors {
                if mode == 1 || (mode > 1 && next(&mut seed).is_multiple_of(2)) {
                    apply(&mut bytes, change);
                }
            }
            Content { now: bytes.clone(), durable: bytes, pending: Vec::new() }
        });
        let files = files.collect();
        SimDisk(Arc::new(Mutex::new(State { files, durable_names: names.clone(), names, ..State::default() })))
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let number = state.operations;
        state.operations += 1;
        if state.fail_at.is_some_and(|at| number >= at) {
            return Err(io::Error::other("the power failed"));
        }
        Ok(state)
    }

    /// Opens a file, or creates or empties it.
    pub fn open(&self, path: &str, create: bool) -> io::Result<SimFile> {
        let known = self.lock().names.get(path).copied();
        let inode = match (known, create) {
            (Some(inode), false) => inode,
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (_, true) => {
                // An emptied file is a new one: whichever of both a crash leaves is whole.
                let mut state = self.change()?;
                state.files.push(Content::default());
                let inode = state.files.len() - 1;
                let change = NameChange::Link(path.to_owned(), inode);
                apply_name(&mut state.names, &change);
                state.pending_names.push(change);
                inode
            }
        };
        Ok(SimFile { disk: self.clone(), inode })
    }

    /// The names directly in a folder, files and folders.
    pub fn list(&self, dir: &str) -> Vec<String> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let state = self.lock();
        let below = state.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        let mut names: Vec<String> = below.map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
        names.dedup();
        names
    }

    /// Renames a file or a folder.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    /// Removes a file.
    pub fn remove_file(&self, path: &str) -> io::Result<()> {
        if !self.lock().names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Unlink(path.to_owned()))
    }

    fn change_name(&self, change: NameChange) -> io::Result<()> {
        let mut state = self.change()?;
        apply_name(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    /// Makes names durable: of the whole disk, as journals do.
    pub fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.change()?;
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    /// Flips one bit of a file, durably.
    pub fn flip(&self, path: &str, bit: usize) {
        let mut state = self.lock();
        let inode = state.names[path];
        let content = &mut state.files[inode];
        content.now[bit / 8] ^= 1 << (bit % 8);
        content.durable = content.now.clone();
    }

    /// A disk of its own with the same content.
    pub fn copy(&self) -> SimDisk {
        let state = self.lock();
        SimDisk(Arc::new(Mutex::new(State {
            files: state.files.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending_names: state.pending_names.clone(),
            ..State::default()
        })))
    }

    /// Every file with its length.
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.lock();
        state.names.iter().map(|(name, &inode)| (name.clone(), state.files[inode].now.len())).collect()
    }
}

impl SimFile {
    /// Fills `bytes` from `offset`.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.lock();
        let now = &state.files[self.inode].now;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(now.len());
        let source = now[begin..].get(..bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(source);
        Ok(())
    }

    /// Writes at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let used: usize = state.names.values().map(|&inode| state.files[inode].now.len()).sum();
        let grows = (offset as usize + bytes.len()).saturating_sub(state.files[self.inode].now.len());
        if state.capacity.is_some_and(|capacity| used + grows > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let change = Change::Write(offset as usize, bytes.to_vec());
        let content = &mut state.files[self.inode];
        apply(&mut content.now, &change);
        content.pending.push(change);
        Ok(())
    }

    /// Makes content and length durable.
    pub fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let content = &mut state.files[self.inode];
        content.durable = content.now.clone();
        content.pending.clear();
        Ok(())
    }

    /// Sets the length.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let content = &mut state.files[self.inode];
        let change = Change::Length(len as usize);
        apply(&mut content.now, &change);
        content.pending.push(change);
        Ok(())
    }

    /// The length.
    pub fn len(&self) -> u64 {
        self.disk.lock().files[self.inode].now.len() as u64
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synchronized_survives() {
        for seed in 0..200 {
            let disk = SimDisk::new();
            let file = disk.open("a", true).expect("a file");
            file.write_at(&[1; 2000], 0).expect("a write");
            file.sync().expect("a sync");
            disk.sync_dir().expect("a sync");
            file.write_at(&[2; 1000], 1500).expect("a write");
            disk.rename("a", "b").expect("a rename");
            let after = disk.after_crash(seed);
            let names: Vec<String> = after.files().into_iter().map(|f| f.0).collect();
            assert!(names == ["a"] || names == ["b"], "{names:?}");
            let file = after.open(&names[0], false).expect("a file");
            let mut bytes = [0; 1500];
            file.read_at(&mut bytes, 0).expect("a read");
            assert_eq!(bytes, [1; 1500]);
        }
    }

    #[test]
    fn fails_where_it_is_told() {
        let disk = SimDisk::new();
        disk.fail_at(Some(2));
        let file = disk.open("a", true).expect("operation 0");
        file.write_at(&[1], 0).expect("operation 1");
        assert!(file.sync().is_err());
        assert!(file.write_at(&[1], 0).is_err());
        disk.fail_at(None);
        disk.set_capacity(Some(10));
        assert_eq!(file.write_at(&[1; 11], 0).map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
    }
}
