//! The files of an index, byte by byte as `docs/design/ann-format.md` says.
//!
//! Everything goes through a [`Vfs`], so that tests can stop the disk at any operation. A file or a chunk is believed only after its
//! checksum.

pub(crate) mod chunk;
pub(crate) mod generation;
pub(crate) mod pool;
mod vfs;
pub(crate) mod wal;

pub use vfs::{FileLock, StdVfs, Vfs, VfsFile};

/// The common header of generation files and logs.
pub(crate) const HEADER: usize = 64;
pub(crate) const VERSION: u32 = 1;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The name of an index: the same in every file of it.
pub(crate) type Uuid = [u8; 16];
