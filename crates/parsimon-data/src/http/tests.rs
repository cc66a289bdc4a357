use std::io::Write;

use super::*;

const CAP: usize = 1 << 20;

fn message(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn check(head: &str, body: &[u8], expected: Result<&[u8], HttpError>) {
    let block = message(&format!("HTTP/1.1 200 OK\r\n{head}\r\n"), body);
    let payload = HttpMessage::parse(&block).payload(CAP);
    match expected {
        Ok(bytes) => assert_eq!(payload.unwrap(), bytes),
        Err(error) => assert_eq!(payload.unwrap_err(), error),
    }
}

fn encode<W: Write>(bytes: &[u8], encoder: impl FnOnce(Vec<u8>) -> W, finish: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
    let mut encoder = encoder(Vec::new());
    encoder.write_all(bytes).unwrap();
    finish(encoder)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    encode(bytes, |out| flate2::write::GzEncoder::new(out, flate2::Compression::fast()), |e| e.finish().unwrap())
}

#[test]
fn payloads() {
    let zlib =
        encode(b"text", |o| flate2::write::ZlibEncoder::new(o, flate2::Compression::fast()), |e| e.finish().unwrap());
    let raw = encode(
        b"text",
        |o| flate2::write::DeflateEncoder::new(o, flate2::Compression::fast()),
        |e| e.finish().unwrap(),
    );
    check("", b"text", Ok(b"text"));
    check("Content-Encoding: gzip\r\n", &gzip(b"text"), Ok(b"text"));
    check("content-encoding: X-GZIP\r\n", &gzip(b"text"), Ok(b"text"));
    check("Content-Encoding: gzip, gzip\r\n", &gzip(&gzip(b"text")), Ok(b"text"));
    check("Content-Encoding: deflate\r\n", &zlib, Ok(b"text"));
    check("Content-Encoding: deflate\r\n", &raw, Ok(b"text"));
    check("Content-Encoding: zstd\r\n", &zstd::encode_all(&b"text"[..], 1).unwrap(), Ok(b"text"));
    // Labels that lie.
    check("Content-Encoding: gzip\r\n", b"text", Ok(b"text"));
    check("Content-Encoding: deflate\r\n", b"plain text", Ok(b"plain text"));
    check("Transfer-Encoding: chunked\r\n", b"<html>", Ok(b"<html>"));
    // Chunks: sizes with extensions, LF alone, no last chunk, a size beyond the body.
    check("Transfer-Encoding: chunked\r\n", b"2;x=1\r\nte\r\n2\nxt\n0\r\n\r\n", Ok(b"text"));
    check("Transfer-Encoding: chunked\r\n", b"2\r\nte\r\n2\r\nxt", Ok(b"text"));
    check("Transfer-Encoding: chunked\r\n", b"2\r\nte\r\nffffffffffffffff\r\nxt", Ok(b"text"));
    check("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", &chunk(&gzip(b"text")), Ok(b"text"));
    check("Content-Encoding: compress\r\n", b"text", Err(HttpError::Unsupported { encoding: "compress".into() }));
    check("Content-Encoding: br\r\n", b"\x0b\x02\x80hello\x03", Ok(b"hello"));
    check("Content-Encoding: br\r\n", b"plain text", Ok(b"plain text"));
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n0\r\n\r\n"].concat()
}

#[test]
fn bombs_and_damage() {
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
    let bomb = message(head, &gzip(&vec![0; 8 << 20]));
    let parsed = HttpMessage::parse(&bomb);
    assert_eq!(parsed.payload(CAP), Err(HttpError::PayloadTooLarge { cap: CAP }));
    assert_eq!(parsed.payload(usize::MAX).map(|payload| payload.len()), Ok(8 << 20), "gzip cannot reach the ratio");
    let twice = message(
        "HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\n\r\n",
        &zstd::encode_all(&vec![0; 64 << 20][..], 3).unwrap(),
    );
    assert_eq!(HttpMessage::parse(&twice).payload(usize::MAX), Err(HttpError::RatioTooHigh { ratio_max: RATIO_MAX }));
    let cut = message(head, &gzip(b"text that is cut off")[..20]);
    assert!(matches!(HttpMessage::parse(&cut).payload(CAP), Err(HttpError::BadEncoding { encoding: "gzip", .. })));
    let long = message("HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 11]);
    assert_eq!(HttpMessage::parse(&long).payload(10), Err(HttpError::PayloadTooLarge { cap: 10 }));
}

#[test]
fn heads() {
    type Case<'a> = (&'a [u8], Option<u16>, Option<&'a str>, Option<&'a str>, &'a [u8]);
    let cases: [Case<'_>; 8] = [
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/HTML; charset=\"UTF-8\"\r\n\r\nx",
            Some(404),
            Some("text/html"),
            Some("UTF-8"),
            b"x",
        ),
        (b"HTTP/1.1 200\r\ncontent-type:text/html;a=b;Charset=x\r\n\r\n", Some(200), Some("text/html"), Some("x"), b""),
        (b"HTTP/1.1200\r\n\r\nx", Some(200), None, None, b"x"),
        (b"HTTP/1.0 200 OK\nContent-Type: text/plain\n\nx\n\ny", Some(200), Some("text/plain"), None, b"x\n\ny"),
        (b"HTTP/2 200\r\n\r\n", Some(200), None, None, b""),
        (b"GET / HTTP/1.1\r\n\r\n", None, None, None, b""),
        (b"no head at all", None, None, None, b""),
        (b"", None, None, None, b""),
    ];
    for (block, status, mime, charset, body) in cases {
        let message = HttpMessage::parse(block);
        assert_eq!(message.status, status, "{}", block.escape_ascii());
        assert_eq!(message.mime().as_deref(), mime);
        assert_eq!(message.charset().as_deref(), charset);
        assert_eq!(message.body, body);
    }
}
