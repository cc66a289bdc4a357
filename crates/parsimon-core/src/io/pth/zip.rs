//! The container: a zip archive of stored entries, read from its central directory.
//!
//! PyTorch writes local headers with sizes of 0 and says them in the central directory alone, with zip64 records for large files.

use std::collections::BTreeMap;
use std::ops::Range;

use super::crc::crc32;
use super::error::{Place, PthError};

const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;

/// The longest comment behind the central directory, and the record before it.
const END_SEARCH: usize = 22 + 0xffff;

pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    place: Place<'a>,
    entries: BTreeMap<String, Stored>,
}

struct Stored {
    range: Range<usize>,
    crc: u32,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8], place: Place<'a>) -> Result<Self, PthError> {
        if bytes.starts_with(&[0x80, 0x02, 0x8a, 0x0a]) {
            return Err(PthError::LegacyFormat { file: place.file.to_owned() });
        }
        if u32_at(bytes, 0) != Some(LOCAL) {
            return Err(PthError::NotAZip { file: place.file.to_owned() });
        }
        let mut archive = Archive { bytes, place, entries: BTreeMap::new() };
        let (start, size, count) = archive.directory()?;
        let end = start.checked_add(size).filter(|&end| end <= bytes.len() as u64);
        let end =
            end.ok_or_else(|| place.truncated("the central directory", start.saturating_add(size), bytes.len()))?;
        let directory = &bytes[start as usize..end as usize];
        let mut at = 0;
        for _ in 0..count {
            let record = directory.get(at..);
            let record = record.ok_or_else(|| place.truncated("the central directory", at as u64, directory.len()))?;
            at += archive.entry(record)?;
        }
        archive.check_overlaps()?;
        Ok(archive)
    }

    pub(super) fn place(&self) -> Place<'a> {
        self.place
    }

    /// Where the central directory lies, and how many entries it has.
    fn directory(&self) -> Result<(u64, u64, u64), PthError> {
        let (bytes, missing) =
            (self.bytes, || self.place.truncated("the end of the central directory", 0, self.bytes.len()));
        let first = bytes.len().saturating_sub(END_SEARCH);
        let end = (first..bytes.len().saturating_sub(21)).rev().find(|&at| u32_at(bytes, at) == Some(END));
        let end = end.ok_or_else(missing)?;
        let half = |at| u16_at(bytes, end + at).ok_or_else(missing);
        let word = |at| u32_at(bytes, end + at).ok_or_else(missing);
        if half(4)? != 0 && half(4)? != 0xffff {
            return Err(self.place.bad_pickle("an archive of several disks".into(), end));
        }
        let (count, size, start) = (half(10)?, word(12)?, word(16)?);
        if count != 0xffff && size != u32::MAX && start != u32::MAX {
            return Ok((start.into(), size.into(), count.into()));
        }
        let locator =
            end.checked_sub(20).filter(|&at| u32_at(bytes, at) == Some(END_64_LOCATOR)).ok_or_else(missing)?;
        let record = u64_at(bytes, locator + 8).and_then(|at| usize::try_from(at).ok()).ok_or_else(missing)?;
        if u32_at(bytes, record) != Some(END_64) {
            return Err(missing());
        }
        let long = |at: usize| record.checked_add(at).and_then(|at| u64_at(bytes, at)).ok_or_else(missing);
        Ok((long(48)?, long(40)?, long(32)?))
    }

    /// Takes the entry that a piece of the directory begins with; returns the bytes that it takes there.
    fn entry(&mut self, record: &[u8]) -> Result<usize, PthError> {
        let missing = || self.place.truncated("an entry of the central directory", 46, record.len());
        if u32_at(record, 0) != Some(ENTRY) || record.len() < 46 {
            return Err(missing());
        }
        let half = |at| u16_at(record, at).map(usize::from).ok_or_else(missing);
        let word = |at| u32_at(record, at).ok_or_else(missing);
        let (flags, method, crc) = (half(8)?, half(10)?, word(16)?);
        let (name_len, extra_len, comment_len) = (half(28)?, half(30)?, half(32)?);
        let name = record.get(46..46 + name_len).ok_or_else(missing)?;
        let extra = record.get(46 + name_len..46 + name_len + extra_len).ok_or_else(missing)?;
        let name = String::from_utf8_lossy(name).into_owned();
        // In the order of the format: sizes and offset are in the zip64 field when they do not fit.
        let mut wide = zip64(extra);
        let mut number = |short: u32| {
            if short != u32::MAX {
                return Ok(u64::from(short));
            }
            let (value, rest) = wide.split_first_chunk::<8>().ok_or_else(missing)?;
            wide = rest;
            Ok(u64::from_le_bytes(*value))
        };
        let (size, stored, local) = (number(word(24)?)?, number(word(20)?)?, number(word(42)?)?);
        if method != 0 || flags & 1 != 0 || size != stored {
            let (method, flags) = (method as u16, flags as u16);
            return Err(PthError::UnsupportedCompression {
                file: self.place.file.to_owned(),
                entry: name,
                method,
                flags,
            });
        }
        let range = self.local(&name, local, size)?;
        if self.entries.insert(name.clone(), Stored { range, crc }).is_some() {
            return Err(PthError::DuplicateEntry { file: self.place.file.to_owned(), entry: name });
        }
        Ok(46 + name_len + extra_len + comment_len)
    }

    /// Where the data of an entry lies, behind its local header.
    fn local(&self, name: &str, at: u64, size: u64) -> Result<Range<usize>, PthError> {
        let truncated = |needed| self.place.truncated(&format!("entry `{name}`"), needed, self.bytes.len());
        let header = usize::try_from(at).ok().filter(|&at| u32_at(self.bytes, at) == Some(LOCAL));
        let header = header.ok_or_else(|| truncated(at))?;
        let half = |at| u16_at(self.bytes, header + at).ok_or_else(|| truncated(at as u64));
        let start = header as u64 + 30 + u64::from(half(26)?) + u64::from(half(28)?);
        let end = start.checked_add(size).ok_or_else(|| truncated(u64::MAX))?;
        if end > self.bytes.len() as u64 { Err(truncated(end)) } else { Ok(start as usize..end as usize) }
    }

    fn check_overlaps(&self) -> Result<(), PthError> {
        let mut ranges: Vec<_> = self.entries.iter().filter(|(_, stored)| !stored.range.is_empty()).collect();
        ranges.sort_by_key(|(_, stored)| stored.range.start);
        match ranges.windows(2).find(|pair| pair[0].1.range.end > pair[1].1.range.start) {
            Some(pair) => Err(PthError::DuplicateEntry { file: self.place.file.to_owned(), entry: pair[1].0.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The name of the only entry `NAME/suffix`.
    pub(super) fn only_ending_with(&self, suffix: &str) -> Result<String, PthError> {
        let is_match =
            |name: &&String| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
        let names: Vec<&String> = self.entries.keys().filter(is_match).collect();
        match names[..] {
            [name] => Ok(name.clone()),
            _ => {
                let (name, count) = (suffix.to_owned(), names.len());
                Err(PthError::MissingEntry { file: self.place.file.to_owned(), name, count })
            }
        }
    }

    /// Where an entry lies; its checksum is right.
    pub(super) fn data(&self, name: &str) -> Result<Range<usize>, PthError> {
        let Some(Stored { range, crc: expected }) = self.entries.get(name) else {
            let (name, count) = (name.to_owned(), 0);
            return Err(PthError::MissingEntry { file: self.place.file.to_owned(), name, count });
        };
        let (expected, actual) = (*expected, crc32(&self.bytes[range.clone()]));
        if actual != expected {
            let (file, entry) = (self.place.file.to_owned(), name.to_owned());
            return Err(PthError::ChecksumMismatch { file, entry, expected, actual });
        }
        Ok(range.clone())
    }
}

/// The zip64 field of the extra fields.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(field) = extra.get(4..4 + usize::from(len)) else { break };
        if id == 1 {
            return field;
        }
        extra = &extra[4 + usize::from(len)..];
    }
    &[]
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
