//! The writer: one gzip member per record, repeatable to the byte.

use libdeflater::{CompressionLvl, Compressor};
use xxhash_rust::xxh3::xxh3_128;

use super::digest::sha1_base32;

/// A page to be written as a `response` record.
#[derive(Clone, Copy, Debug)]
pub struct PageRecord<'a> {
    /// `WARC-Target-URI`.
    pub url: &'a str,
    /// `WARC-Date`, RFC 3339 in UTC.
    pub date: &'a str,
    /// The `Content-Type` of the HTTP response.
    pub content_type: &'a str,
    /// The body of the HTTP response.
    pub payload: &'a [u8],
}

/// Makes gzip members that hold one record each; where they go is the caller's business.
///
/// Record ids are made from a hash of (url, date, payload), so that the same pages always give the same file.
///
/// ```
/// use parsimon_data::warc::{PageRecord, WarcOptions, WarcReader, WarcWriter};
///
/// let page = PageRecord { url: "https://a.example/", date: "2026-01-01T00:00:00Z", content_type: "text/html", payload: b"<p>hi" };
/// let mut file = WarcWriter::new().warcinfo("pages.warc.gz", page.date);
/// file.extend(WarcWriter::new().response(&page));
/// let records: Vec<_> = WarcReader::from_bytes("-".as_ref(), &file[..], WarcOptions::default()).collect::<Result<_, _>>()?;
/// assert_eq!(records[1].http().unwrap().body, b"<p>hi");
/// # Ok::<(), parsimon_data::warc::WarcError>(())
/// ```
pub struct WarcWriter {
    compressor: Compressor,
}

impl Default for WarcWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl WarcWriter {
    /// A writer with libdeflate's level 6.
    pub fn new() -> Self {
        WarcWriter { compressor: Compressor::new(CompressionLvl::new(6).expect("level 6 exists")) }
    }

    /// The record that opens a file.
    pub fn warcinfo(&mut self, file_name: &str, date: &str) -> Vec<u8> {
        let block = format!(
            "software: parsimon/{}\r\nformat: WARC File Format 1.1\r\n\
             conformsTo: http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/\r\n",
            env!("CARGO_PKG_VERSION")
        );
        let id = record_id(file_name, date, block.as_bytes());
        let header = format!(
            "WARC/1.1\r\nWARC-Type: warcinfo\r\nWARC-Date: {date}\r\nWARC-Filename: {file_name}\r\nWARC-Record-ID: {id}\r\n\
             Content-Type: application/warc-fields\r\nWARC-Block-Digest: sha1:{}\r\nContent-Length: {}\r\n\r\n",
            sha1_base32(block.as_bytes()),
            block.len(),
        );
        self.member(header.as_bytes(), block.as_bytes())
    }

    /// A page as an HTTP response with status 200.
    pub fn response(&mut self, page: &PageRecord<'_>) -> Vec<u8> {
        let http = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            page.content_type,
            page.payload.len()
        );
        let block = [http.as_bytes(), page.payload].concat();
        let header = format!(
            "WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {}\r\nWARC-Date: {}\r\nWARC-Record-ID: {}\r\n\
             Content-Type: application/http; msgtype=response\r\nWARC-Payload-Digest: sha1:{}\r\nWARC-Block-Digest: sha1:{}\r\n\
             Content-Length: {}\r\n\r\n",
            page.url,
            page.date,
            record_id(page.url, page.date, page.payload),
            sha1_base32(page.payload),
            sha1_base32(&block),
            block.len(),
        );
        self.member(header.as_bytes(), &block)
    }

    fn member(&mut self, header: &[u8], block: &[u8]) -> Vec<u8> {
        let record = [header, block, b"\r\n\r\n"].concat();
        let mut out = vec![0; self.compressor.gzip_compress_bound(record.len())];
        let length = self.compressor.gzip_compress(&record, &mut out).expect("the bound is large enough");
        out.truncate(length);
        out
    }
}

/// A UUID of version 8 (RFC 9562: own content) from the hash of what identifies the record.
fn record_id(url: &str, date: &str, payload: &[u8]) -> String {
    let identity = [url.as_bytes(), b"\0", date.as_bytes(), b"\0", payload].concat();
    let mut bytes = xxh3_128(&identity).to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    format!("<urn:uuid:{}-{}-{}-{}-{}>", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
