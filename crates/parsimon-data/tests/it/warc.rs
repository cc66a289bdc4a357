//! Golden archives: sound, damaged, odd.

use std::path::Path;

use parsimon_core::Diagnose;
use parsimon_data::warc::{WarcError, WarcOptions, WarcReader, WarcRecord, sha1_hex};
use serde_json::Value;

fn read(path: &Path) -> Vec<Result<WarcRecord, WarcError>> {
    WarcReader::open(path, WarcOptions::default()).unwrap().collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every record of the manifest: type, id, address, length, digest, place; status, type and payload of every HTTP response.
#[test]
fn manifest_goldens() {
    parsimon_testkit::golden("parsimon-data", "data/warc", |dir| {
        let manifest = json(&dir.join("../golden/warc_manifest.json"));
        let files = manifest.as_object().unwrap();
        files.iter().map(|(file, expected)| check_file(&dir.join(file), file, expected)).sum::<usize>()
    });
}

fn check_file(path: &Path, file: &str, expected: &Value) -> usize {
    let items = read(path);
    if file.ends_with(".arc.gz") {
        // The manifest's reader does not know the format; what must be there is written here.
        let records: Vec<&WarcRecord> = items.iter().map(|item| item.as_ref().unwrap()).collect();
        let types: Vec<_> = records.iter().map(|record| record.record_type()).collect();
        assert_eq!(types, ["warcinfo", "response"], "{file}");
        assert_eq!(records[1].target_uri(), Some("http://example.com/"));
        assert_eq!(records[1].fields.get("WARC-Date"), Some("2014-02-16T05:02:21Z"));
        let http = records[1].http().unwrap();
        assert_eq!((http.status, http.body.len(), records[1].block.len()), (Some(200), 1270, 1591));
        return 2;
    }
    let records: Vec<&WarcRecord> = items.iter().flatten().collect();
    let expected_records = expected["records"].as_array().unwrap();
    // The reader of the manifest stopped at the first fault; ours goes on to the next sound record.
    let has_fault = items.iter().any(Result::is_err);
    assert_eq!(has_fault, !expected["error"].is_null() || file == "resiliparse/clipped.warc.gz", "{file}");
    assert!(records.len() == expected_records.len() || (has_fault && records.len() > expected_records.len()), "{file}");
    // One member for several records: the manifest has places inside the reader's buffer.
    let has_offsets = !file.ends_with("bad-non-chunked.warc.gz");
    let mut http = expected["http"].as_array().unwrap().iter();
    for (record, expected) in records.iter().zip(expected_records) {
        let place = format!("{file} at {}", expected["off"]);
        assert_eq!(record.record_type(), expected["type"].as_str().unwrap(), "{place}");
        assert_eq!(record.record_id(), expected["id"].as_str(), "{place}");
        assert_eq!(record.target_uri(), expected["uri"].as_str(), "{place}");
        let length: u64 = record.fields.get("Content-Length").unwrap().parse().unwrap();
        assert_eq!(length, expected["len"].as_u64().unwrap(), "{place}");
        assert_eq!(sha1_hex(&record.block), expected["sha1"].as_str().unwrap(), "{place}");
        if has_offsets {
            assert_eq!(record.location().offset, expected["off"].as_u64().unwrap(), "{place}");
        }
        if let Some(message) = record.http() {
            let expected = http.next().unwrap();
            assert_eq!(message.status.map(u64::from), expected["status"].as_u64(), "{place}");
            if message.status.is_some() {
                let charset = message.charset().map(|charset| charset.to_ascii_lowercase());
                assert_eq!(message.mime().as_deref(), expected["ct"].as_str(), "{place}");
                assert_eq!(charset.as_deref(), expected["charset"].as_str(), "{place}");
            }
            // The manifest's digests are of the body as it stands, up to the HTTP Content-Length; what decoding makes of it is
            // checked by the quirks below. Of a clipped page the manifest has what is there.
            let length = message.fields.get("Content-Length").and_then(|length| length.parse().ok());
            let body = &message.body[..length.unwrap_or(usize::MAX).min(message.body.len())];
            let payload = message.payload(20 << 20);
            let is_cut = record.is_partial || file == "warcio/example-trunc.warc";
            assert!(payload.is_ok() || is_cut, "{place}: {payload:?}");
            if message.status.is_some() && !record.is_partial {
                assert_eq!(sha1_hex(body), expected["payload_sha1"].as_str().unwrap(), "{place}");
            }
        }
    }
    if file == "resiliparse/clipped.warc.gz" {
        assert!(records[0].is_partial);
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().variant(), "Truncated");
    }
    expected_records.len()
}

/// Our own file of 14 odd records, as plain file, as members, as one member, and clipped.
#[test]
fn quirk_goldens() {
    parsimon_testkit::golden("parsimon-data", "data/pages", |dir| {
        let expected = json(&dir.join("quirks.json"));
        let expected = expected.as_array().unwrap();
        for (file, n) in
            [("quirks.warc", 14), ("quirks.warc.gz", 14), ("one_member.warc.gz", 14), ("clipped.warc.gz", 11)]
        {
            let items = read(&dir.join(file));
            let records: Vec<&WarcRecord> = items.iter().flatten().filter(|record| !record.is_partial).collect();
            assert_eq!(records.len(), n, "{file}");
            let errors: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).map(Diagnose::variant).collect();
            assert_eq!(errors, if n == 14 { vec![] } else { vec!["Truncated".to_owned()] }, "{file}");
            for (record, expected) in records.iter().zip(expected) {
                assert_eq!(record.target_uri(), expected["uri"].as_str(), "{file}");
                if let Some(sha1) = expected["payload_sha1"].as_str() {
                    let payload = record.http().unwrap();
                    assert_eq!(sha1_hex(&payload.payload(20 << 20).unwrap()), sha1, "{file} {}", expected["name"]);
                }
            }
        }
        4 * expected.len()
    });
}
