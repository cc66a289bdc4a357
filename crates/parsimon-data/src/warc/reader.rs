//! The reader: an iterator of records that survives damaged files.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use libdeflater::Decompressor;
use parsimon_core::io::Map;

use super::arc::{self, ArcHead};
use super::error::WarcError;
use super::header::{self, HEADER_BYTES_MAX, HeaderFields};
use super::member::{GZIP_MAGIC, Member, MemberFault};
use super::zstd_frame::{self, Frame};
use crate::http::HttpMessage;

/// What [`WarcRecord::version`] is for a record of an ARC file.
const ARC: &str = "arc";

/// How far the reader looks for the next sound record behind a damaged one.
const RESYNC_BYTES_MAX: usize = 16 << 20;

/// Limits of the reader. Its memory stays below their sum and a few times 64 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WarcOptions {
    /// The largest block of a record; a larger one is skipped with [`WarcError::RecordTooLarge`].
    pub record_bytes_max: u64,
    /// Gzip members with at most this content are inflated whole, larger ones in a window.
    pub member_bytes_max: usize,
}

impl Default for WarcOptions {
    fn default() -> Self {
        WarcOptions { record_bytes_max: 64 << 20, member_bytes_max: 32 << 20 }
    }
}

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    /// Byte offset in the file: of the record, or of the gzip member that holds it.
    pub offset: u64,
    /// Bytes of the record in the file, or of its member; `None` for a record in the middle of a large member.
    pub length: Option<u64>,
    /// Offset in the member's inflated content, for a record that does not stand at its start.
    pub stream_offset: Option<u64>,
}

/// One record: its header fields and its block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WarcRecord {
    /// The version that its first line names: `1.0` or `1.1`; `arc` in an ARC file.
    pub version: String,
    /// The header fields.
    pub fields: HeaderFields,
    /// The block: `Content-Length` bytes, fewer when `is_partial`.
    pub block: Vec<u8>,
    /// Whether the file ended inside the block. The next item of the iterator is then the error.
    pub is_partial: bool,
    location: Location,
}

impl WarcRecord {
    /// Where the record lies.
    pub fn location(&self) -> Location {
        self.location
    }

    /// `WARC-Type`, in lower case; empty when it is missing.
    pub fn record_type(&self) -> String {
        self.fields.get("WARC-Type").unwrap_or_default().to_ascii_lowercase()
    }

    /// `WARC-Record-ID` as written, with its angle brackets.
    pub fn record_id(&self) -> Option<&str> {
        self.fields.get("WARC-Record-ID")
    }

    /// `WARC-Target-URI`, without the angle brackets that some writers put around it.
    pub fn target_uri(&self) -> Option<&str> {
        let uri = self.fields.get("WARC-Target-URI")?;
        Some(uri.strip_prefix('<').and_then(|uri| uri.strip_suffix('>')).unwrap_or(uri))
    }

    /// The HTTP message in the block, where `Content-Type` says that it holds one.
    pub fn http(&self) -> Option<HttpMessage<'_>> {
        let kind = self.fields.get("Content-Type")?.to_ascii_lowercase();
        kind.starts_with("application/http").then(|| HttpMessage::parse(&self.block))
    }
}

/// Reads the records of one file: `Iterator<Item = Result<WarcRecord, WarcError>>`.
///
/// An error does not end the iteration where a later record can be found: the reader looks for it in the next 16 MiB.
///
/// ```no_run
/// use parsimon_data::warc::{WarcOptions, WarcReader};
///
/// for record in WarcReader::open("crawl.warc.gz".as_ref(), WarcOptions::default())? {
///     let record = record?;
///     println!("{} {:?} {}", record.record_type(), record.target_uri(), record.block.len());
/// }
/// # Ok::<(), parsimon_data::warc::WarcError>(())
/// ```
pub struct WarcReader<B> {
    file: PathBuf,
    data: B,
    options: WarcOptions,
    pos: usize,
    member: Option<Member>,
    spare: Vec<u8>,
    inflater: Decompressor,
    pending: Option<WarcError>,
    has_ended: bool,
    is_arc: bool,
    /// What the frames of a Zstandard file were compressed with, if its first frame says so.
    dictionary: Vec<u8>,
}

impl WarcReader<Map> {
    /// Maps `file` and reads it from its start.
    ///
    /// # Errors
    ///
    /// [`WarcError::Format`] when the file cannot be mapped.
    pub fn open(file: &Path, options: WarcOptions) -> Result<Self, WarcError> {
        Ok(Self::from_bytes(file, Map::open(file)?, options))
    }
}

impl<B: Deref<Target = [u8]>> WarcReader<B> {
    /// Reads `data`; `file` is the name that errors give it.
    pub fn from_bytes(file: &Path, data: B, options: WarcOptions) -> Self {
        WarcReader {
            file: file.to_owned(),
            data,
            options,
            pos: 0,
            member: None,
            spare: Vec::new(),
            inflater: Decompressor::new(),
            pending: None,
            has_ended: false,
            is_arc: false,
            dictionary: Vec::new(),
        }
    }

    /// The next record; `None` at the end of the file.
    fn step(&mut self) -> Result<Option<WarcRecord>, WarcError> {
        loop {
            if self.member.is_some() {
                if let Some(record) = self.step_in_member()? {
                    return Ok(Some(record));
                }
                continue;
            }
            while self.data.get(self.pos).is_some_and(|&b| b == b'\r' || b == b'\n') {
                self.pos += 1;
            }
            if self.pos >= self.data.len() {
                return Ok(None);
            }
            if self.data[self.pos..].starts_with(&GZIP_MAGIC[..2]) {
                let window = std::mem::take(&mut self.spare);
                let cap = self.options.member_bytes_max;
                self.member = Some(Member::open(&self.data, self.pos, &mut self.inflater, window, cap));
                continue;
            }
            match zstd_frame::at(&self.data[self.pos..], self.options.member_bytes_max) {
                Some(Ok(Frame::Data)) => {
                    let window = std::mem::take(&mut self.spare);
                    self.member = Some(Member::open_zstd(self.pos, &self.dictionary, window));
                }
                Some(Ok(Frame::Skip { length, dictionary })) => {
                    self.pos += length;
                    self.dictionary = dictionary.unwrap_or(std::mem::take(&mut self.dictionary));
                }
                Some(Err(reason)) => {
                    return Err(WarcError::BadMember { file: self.file.clone(), offset: self.pos as u64, reason });
                }
                None => return self.step_plain().map(Some),
            }
        }
    }

    fn step_plain(&mut self) -> Result<WarcRecord, WarcError> {
        let start = self.pos;
        let rest = &self.data[start..];
        let head = self.parse_head(start, &rest[..rest.len().min(HEADER_BYTES_MAX)], rest.len() > HEADER_BYTES_MAX)?;
        self.is_arc |= head.version == ARC;
        let available = (rest.len() - head.length) as u64;
        let is_partial = head.content_length > available;
        self.check_length(start, head.content_length)?;
        let block = rest[head.length..][..head.content_length.min(available) as usize].to_vec();
        self.pos = start + head.length + block.len();
        if is_partial {
            self.pending = Some(self.truncated(start, head.content_length, available));
        }
        let location = Location { offset: start as u64, length: Some((self.pos - start) as u64), stream_offset: None };
        Ok(WarcRecord { version: head.version, fields: head.fields, block, is_partial, location })
    }

    /// A record of the current member; `None` when the member has ended, which is then left.
    fn step_in_member(&mut self) -> Result<Option<WarcRecord>, WarcError> {
        let mut member = self.member.take().expect("the caller has checked that there is a member");
        loop {
            member.fill(&self.data, 2);
            match member.available().first() {
                Some(b'\r' | b'\n') => member.consume(1),
                Some(_) => break,
                None => return self.leave_member(member).map(|()| None),
            }
        }
        let (start, stream_offset) = (member.start, member.stream_offset());
        member.fill(&self.data, HEADER_BYTES_MAX);
        let ready = member.available();
        let window = &ready[..ready.len().min(HEADER_BYTES_MAX)];
        let has_more = ready.len() > window.len() || !member.has_ended() || member.fault.is_some();
        let head = match self.parse_head(start, window, has_more) {
            // A member that breaks off inside a header is reported as what it is.
            Err(_) if member.fault.is_some() => return self.leave_member(member).map(|()| None),
            head => head?,
        };
        self.is_arc |= head.version == ARC;
        member.consume(head.length);
        self.check_length(start, head.content_length)?;
        let wanted = head.content_length as usize;
        member.fill(&self.data, wanted);
        let available = member.available().len();
        let block = member.available()[..wanted.min(available)].to_vec();
        member.consume(block.len());
        let is_partial = block.len() < wanted;
        // The blank lines behind the block belong to it; behind them the member usually ends, and then its length is known, and
        // whether its checksum holds: a record of a damaged member is not given out.
        member.fill(&self.data, 8);
        if matches!(member.fault, Some(MemberFault::Damaged(_))) {
            return self.leave_member(member).map(|()| None);
        }
        let is_over = member.has_ended() && member.fault.is_none();
        let location = Location {
            offset: start as u64,
            length: is_over.then_some((member.next_in - start) as u64),
            stream_offset: (stream_offset > 0).then_some(stream_offset),
        };
        if is_partial {
            self.pending = Some(self.truncated(start, wanted as u64, available as u64));
            self.pos = self.data.len();
        } else {
            self.member = Some(member);
        }
        Ok(Some(WarcRecord { version: head.version, fields: head.fields, block, is_partial, location }))
    }

    fn leave_member(&mut self, member: Member) -> Result<(), WarcError> {
        let (start, next_in, fault, inflated) =
            (member.start, member.next_in, member.fault.clone(), member.stream_offset());
        self.spare = member.into_window();
        self.pos = next_in.max(start + 1);
        match fault {
            None => Ok(()),
            Some(MemberFault::Damaged(reason)) => {
                // The inflater may have run far beyond the damage; the search for the next member starts right behind this one.
                self.pos = start + 1;
                Err(WarcError::BadMember { file: self.file.clone(), offset: start as u64, reason })
            }
            Some(MemberFault::Clipped) => {
                self.pos = self.data.len();
                Err(self.truncated(start, inflated + 1, inflated))
            }
        }
    }

    fn parse_head(&self, offset: usize, window: &[u8], has_more: bool) -> Result<Head, WarcError> {
        let file = self.file.clone();
        let bad = move |reason: &str| WarcError::BadHeader {
            file: file.clone(),
            offset: offset as u64,
            reason: reason.to_owned(),
        };
        if arc::is_first_record(window) || self.is_arc {
            let head = arc::parse_head(window).map_err(|reason| bad(&reason))?;
            let ArcHead { length, fields, content_length } = head;
            return Ok(Head { version: ARC.to_owned(), fields, length, content_length });
        }
        let is_warc = window.starts_with(b"WARC/1.");
        if !is_warc && !(b"WARC/1.".starts_with(window)) {
            let shown: Vec<u8> = window.iter().copied().take(16).collect();
            return Err(bad(&format!("it starts with \"{}\", not with \"WARC/1.\"", shown.escape_ascii())));
        }
        let Some(length) = header::block_end(window) else {
            if has_more {
                return Err(bad(&format!("no empty line within {HEADER_BYTES_MAX} bytes")));
            }
            return Err(self.truncated(offset, window.len() as u64 + 1, window.len() as u64));
        };
        let line_end = memchr::memchr(b'\n', window).expect("the header block holds a line end");
        let version = String::from_utf8_lossy(&window[b"WARC/".len()..line_end]).trim().to_owned();
        let fields = HeaderFields::parse(&window[line_end + 1..length]).map_err(|reason| bad(&reason))?;
        let given = fields.get("Content-Length").unwrap_or("missing");
        let Some(content_length) = given.parse::<u64>().ok().filter(|&length| length < 1 << 63) else {
            return Err(WarcError::BadLength {
                file: self.file.clone(),
                offset: offset as u64,
                given: given.to_owned(),
                available: (self.data.len() - offset) as u64,
            });
        };
        Ok(Head { version, fields, length, content_length })
    }

    fn check_length(&self, offset: usize, given: u64) -> Result<(), WarcError> {
        let limit = self.options.record_bytes_max;
        if given <= limit {
            return Ok(());
        }
        Err(WarcError::RecordTooLarge { file: self.file.clone(), offset: offset as u64, given, limit })
    }

    fn truncated(&self, offset: usize, needed: u64, available: u64) -> WarcError {
        WarcError::Truncated { file: self.file.clone(), offset: offset as u64, needed, available }
    }

    /// Moves to the next place behind `pos` where a record starts, or to the end.
    fn resync(&mut self, error: &WarcError) {
        self.member = None;
        if matches!(error, WarcError::Truncated { .. }) {
            self.has_ended = true;
            return;
        }
        let from = self.pos + 1;
        let window = self.data.get(from..).unwrap_or_default();
        let window = &window[..window.len().min(RESYNC_BYTES_MAX)];
        let is_gzip = self.data[self.pos.min(self.data.len())..].starts_with(&GZIP_MAGIC[..2])
            || matches!(error, WarcError::BadMember { .. });
        let is_zstd = self.data[self.pos.min(self.data.len())..].starts_with(&zstd_frame::MAGIC)
            || matches!(error, WarcError::BadMember { .. }) && self.data.starts_with(&zstd_frame::MAGIC);
        let found = if is_zstd {
            memchr::memmem::find(window, &zstd_frame::MAGIC)
        } else if is_gzip {
            memchr::memmem::find_iter(window, GZIP_MAGIC).find(|&at| starts_a_record(&window[at..]))
        } else {
            let plain = memchr::memmem::find_iter(window, b"\nWARC/1.");
            plain.map(|at| at + 1).find(|&at| window[..at].ends_with(b"\n\n") || window[..at].ends_with(b"\n\r\n"))
        };
        match found {
            Some(at) => self.pos = from + at,
            None => self.has_ended = true,
        }
    }
}

/// Whether the gzip member at the start of `bytes` inflates to something that starts like a record.
fn starts_a_record(bytes: &[u8]) -> bool {
    let mut out = [0; 5];
    let mut stream = flate2::Decompress::new_gzip(15);
    let result = stream.decompress(bytes, &mut out, flate2::FlushDecompress::None);
    result.is_ok() && &out == b"WARC/"
}

struct Head {
    version: String,
    fields: HeaderFields,
    length: usize,
    content_length: u64,
}

impl<B: Deref<Target = [u8]>> Iterator for WarcReader<B> {
    type Item = Result<WarcRecord, WarcError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let result = match self.pending.take() {
            Some(error) => Err(error),
            None => self.step(),
        };
        match result {
            Ok(Some(record)) => Some(Ok(record)),
            Ok(None) => {
                self.has_ended = true;
                None
            }
            Err(error) => {
                self.resync(&error);
                Some(Err(error))
            }
        }
    }
}
