//! From bytes to text: which encoding a page is in, and how that was found out.
//!
//! In this order: a byte order mark, the charset of the HTTP header, a `<meta>` in the first 1,024 bytes (the WHATWG prescan), valid
//! UTF-8, and a statistical guess (chardetng). Labels are those of the WHATWG table, by encoding_rs.

mod prescan;

use std::borrow::Cow;

use chardetng::EncodingDetector;
use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, Serialize};

pub use prescan::prescan;

/// How the encoding of a page was found.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum CharsetSource {
    /// A byte order mark.
    Bom,
    /// The `charset` of the HTTP header.
    Http,
    /// A `<meta>` element.
    Meta,
    /// The bytes are valid UTF-8 and nothing else is said.
    Utf8,
    /// A statistical guess.
    Guess,
}

/// Decoded text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded<'a> {
    /// The text, without a byte order mark; bytes that are not valid in the encoding are U+FFFD.
    pub text: Cow<'a, str>,
    /// The name of the encoding.
    pub charset: &'static str,
    /// How it was found.
    pub source: CharsetSource,
}

/// Decodes `bytes`, with the charset that the HTTP header names when there is one.
pub fn decode<'a>(bytes: &'a [u8], http_charset: Option<&str>) -> Decoded<'a> {
    let (encoding, source) = find(bytes, http_charset);
    // `decode` honours a byte order mark, which has the last word here as well.
    let (text, encoding, _) = encoding.decode(bytes);
    Decoded { text, charset: encoding.name(), source }
}

fn find(bytes: &[u8], http_charset: Option<&str>) -> (&'static Encoding, CharsetSource) {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return (encoding, CharsetSource::Bom);
    }
    if let Some(encoding) = http_charset.and_then(|label| Encoding::for_label(label.as_bytes())) {
        return (encoding, CharsetSource::Http);
    }
    if let Some(encoding) = prescan(&bytes[..bytes.len().min(1024)]) {
        return (encoding, CharsetSource::Meta);
    }
    if std::str::from_utf8(bytes).is_ok() {
        return (UTF_8, CharsetSource::Utf8);
    }
    let mut detector = EncodingDetector::new();
    detector.feed(bytes, true);
    (detector.guess(None, true), CharsetSource::Guess)
}

#[cfg(test)]
mod tests;
