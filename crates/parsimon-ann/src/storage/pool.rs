//! The data file: reading, writing and sharing chunks.
//!
//! A chunk on disk is held by everything that may still read it: the posting, older states of the posting that a search has in hand,
//! and the published generation. When the last holder lets go, the chunk is free. So a chunk that anybody can reach is never
//! overwritten, and no list of readers is needed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::VfsFile;
use super::chunk::{ChunkFormat, ChunkView, Owner, Records};
use crate::StorageError;

/// Free chunks; chunk 0 is the superblock.
#[derive(Debug)]
pub(crate) struct FreeList {
    state: Mutex<FreeState>,
}

#[derive(Debug)]
struct FreeState {
    free: BTreeSet<u32>,
    /// Chunks of the file, the superblock included.
    end: u32,
}

impl FreeList {
    pub(crate) fn new(end: u32, used: impl IntoIterator<Item = u32>) -> Self {
        let mut free: BTreeSet<u32> = (1..end).collect();
        for chunk in used {
            free.remove(&chunk);
        }
        FreeList { state: Mutex::new(FreeState { free, end }) }
    }

    /// The first of `n` neighbouring chunks; `None` when the file would pass 2^32 chunks.
    pub(crate) fn take(&self, n: u32) -> Option<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if n == 1
            && let Some(chunk) = state.free.pop_first()
        {
            return Some(chunk);
        }
        if let Some(first) = state.run_of(n) {
            for chunk in first..first + n {
                state.free.remove(&chunk);
            }
            return Some(first);
        }
        let first = state.end;
        state.end = first.checked_add(n)?;
        Some(first)
    }

    fn give(&self, chunk: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(state.free.insert(chunk), "chunk {chunk} was free already");
    }

    pub(crate) fn end(&self) -> u32 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end
    }
}

/// Free chunks that a search for neighbouring ones looks at, at most.
const RUN_SEARCH: usize = 1024;

impl FreeState {
    /// The first of `n` neighbouring free chunks.
    fn run_of(&self, n: u32) -> Option<u32> {
        let (mut first, mut length) = (0, 0);
        for &chunk in self.free.iter().take(RUN_SEARCH) {
            (first, length) = if length > 0 && chunk == first + length { (first, length + 1) } else { (chunk, 1) };
            if length == n {
                return Some(first);
            }
        }
        None
    }
}

/// A share in a chunk; the last one frees it.
#[derive(Debug)]
pub(crate) struct ChunkRef {
    pub(crate) number: u32,
    list: Arc<FreeList>,
}

impl Drop for ChunkRef {
    fn drop(&mut self) {
        self.list.give(self.number);
    }
}

/// The open data file of an index.
pub(crate) struct ChunkPool {
    pub(crate) name: String,
    file: Arc<dyn VfsFile>,
    pub(crate) format: ChunkFormat,
    pub(crate) list: Arc<FreeList>,
    seq: AtomicU64,
}

impl ChunkPool {
    pub(crate) fn new(name: &str, file: Arc<dyn VfsFile>, format: ChunkFormat, list: FreeList, seq: u64) -> Self {
        ChunkPool { name: name.to_owned(), file, format, list: Arc::new(list), seq: AtomicU64::new(seq) }
    }

    /// The sequence number that the next chunk gets.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// A share in a chunk that is in use already, for loading a generation.
    pub(crate) fn adopt(&self, number: u32) -> Arc<ChunkRef> {
        Arc::new(ChunkRef { number, list: Arc::clone(&self.list) })
    }

    /// Writes records `begin..end` of a posting to chunks beside each other; `index` is the first chunk's place in the posting.
    pub(crate) fn write(
        &self,
        head: u32,
        index: usize,
        records: &Records,
        begin: usize,
        end: usize,
    ) -> Result<Vec<Arc<ChunkRef>>, StorageError> {
        let cap = self.format.geometry.cap;
        let n = (end - begin).div_ceil(cap);
        if n == 0 {
            return Ok(Vec::new());
        }
        let full = || StorageError::io(&self.name, "grow past 2^32 chunks", std::io::ErrorKind::FileTooLarge.into());
        // Several chunks beside each other are read with one call; a single one fills the first hole.
        let first = self.list.take(n as u32).ok_or_else(full)?;
        let chunks: Vec<_> = (0..n as u32).map(|i| self.adopt(first + i)).collect();
        let mut bytes = Vec::with_capacity(n * self.format.geometry.chunk_bytes());
        for i in 0..n {
            let owner = Owner { head, index: (index + i) as u32 };
            let seq = self.seq.fetch_add(1, Ordering::Relaxed);
            let begin = begin + i * cap;
            bytes.extend(self.format.encode(seq, owner, records, begin, end.min(begin + cap)));
        }
        let offset = u64::from(first) * self.format.geometry.chunk_bytes() as u64;
        self.file.write_at(&bytes, offset).map_err(|e| StorageError::io(&self.name, "write", e))?;
        Ok(chunks)
    }

    /// Reads chunks of one posting, neighbouring ones with one call, and calls `each` with every chunk that is sound.
    pub(crate) fn read(
        &self,
        head: u32,
        chunks: &[Arc<ChunkRef>],
        buffer: &mut Vec<u8>,
        each: impl FnMut(ChunkView<'_>),
    ) -> Result<(), StorageError> {
        self.read_from(head, chunks, 0, buffer, each)
    }

    /// As [`ChunkPool::read`], of the posting's chunks from `begin` on.
    pub(crate) fn read_from(
        &self,
        head: u32,
        chunks: &[Arc<ChunkRef>],
        begin: usize,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(ChunkView<'_>),
    ) -> Result<(), StorageError> {
        let chunk_bytes = self.format.geometry.chunk_bytes();
        let mut index = 0;
        while index < chunks.len() {
            let first = chunks[index].number;
            let run = chunks[index..].iter().zip(first..).take_while(|(chunk, number)| chunk.number == *number).count();
            if buffer.len() < run * chunk_bytes {
                buffer.resize(run * chunk_bytes, 0);
            }
            let bytes = &mut buffer[..run * chunk_bytes];
            let offset = u64::from(first) * chunk_bytes as u64;
            self.file.read_at(bytes, offset).map_err(|e| StorageError::io(&self.name, "read", e))?;
            for (i, bytes) in bytes.chunks_exact(chunk_bytes).enumerate() {
                let offset = offset + (i * chunk_bytes) as u64;
                let damage = |what: &str| StorageError::damage(&self.name, offset, what);
                let view = self.format.decode(bytes).map_err(damage)?;
                if view.owner != (Owner { head, index: (begin + index + i) as u32 }) {
                    return Err(damage("the chunk belongs to another posting"));
                }
                each(view);
            }
            index += run;
        }
        Ok(())
    }

    /// Makes the file as long as its list of chunks says: the last ones may never have been written.
    pub(crate) fn grow(&self) -> Result<(), StorageError> {
        let needed = u64::from(self.list.end()) * self.format.geometry.chunk_bytes() as u64;
        let length = self.file.len().map_err(|e| StorageError::io(&self.name, "read the length of", e))?;
        if length < needed {
            self.file.set_len(needed).map_err(|e| StorageError::io(&self.name, "extend", e))?;
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().map_err(|e| StorageError::io(&self.name, "synchronize", e))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.file.len().unwrap_or(0)
    }
}
