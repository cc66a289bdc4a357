//! One gzip member or Zstandard frame, inflated: whole where that is possible, in a window otherwise.
//!
//! libdeflate inflates a member about twice as fast as a streaming inflater, and its safe binding does not say how many compressed
//! bytes it used. A member ends with the CRC-32 and the length of its content, both known after inflating, so its end is the first
//! place where those eight bytes stand followed by the next member or by the end of the file. When no such place is found, or the
//! content is larger than the cap, or anything is wrong with the member, the streaming inflater reads it from its start: that one knows
//! its place in the input, needs a window only, and tells a clipped member from a damaged one. A file made to mislead can carry the
//! eight bytes inside a member; then records are cut at the wrong place, and no other harm is done.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{DecompressionError, Decompressor};
use zstd::stream::raw::Operation;

/// The first bytes of every gzip member.
pub(super) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b, 0x08];

/// What stopped a member early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum MemberFault {
    Damaged(String),
    Clipped,
}

/// A member being read.
pub(super) struct Member {
    /// Offset of its first compressed byte in the file.
    pub(super) start: usize,
    /// Offset behind the compressed bytes that were used so far; behind the member once it has ended.
    pub(super) next_in: usize,
    pub(super) fault: Option<MemberFault>,
    /// Inflated bytes; those before `at` are consumed.
    window: Vec<u8>,
    at: usize,
    /// Inflated bytes that were consumed altogether.
    consumed: u64,
    stream: Option<Stream>,
}

/// A streaming inflater.
enum Stream {
    Gzip(Box<Decompress>),
    Zstd(Box<zstd::stream::raw::Decoder<'static>>),
}

impl Stream {
    /// Inflates some of `input` into `output`: bytes taken, bytes made, whether the member has ended.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), String> {
        match self {
            Stream::Gzip(stream) => {
                let (in_before, out_before) = (stream.total_in(), stream.total_out());
                let status = stream.decompress(input, output, FlushDecompress::None).map_err(|e| e.to_string())?;
                let (taken, made) = (stream.total_in() - in_before, stream.total_out() - out_before);
                Ok((taken as usize, made as usize, status == Status::StreamEnd))
            }
            Stream::Zstd(stream) => {
                let status = stream.run_on_buffers(input, output).map_err(|e| e.to_string())?;
                Ok((status.bytes_read, status.bytes_written, status.remaining == 0))
            }
        }
    }
}

impl Member {
    /// Starts the member at `start` of `data`, inflating it whole when its content has at most `cap` bytes.
    pub(super) fn open(
        data: &[u8],
        start: usize,
        inflater: &mut Decompressor,
        mut window: Vec<u8>,
        cap: usize,
    ) -> Member {
        window.resize(window.capacity().clamp((64 << 10).min(cap), cap), 0);
        loop {
            match inflater.gzip_decompress(&data[start..], &mut window) {
                Ok(length) => {
                    window.truncate(length);
                    let Some(next_in) = member_end(data, start, &window) else { break };
                    return Member { start, next_in, fault: None, window, at: 0, consumed: 0, stream: None };
                }
                Err(DecompressionError::InsufficientSpace) if window.len() < cap => {
                    window.resize((window.len() * 4).min(cap), 0);
                }
                Err(_) => break,
            }
        }
        window.clear();
        let stream = Some(Stream::Gzip(Box::new(Decompress::new_gzip(15))));
        Member { start, next_in: start, fault: None, window, at: 0, consumed: 0, stream }
    }

    /// Starts the Zstandard frame at `start`; frames are read in a window always, which loses little there.
    pub(super) fn open_zstd(start: usize, dictionary: &[u8], mut window: Vec<u8>) -> Member {
        window.clear();
        let (stream, fault) = match zstd::stream::raw::Decoder::with_dictionary(dictionary) {
            Ok(stream) => (Some(Stream::Zstd(Box::new(stream))), None),
            Err(error) => (None, Some(MemberFault::Damaged(error.to_string()))),
        };
        Member { start, next_in: start, fault, window, at: 0, consumed: 0, stream }
    }

    /// Inflated bytes that are ready.
    pub(super) fn available(&self) -> &[u8] {
        &self.window[self.at..]
    }

    /// Offset of the first of them in the member's content.
    pub(super) fn stream_offset(&self) -> u64 {
        self.consumed
    }

    /// Whether nothing more will come than what is ready.
    pub(super) fn has_ended(&self) -> bool {
        self.stream.is_none()
    }

    /// Drops `n` ready bytes.
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.window.len() - self.at);
        self.at += n;
        self.consumed += n as u64;
    }

    /// Inflates until `wanted` bytes are ready or the member ends; the window grows by what is wanted and no more than 64 KiB.
    pub(super) fn fill(&mut self, data: &[u8], wanted: usize) {
        const STEP: usize = 64 << 10;
        if self.stream.is_some() && self.at > 0 && self.window.len() - self.at < wanted {
            self.window.drain(..self.at);
            self.at = 0;
        }
        while self.window.len() - self.at < wanted {
            let Some(stream) = &mut self.stream else { return };
            let filled = self.window.len();
            self.window.resize(filled + STEP, 0);
            let result = stream.step(&data[self.next_in..], &mut self.window[filled..]);
            let (taken, made) = result.as_ref().map_or((0, 0), |&(taken, made, _)| (taken, made));
            self.next_in += taken;
            self.window.truncate(filled + made);
            match result {
                Ok((_, _, true)) => self.stream = None,
                Ok((0, 0, false)) => {
                    self.fault = Some(MemberFault::Clipped);
                    self.stream = None;
                }
                Ok(_) => {}
                Err(reason) => {
                    self.fault = Some(MemberFault::Damaged(reason));
                    self.stream = None;
                }
            }
        }
    }

    /// The window, for the next member.
    pub(super) fn into_window(self) -> Vec<u8> {
        self.window
    }
}

/// The end of the member at `start` whose content is `content`, when it can be found.
fn member_end(data: &[u8], start: usize, content: &[u8]) -> Option<usize> {
    if content.is_empty() {
        return None;
    }
    let mut trailer = [0; 8];
    trailer[..4].copy_from_slice(&libdeflater::crc32(content).to_le_bytes());
    trailer[4..].copy_from_slice(&(content.len() as u32).to_le_bytes());
    // Deflate expands its input by next to nothing, so the member cannot be much longer than its content.
    let limit = content.len().saturating_add(content.len() / 8).saturating_add(64 << 10);
    let haystack = &data[start..data.len().min(start.saturating_add(limit))];
    let ends = memchr::memmem::find_iter(haystack, &trailer).map(|found| start + found + trailer.len());
    ends.into_iter().find(|&end| end == data.len() || data[end..].starts_with(GZIP_MAGIC))
}
