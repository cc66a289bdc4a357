//! HTTP messages as archives store them: status line, fields, body, and the payload behind its encodings.
//!
//! Everything is tolerant, because archives hold what servers sent: no reason phrase, no space behind the version, lines that end
//! with LF, and labels that lie. A body labelled chunked whose first line is no hexadecimal number, or labelled gzip without gzip's
//! magic number, is taken as it is.

use std::borrow::Cow;
use std::io::Read;

use crate::warc::HeaderFields;
use crate::warc::header::{block_end, lines};

/// Inflating stops when more than this many bytes came out and ...
const RATIO_FROM_BYTES: usize = 1 << 20;
/// ... they are more than this many times the input: no page compresses like that, bombs do.
const RATIO_MAX: usize = 1000;

/// A parsed message; the body is still encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpMessage<'a> {
    /// The status code of a response; `None` for a request or a status line that has none.
    pub status: Option<u16>,
    /// The header fields.
    pub fields: HeaderFields,
    /// The bytes behind the empty line.
    pub body: &'a [u8],
}

/// A payload cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum HttpError {
    #[error("the payload has more than {cap} bytes")]
    PayloadTooLarge { cap: usize },
    #[error("the payload inflates to more than {ratio_max} times its size")]
    RatioTooHigh { ratio_max: usize },
    #[error("the payload is not valid {encoding}: {reason}")]
    BadEncoding { encoding: &'static str, reason: String },
    #[error("Content-Encoding `{encoding}` is not read")]
    Unsupported { encoding: String },
}

impl<'a> HttpMessage<'a> {
    /// Parses `block`; total, because a block without an empty line is a message without a body.
    pub fn parse(block: &'a [u8]) -> HttpMessage<'a> {
        let end = block_end(block).unwrap_or(block.len());
        let (head, body) = block.split_at(end);
        let first = lines(head).next().unwrap_or_default();
        let first_end = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        // More fields than the limit is nothing that an archive should lose the page for: they are ignored.
        let fields = HeaderFields::parse(&head[first_end..]).unwrap_or_default();
        HttpMessage { status: parse_status(first), fields, body }
    }

    /// The media type without parameters, in lower case.
    pub fn mime(&self) -> Option<String> {
        let value = self.fields.get("Content-Type")?;
        let mime = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        (!mime.is_empty()).then_some(mime)
    }

    /// The `charset` parameter of `Content-Type`.
    pub fn charset(&self) -> Option<String> {
        let value = self.fields.get("Content-Type")?;
        let charset = value.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        })?;
        (!charset.is_empty()).then_some(charset)
    }

    /// The body with its transfer and content encodings undone, at most `cap` bytes of it.
    ///
    /// # Errors
    ///
    /// [`HttpError`]: over the cap or the ratio, damaged, or an encoding that is not read.
    pub fn payload(&self, cap: usize) -> Result<Cow<'a, [u8]>, HttpError> {
        let mut body = Cow::Borrowed(self.body);
        let transfer = self.fields.get("Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
        if transfer.split(',').any(|coding| coding.trim() == "chunked")
            && let Some(joined) = dechunk(&body)
        {
            body = Cow::Owned(joined);
        }
        let encodings = self.fields.get("Content-Encoding").unwrap_or_default().to_ascii_lowercase();
        for encoding in encodings.split(',').map(str::trim).rev() {
            body = match encoding {
                "" | "identity" | "none" => body,
                "gzip" | "x-gzip" if body.starts_with(&[0x1f, 0x8b]) => {
                    inflate("gzip", flate2::read::MultiGzDecoder::new(&*body), body.len(), cap)?.into()
                }
                // The name means zlib, and half of the servers send a raw stream.
                "deflate" => match inflate("zlib", flate2::read::ZlibDecoder::new(&*body), body.len(), cap) {
                    Err(HttpError::BadEncoding { .. }) => {
                        match inflate("deflate", flate2::read::DeflateDecoder::new(&*body), body.len(), cap) {
                            Err(HttpError::BadEncoding { .. }) if std::str::from_utf8(&body).is_ok() => body,
                            decoded => decoded?.into(),
                        }
                    }
                    decoded => decoded?.into(),
                },
                "zstd" if body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => {
                    let damaged =
                        |e: std::io::Error| HttpError::BadEncoding { encoding: "zstd", reason: e.to_string() };
                    let decoder = zstd::stream::read::Decoder::with_buffer(&*body).map_err(damaged)?;
                    inflate("zstd", decoder, body.len(), cap)?.into()
                }
                "br" => match inflate("br", brotli_decompressor::Decompressor::new(&*body, 4096), body.len(), cap) {
                    // The format has no magic number; text that does not inflate was never compressed.
                    Err(HttpError::BadEncoding { .. }) if std::str::from_utf8(&body).is_ok() => body,
                    decoded => decoded?.into(),
                },
                "gzip" | "x-gzip" | "zstd" => body,
                other => return Err(HttpError::Unsupported { encoding: other.to_owned() }),
            };
        }
        if body.len() > cap { Err(HttpError::PayloadTooLarge { cap }) } else { Ok(body) }
    }
}

/// `HTTP/1.1 200 OK`, `HTTP/1.1 200`, `HTTP/1.1200`.
fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let version = rest.iter().position(|&b| b != b'.' && !b.is_ascii_digit()).unwrap_or(rest.len());
    // A version is one digit, or two with a point; what follows it directly is the code.
    let after = if rest.get(1) == Some(&b'.') { 3.min(version) } else { 1.min(version) };
    let digits = rest[after..].trim_ascii_start().get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Joins the chunks; `None` when the first line is no chunk size. A clipped body gives what is there.
fn dechunk(body: &[u8]) -> Option<Vec<u8>> {
    let mut rest = body;
    let mut joined = Vec::with_capacity(body.len());
    loop {
        let Some(line_end) = memchr::memchr(b'\n', &rest[..rest.len().min(4096)]) else {
            return (!joined.is_empty()).then_some(joined);
        };
        let line = rest[..line_end].trim_ascii();
        let digits = line.split(|&b| b == b';').next().unwrap_or_default().trim_ascii_end();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        match size {
            None if joined.is_empty() => return None,
            None | Some(0) => return Some(joined),
            Some(size) => {
                let chunk = &rest[line_end + 1..];
                joined.extend_from_slice(&chunk[..size.min(chunk.len())]);
                rest = chunk.get(size..).unwrap_or_default();
                rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or(rest);
            }
        }
    }
}

fn inflate(encoding: &'static str, mut reader: impl Read, n_in: usize, cap: usize) -> Result<Vec<u8>, HttpError> {
    let mut out = Vec::new();
    let mut step = vec![0; 64 << 10];
    loop {
        match reader.read(&mut step) {
            Ok(0) => return Ok(out),
            Ok(n) => out.extend_from_slice(&step[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(HttpError::BadEncoding { encoding, reason: e.to_string() }),
        }
        if out.len() > cap {
            return Err(HttpError::PayloadTooLarge { cap });
        }
        if out.len() > RATIO_FROM_BYTES && out.len() / RATIO_MAX > n_in {
            return Err(HttpError::RatioTooHigh { ratio_max: RATIO_MAX });
        }
    }
}

#[cfg(test)]
mod tests;
