//! The older ARC format, version 1: one line of header and a block.
//!
//! ```text
//! filedesc://NAME IP DATE text/plain LENGTH      the first record: its block describes the file
//! URL IP DATE MIME LENGTH                        every other: its block is the HTTP response as it came
//! ```
//!
//! A record is given the fields that a WARC record of the same page would have, so that nothing behind the reader knows the difference.

use super::header::HeaderFields;

/// The longest header line that is read.
const LINE_BYTES_MAX: usize = 16 << 10;

/// A parsed header line.
pub(super) struct ArcHead {
    /// Bytes of the line, with its end.
    pub(super) length: usize,
    pub(super) fields: HeaderFields,
    pub(super) content_length: u64,
}

/// Whether an ARC file starts here.
pub(super) fn is_first_record(window: &[u8]) -> bool {
    window.starts_with(b"filedesc://")
}

/// Parses the header line at the start of `window`.
///
/// # Errors
///
/// What is wrong with it, for a message.
pub(super) fn parse_head(window: &[u8]) -> Result<ArcHead, String> {
    let window = &window[..window.len().min(LINE_BYTES_MAX)];
    let end = memchr::memchr(b'\n', window).ok_or("no line end behind the ARC header line")?;
    let line = String::from_utf8_lossy(&window[..end]);
    // Addresses with blanks occur; the other four fields have none, so the line is read from its end.
    let mut parts = line.trim_end().rsplitn(5, ' ');
    let mut next = |what: &str| parts.next().ok_or_else(|| format!("the ARC header line has no {what}"));
    let length = next("length")?;
    let (mime, date, address, url) = (next("media type")?, next("date")?, next("address")?, next("URL")?);
    let content_length =
        length.parse::<u64>().ok().filter(|&length| length < 1 << 63).ok_or(format!("the length is `{length}`"))?;
    let is_first = is_first_record(window);
    let is_http = url.starts_with("http:") || url.starts_with("https:");
    let content_type = if is_http { "application/http; msgtype=response" } else { mime };
    let kind = match (is_first, is_http) {
        (true, _) => "warcinfo",
        (false, true) => "response",
        (false, false) => "resource",
    };
    let fields = [
        ("WARC-Type", kind.to_owned()),
        ("WARC-Target-URI", url.to_owned()),
        ("WARC-Date", rfc3339(date)),
        ("WARC-IP-Address", address.to_owned()),
        ("Content-Type", content_type.to_owned()),
        ("WARC-Identified-Payload-Type", mime.to_owned()),
        ("Content-Length", content_length.to_string()),
    ];
    Ok(ArcHead { length: end + 1, fields: HeaderFields::from_pairs(fields), content_length })
}

/// `20140216050221` to `2014-02-16T05:02:21Z`; anything else stays as it is.
fn rfc3339(date: &str) -> String {
    if date.len() != 14 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return date.to_owned();
    }
    let part = |range: std::ops::Range<usize>| &date[range];
    format!("{}-{}-{}T{}:{}:{}Z", part(0..4), part(4..6), part(6..8), part(8..10), part(10..12), part(12..14))
}
