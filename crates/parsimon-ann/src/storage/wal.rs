//! The write-ahead log: what was acknowledged, record after record.
//!
//! Writers append to a buffer under a lock; whoever waits first for durability takes all that is buffered, writes it once,
//! synchronizes once and wakes the others (group commit). A failed write or synchronization poisons the log: what the disk holds is
//! then unknown, so nothing is retried on the same file.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{HEADER, Uuid, VERSION, Vfs, VfsFile, put, u32_at, u64_at};
use crate::StorageError;

const MAGIC: &[u8; 8] = b"PANNWAL\0";
/// Bytes of a record before its payload.
const PREFIX: usize = 24;
/// Bytes of a payload at most.
pub(crate) const PAYLOAD_MAX: usize = 1 << 26;

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// Ids and their vectors, row after row in stored form (normalised, without the extra coordinate).
    Upsert {
        ids: Vec<u64>,
        rows: Vec<u8>,
    },
    Delete {
        ids: Vec<u64>,
    },
    /// The last record of a log that has a successor.
    Seal,
}

impl Entry {
    fn payload(&self) -> Vec<u8> {
        let (kind, ids, rows): (u8, &[u64], &[u8]) = match self {
            Entry::Upsert { ids, rows } => (1, ids, rows),
            Entry::Delete { ids } => (2, ids, &[]),
            Entry::Seal => (3, &[], &[]),
        };
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend((ids.len() as u32).to_le_bytes());
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        bytes.extend(rows);
        bytes
    }

    fn parse(payload: &[u8], vector_bytes: usize) -> Option<Entry> {
        let (head, rest) = payload.split_at_checked(8)?;
        if head[1..4] != [0, 0, 0] {
            return None;
        }
        let n = u32_at(head, 4) as usize;
        let (ids, rows) = rest.split_at_checked(n.checked_mul(8)?)?;
        let ids = ids.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        match head[0] {
            1 if rows.len() == n * vector_bytes => Some(Entry::Upsert { ids, rows: rows.to_vec() }),
            2 if rows.is_empty() => Some(Entry::Delete { ids }),
            3 if n == 0 && rows.is_empty() => Some(Entry::Seal),
            _ => None,
        }
    }
}

pub(crate) fn file_name(first_lsn: u64) -> String {
    format!("wal-{first_lsn:020}.log")
}

/// The first LSN that a file's name tells.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// The log that is written to.
pub(crate) struct Wal {
    vfs: Arc<dyn Vfs>,
    uuid: Uuid,
    dim: u64,
    state: Mutex<State>,
    done: Condvar,
}

struct State {
    file: Arc<dyn VfsFile>,
    name: String,
    /// Where the buffer goes.
    offset: u64,
    buffer: Vec<u8>,
    next_lsn: u64,
    durable_lsn: u64,
    /// Somebody writes and synchronizes right now.
    is_busy: bool,
    /// Bytes of the logs since the last checkpoint.
    bytes: u64,
    poisoned: Option<String>,
}

impl Wal {
    /// Goes on with a log of which `offset` bytes are sound; what was found there is made durable first.
    pub(crate) fn resume(
        vfs: Arc<dyn Vfs>,
        uuid: Uuid,
        dim: u64,
        name: &str,
        offset: u64,
        next_lsn: u64,
    ) -> Result<Wal, StorageError> {
        let file = vfs.open(name, false).map_err(|e| StorageError::io(name, "open", e))?;
        file.sync().map_err(|e| StorageError::io(name, "synchronize", e))?;
        vfs.sync_dir("").map_err(|e| StorageError::io(".", "synchronize", e))?;
        Ok(Wal::on(vfs, uuid, dim, file, name.to_owned(), offset, next_lsn))
    }

    /// Starts a log whose first record gets `first_lsn`.
    pub(crate) fn create(vfs: Arc<dyn Vfs>, uuid: Uuid, dim: u64, first_lsn: u64) -> Result<Wal, StorageError> {
        let (file, name) = start(&*vfs, uuid, dim, first_lsn)?;
        Ok(Wal::on(vfs, uuid, dim, file, name, HEADER as u64, first_lsn))
    }

    fn on(
        vfs: Arc<dyn Vfs>,
        uuid: Uuid,
        dim: u64,
        file: Arc<dyn VfsFile>,
        name: String,
        offset: u64,
        next_lsn: u64,
    ) -> Wal {
        let state = State {
            file,
            name,
            offset,
            buffer: Vec::new(),
            next_lsn,
            durable_lsn: next_lsn - 1,
            is_busy: false,
            bytes: offset - HEADER as u64,
            poisoned: None,
        };
        Wal { vfs, uuid, dim, state: Mutex::new(state), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buffers a record and returns its LSN.
    pub(crate) fn append(&self, entry: &Entry) -> Result<u64, StorageError> {
        let payload = entry.payload();
        assert!(payload.len() <= PAYLOAD_MAX, "batches are cut before they get here");
        let mut state = self.lock();
        state.check()?;
        Ok(state.push(&payload))
    }

    /// Returns when everything up to `lsn` is durable.
    pub(crate) fn wait_durable(&self, lsn: u64) -> Result<(), StorageError> {
        let mut state = self.lock();
        loop {
            if state.durable_lsn >= lsn {
                return Ok(());
            }
            state.check()?;
            state = if state.is_busy {
                self.done.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.commit(state)
            };
        }
    }

    /// Makes everything buffered durable.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        let last = self.lock().next_lsn - 1;
        self.wait_durable(last)
    }

    /// Writes and synchronizes what is buffered, without the lock meanwhile.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let buffer = std::mem::take(&mut state.buffer);
        let (file, offset, last) = (Arc::clone(&state.file), state.offset, state.next_lsn - 1);
        state.is_busy = true;
        drop(state);
        let result = file.write_at(&buffer, offset).and_then(|()| file.sync());
        let mut state = self.lock();
        state.is_busy = false;
        match result {
            Ok(()) => {
                state.offset += buffer.len() as u64;
                state.bytes += buffer.len() as u64;
                state.durable_lsn = last;
            }
            Err(e) => state.poisoned = Some(format!("{}: {e}", state.name)),
        }
        self.done.notify_all();
        state
    }

    /// Ends the file and starts the next one; returns its first LSN. The caller keeps writers out.
    pub(crate) fn rotate(&self) -> Result<u64, StorageError> {
        self.flush()?;
        let mut state = self.lock();
        state.check()?;
        // The new file first: where the disk is full, the old one goes on. Without a seal before it, it is a torn group.
        let (file, name) = start(&*self.vfs, self.uuid, self.dim, state.next_lsn + 1)?;
        state.push(&Entry::Seal.payload());
        drop(state);
        self.flush()?;
        let mut state = self.lock();
        state.file = file;
        state.name = name;
        state.offset = HEADER as u64;
        state.bytes = 0;
        Ok(state.next_lsn)
    }

    /// Bytes written since the last checkpoint.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.lock();
        state.bytes + state.buffer.len() as u64
    }
}

/// A log with its header, durable before any record: behind a damaged header a record is one that was acknowledged.
fn start(vfs: &dyn Vfs, uuid: Uuid, dim: u64, first_lsn: u64) -> Result<(Arc<dyn VfsFile>, String), StorageError> {
    let name = file_name(first_lsn);
    let file = vfs.open(&name, true).map_err(|e| StorageError::io(&name, "create", e))?;
    let written =
        file.write_at(&header(uuid, dim, first_lsn), 0).and_then(|()| file.sync()).and_then(|()| vfs.sync_dir(""));
    written.map_err(|e| StorageError::io(&name, "write", e))?;
    Ok((file, name))
}

impl State {
    fn check(&self) -> Result<(), StorageError> {
        match &self.poisoned {
            Some(why) => Err(StorageError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }

    fn push(&mut self, payload: &[u8]) -> u64 {
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        let record = encode(lsn, self.durable_lsn, payload);
        self.buffer.extend(record);
        lsn
    }
}

fn encode(lsn: u64, durable_lsn: u64, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; (PREFIX + payload.len()).next_multiple_of(8)];
    put(&mut record, 0, &(payload.len() as u32).to_le_bytes());
    put(&mut record, 8, &lsn.to_le_bytes());
    put(&mut record, 16, &durable_lsn.to_le_bytes());
    put(&mut record, PREFIX, payload);
    let crc = crc32c::crc32c(&record[8..PREFIX + payload.len()]);
    put(&mut record, 4, &crc.to_le_bytes());
    record
}

fn header(uuid: Uuid, dim: u64, first_lsn: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    put(&mut header, 0, MAGIC);
    put(&mut header, 8, &VERSION.to_le_bytes());
    put(&mut header, 24, &first_lsn.to_le_bytes());
    put(&mut header, 32, &dim.to_le_bytes());
    put(&mut header, 40, &uuid);
    let crc = crc32c::crc32c(&header[..60]);
    put(&mut header, 60, &crc.to_le_bytes());
    header
}

/// A log file as it was found.
pub(crate) struct LogBytes {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// What the logs hold.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) entries: Vec<(u64, Entry)>,
    pub(crate) next_lsn: u64,
    /// Bytes of a group that was never acknowledged, and where to cut it off: file and length. Later files are to be removed.
    pub(crate) torn_bytes: u64,
    pub(crate) cut: Option<(usize, u64)>,
    /// The last file ends with a seal.
    pub(crate) sealed: bool,
}

struct Parsed {
    lsn: u64,
    durable_lsn: u64,
    entry: Entry,
    end: usize,
}

fn record_at(bytes: &[u8], at: usize, vector_bytes: usize) -> Option<Parsed> {
    let prefix = bytes.get(at..at + PREFIX)?;
    let len = u32_at(prefix, 0) as usize;
    if len == 0 || len > PAYLOAD_MAX {
        return None;
    }
    let body = bytes.get(at + 8..at + PREFIX + len)?;
    if crc32c::crc32c(body) != u32_at(prefix, 4) {
        return None;
    }
    let end = (at + PREFIX + len).next_multiple_of(8);
    if bytes.get(at + PREFIX + len..end)?.iter().any(|&b| b != 0) {
        return None;
    }
    let entry = Entry::parse(&body[PREFIX - 8..], vector_bytes)?;
    Some(Parsed { lsn: u64_at(prefix, 8), durable_lsn: u64_at(prefix, 16), entry, end })
}

/// Reads the logs from `start_lsn` on, in order.
///
/// At the first record that is short, damaged or out of order, the rest is searched for a sound record that says that the missing one
/// was durable: then an acknowledged record is damaged. Otherwise it is a group that was never acknowledged, and is to be cut off.
pub(crate) fn replay(
    files: &[LogBytes],
    start_lsn: u64,
    uuid: Uuid,
    dim: u64,
    vector_bytes: usize,
) -> Result<Replay, StorageError> {
    let mut replay = Replay { entries: Vec::new(), next_lsn: start_lsn, torn_bytes: 0, cut: None, sealed: false };
    for (number, file) in files.iter().enumerate() {
        let is_last = number + 1 == files.len();
        let sound = file.bytes.len() >= HEADER && file.bytes[..HEADER] == header(uuid, dim, replay.next_lsn);
        if !sound {
            // A power failure while a file is started leaves no record in it.
            let mut places = (HEADER..file.bytes.len()).step_by(8);
            let is_started = places.any(|at| record_at(&file.bytes, at, vector_bytes).is_some());
            if is_last && (number == 0 || replay.sealed) && !is_started {
                replay.cut = Some((number, 0));
                replay.torn_bytes += file.bytes.len() as u64;
                return Ok(replay);
            }
            return Err(StorageError::damage(
                &file.name,
                0,
                "the header of the log is wrong, or a log is missing before it",
            ));
        }
        replay.sealed = false;
        let mut at = HEADER;
        loop {
            if at == file.bytes.len() && (is_last || replay.sealed) {
                break;
            }
            match record_at(&file.bytes, at, vector_bytes) {
                Some(record) if record.lsn == replay.next_lsn && !replay.sealed => {
                    replay.next_lsn += 1;
                    at = record.end;
                    replay.sealed = record.entry == Entry::Seal;
                    if !replay.sealed {
                        replay.entries.push((record.lsn, record.entry));
                    }
                }
                _ => {
                    return torn(files, number, at, vector_bytes, replay);
                }
            }
        }
    }
    Ok(replay)
}

fn torn(
    files: &[LogBytes],
    number: usize,
    begin: usize,
    vector_bytes: usize,
    mut replay: Replay,
) -> Result<Replay, StorageError> {
    let expected = replay.next_lsn;
    let rest = files[number..].iter().enumerate().map(|(i, file)| (file, if i == 0 { begin } else { HEADER }));
    for (file, from) in rest {
        for at in (from..file.bytes.len()).step_by(8) {
            let Some(record) = record_at(&file.bytes, at, vector_bytes) else { continue };
            if record.lsn > expected && record.durable_lsn >= expected {
                let what = format!("record {expected} was acknowledged and is damaged or missing");
                return Err(StorageError::damage(&files[number].name, begin as u64, what));
            }
        }
    }
    let bytes = |files: &[LogBytes]| files.iter().map(|f| f.bytes.len() as u64).sum::<u64>();
    replay.torn_bytes = bytes(&files[number..]) - begin as u64;
    replay.cut = Some((number, begin as u64));
    Ok(replay)
}

#[cfg(test)]
mod tests;
