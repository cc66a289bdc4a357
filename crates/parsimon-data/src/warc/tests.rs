use std::io::Write;

use proptest::prelude::*;

use super::*;

const DATE: &str = "2026-01-01T00:00:00Z";

fn page(url: &'static str, payload: &'static [u8]) -> PageRecord<'static> {
    PageRecord { url, date: DATE, content_type: "text/html", payload }
}

/// A file of a warcinfo and three pages, one member each, and where the members start.
fn sample() -> (Vec<u8>, Vec<usize>) {
    let mut writer = WarcWriter::new();
    let mut file = writer.warcinfo("sample.warc.gz", DATE);
    let mut starts = vec![0];
    for (url, payload) in
        [("https://a.example/1", &b"<p>one"[..]), ("https://a.example/2", b"<p>two"), ("https://b.example/", b"")]
    {
        starts.push(file.len());
        file.extend(writer.response(&page(url, payload)));
    }
    (file, starts)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8], options: WarcOptions) -> Vec<Result<WarcRecord, WarcError>> {
    WarcReader::from_bytes("test.warc".as_ref(), bytes, options).collect()
}

fn plain(length: &str, block: &str) -> String {
    format!("WARC/1.0\r\nWARC-Type: resource\r\nContent-Length: {length}\r\n\r\n{block}\r\n\r\n")
}

#[test]
fn written_records_are_read_back() {
    let (file, starts) = sample();
    assert_eq!(sample().0, file, "writing is repeatable");
    let records: Vec<_> = read(&file, WarcOptions::default()).into_iter().map(Result::unwrap).collect();
    let types: Vec<_> = records.iter().map(WarcRecord::record_type).collect();
    assert_eq!(types, ["warcinfo", "response", "response", "response"]);
    for (record, (start, end)) in records.iter().zip(starts.iter().zip(starts.iter().skip(1).chain([&file.len()]))) {
        let location = Location { offset: *start as u64, length: Some((end - start) as u64), stream_offset: None };
        assert_eq!(record.location(), location);
        let digest = record.fields.get("WARC-Block-Digest").unwrap();
        assert_eq!(digest, format!("sha1:{}", sha1_base32(&record.block)));
    }
    let http = records[2].http().unwrap();
    assert_eq!((http.status, http.body), (Some(200), &b"<p>two"[..]));
    assert_eq!(http.fields.get("content-length"), Some("6"));
    assert_eq!(records[2].fields.get("WARC-Payload-Digest").unwrap(), format!("sha1:{}", sha1_base32(b"<p>two")));
    let ids: std::collections::BTreeSet<_> =
        records.iter().map(|record| record.record_id().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 4);
}

/// Every way of reading gives the same records: whole members, windows, one member for all, no compression.
#[test]
fn layouts_agree() {
    let (file, _) = sample();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&file[..]), &mut content).unwrap();
    let small = WarcOptions { member_bytes_max: 16, ..WarcOptions::default() };
    let blocks = |bytes: &[u8], options| -> Vec<Vec<u8>> {
        read(bytes, options).into_iter().map(|record| record.unwrap().block).collect()
    };
    let expected = blocks(&file, WarcOptions::default());
    assert_eq!(expected.len(), 4);
    assert_eq!(blocks(&file, small), expected);
    assert_eq!(blocks(&content, small), expected);
    let one_member = gzip(&content);
    for options in [WarcOptions::default(), small] {
        assert_eq!(blocks(&one_member, options), expected);
        let offsets: Vec<_> =
            read(&one_member, options).into_iter().map(|record| record.unwrap().location().stream_offset).collect();
        assert_eq!(offsets[0], None);
        assert!(offsets[1..].is_sorted() && offsets[1].is_some());
    }
}

/// What a file of one faulty record and a sound one gives: the errors' variants, and how many records.
#[track_caller]
fn check(first: &[u8], variants: &[&str], n_records: usize) {
    use parsimon_core::Diagnose;
    let bytes = [first, plain("4", "good").as_bytes()].concat();
    let items = read(&bytes, WarcOptions { record_bytes_max: 1000, ..WarcOptions::default() });
    let found: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).map(Diagnose::variant).collect();
    assert_eq!(found, variants);
    assert_eq!(items.iter().filter(|item| item.is_ok()).count(), n_records);
}

#[test]
fn faults_are_named_and_survived() {
    check(plain("3", "abc").as_bytes(), &[], 2);
    check(b"\r\n\n\r\n", &[], 1);
    check(b"WARC/1.0\nContent-Length: 3\n\nabc\n\n", &[], 2);
    check(b"WARC/1.1\r\nContent-Length: 3\r\nX: a\r\n\tb\r\n\r\nabc", &[], 2);
    check(b"garbage\r\n\r\n", &["BadHeader"], 1);
    check(plain("-3", "abc").as_bytes(), &["BadLength"], 1);
    check(plain("99999999999999999999", "abc").as_bytes(), &["BadLength"], 1);
    check(plain("9223372036854775808", "abc").as_bytes(), &["BadLength"], 1);
    check(b"WARC/1.0\r\nWARC-Type: resource\r\n\r\nabc\r\n\r\n", &["BadLength"], 1);
    check(plain("4000000000", "abc").as_bytes(), &["RecordTooLarge"], 1);
    // A length beyond the file's end, within the limit: the record is partial, and nothing can follow it.
    check(plain("999", "abc").as_bytes(), &["Truncated"], 1);
    check(b"filedesc://x.arc 0.0.0.0 20000101000000 text/plain 0\n", &["BadHeader"], 1);
    check(b"filedesc://x.arc 0.0.0.0 20000101000000 text/plain -9\n", &["BadHeader"], 0);
    check(b"filedesc://x.arc text/plain 9\n", &["BadHeader"], 0);
    let fields = "X: 1\r\n".repeat(300);
    check(format!("WARC/1.0\r\n{fields}Content-Length: 0\r\n\r\n\r\n\r\n").as_bytes(), &["BadHeader"], 1);
    let long = "x".repeat(70 << 10);
    check(format!("WARC/1.0\r\nX: {long}\r\n\r\n\r\n\r\n").as_bytes(), &["BadHeader"], 1);
}

#[test]
fn a_damaged_member_costs_itself_only() {
    let (file, starts) = sample();
    for damaged_at in starts[1] + 12..starts[2] - 8 {
        let mut bytes = file.clone();
        bytes[damaged_at] ^= 0x55;
        let items = read(&bytes, WarcOptions::default());
        let urls: Vec<_> =
            items.iter().flatten().filter(|record| !record.is_partial).filter_map(WarcRecord::target_uri).collect();
        assert!(urls.ends_with(&["https://a.example/2", "https://b.example/"]), "byte {damaged_at}: {urls:?}");
    }
}

/// Cut anywhere, a file gives the records before the cut and then an error that says where.
#[test]
fn truncated_at_every_byte() {
    let (file, starts) = sample();
    for length in 0..file.len() {
        let items = read(&file[..length], WarcOptions::default());
        let whole = items.iter().filter(|item| item.as_ref().is_ok_and(|record| !record.is_partial)).count();
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([file.len()]).collect();
        let expected = ends.iter().filter(|&&end| end <= length).count();
        if starts.contains(&length) {
            assert!(whole == expected && items.iter().all(Result::is_ok), "{length}");
            continue;
        }
        let start = starts.iter().copied().filter(|&start| start < length).max().unwrap() as u64;
        // The last member's content may be complete before its trailer is.
        assert!(whole == expected || whole == expected + 1, "{length}: {whole} of {expected}");
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().offset(), Some(start), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), prefix in 0usize..4) {
        let prefix: &[u8] = [&b""[..], b"WARC/1.0\r\n", &[0x1f, 0x8b, 8, 0], b"WARC/1.1\r\nContent-Length: 7\r\n\r\n"][prefix];
        let bytes = [prefix, &bytes].concat();
        for record in read(&bytes, WarcOptions::default()).into_iter().flatten() {
            if let Some(http) = record.http() {
                let _ = http.payload(1 << 16);
            }
        }
    }

    #[test]
    fn flipped_bits_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..8)) {
        let (mut bytes, _) = sample();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        prop_assert!(read(&bytes, WarcOptions::default()).len() <= 16);
    }
}

/// Frames of Zstandard: one a record, one for all, with a dictionary in front, damaged, clipped.
#[test]
fn zstandard_files() {
    let records: Vec<String> = (0..5).map(|n| plain("4", &format!("abc{n}"))).collect();
    let frames: Vec<Vec<u8>> =
        records.iter().map(|record| zstd::bulk::compress(record.as_bytes(), 3).unwrap()).collect();
    let blocks = |bytes: &[u8]| -> Vec<String> {
        let records = read(bytes, WarcOptions::default()).into_iter();
        records.map(|item| item.map_or_else(|e| format!("{e:?}"), |r| String::from_utf8(r.block).unwrap())).collect()
    };
    let expected = ["abc0", "abc1", "abc2", "abc3", "abc4"];
    let file = frames.concat();
    assert_eq!(blocks(&file), expected);
    let second = &read(&file, WarcOptions::default())[1];
    assert_eq!(second.as_ref().unwrap().location().offset, frames[0].len() as u64);
    assert_eq!(second.as_ref().unwrap().location().length, Some(frames[1].len() as u64));
    assert_eq!(blocks(&zstd::bulk::compress(records.concat().as_bytes(), 3).unwrap()), expected);

    // Raw content is a dictionary too; frames that need one cannot be read without it.
    let raw = records.concat().into_bytes();
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &raw).unwrap();
    let body: Vec<u8> = records.iter().flat_map(|record| compressor.compress(record.as_bytes()).unwrap()).collect();
    for dictionary in [raw.clone(), zstd::bulk::compress(&raw, 3).unwrap()] {
        let head = [&[0x5d, 0x2a, 0x4d, 0x18][..], &(dictionary.len() as u32).to_le_bytes(), &dictionary].concat();
        assert_eq!(blocks(&[&head[..], &body].concat()), expected);
        assert!(blocks(&head[..head.len() - 1])[0].contains("BadMember"));
    }
    let mut damaged = file.clone();
    damaged[frames[0].len() + 10] ^= 0x55;
    let found = blocks(&damaged);
    assert_eq!(found.iter().filter(|block| block.starts_with("abc")).count(), 4, "{found:?}");
    let clipped = blocks(&file[..file.len() - 20]);
    assert!(clipped[..4] == expected[..4] && clipped[4].contains("Truncated"), "{clipped:?}");
}
