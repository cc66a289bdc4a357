use parsimon_testkit::golden;
use serde_json::Value;

use super::*;

fn entry(record: &Value) -> Entry {
    let numbers =
        |v: &Value| v.as_array().expect("a list").iter().map(|v| v.as_u64().expect("a number")).collect::<Vec<_>>();
    let ids = numbers(&record["ext"]);
    match record["kind"].as_str() {
        Some("upsert") => {
            let rows = record["rows"].as_array().expect("rows").iter().flat_map(numbers).map(|v| v as u8).collect();
            Entry::Upsert { ids, rows }
        }
        _ => Entry::Delete { ids },
    }
}

fn uuid_of(case: &Value) -> Uuid {
    let text = case["uuid"].as_str().expect("hex");
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
}

/// Clean, sealed, torn and damaged logs of an independent writer.
#[test]
fn golden_logs() {
    golden("parsimon-ann", "ann/golden", |dir| {
        let text = std::fs::read_to_string(dir.join("wal.json")).expect("wal.json");
        let json: Value = serde_json::from_str(&text).expect("valid JSON");
        let cases = json["cases"].as_array().expect("cases");
        for case in cases {
            let name = case["file"].as_str().expect("a name").to_owned();
            let bytes = std::fs::read(dir.join("wal").join(&name)).expect("a log");
            let found = replay(&[LogBytes { name: name.clone(), bytes }], 1, uuid_of(&json), 4, 4);
            match case["result"].as_str() {
                Some("ok") => {
                    let found = found.unwrap_or_else(|e| panic!("{name}: {e}"));
                    assert_eq!(Some(found.torn_bytes), case["torn_bytes"].as_u64(), "{name}");
                    assert_eq!(found.sealed, case["sealed"] == true, "{name}");
                    match case["records"].as_array() {
                        Some(records) => {
                            let expected: Vec<Entry> = records.iter().map(entry).collect();
                            let entries: Vec<Entry> = found.entries.into_iter().map(|(_, entry)| entry).collect();
                            assert_eq!(entries, expected, "{name}");
                        }
                        None => assert_eq!(Some(found.entries.len() as u64), case["n_records"].as_u64(), "{name}"),
                    }
                }
                _ => match found {
                    Err(StorageError::Corruption { offset, .. }) => {
                        assert!(case["offset"].as_u64().is_none_or(|expected| expected == offset), "{name}: {offset}");
                    }
                    found => panic!("{name}: {found:?}"),
                },
            }
        }
        cases.len()
    });
}

/// Every single flipped bit of a log is an error, a cut tail, or nothing that was acknowledged.
#[test]
fn flipped_bits() {
    let entries = [
        Entry::Upsert { ids: vec![1, 2], rows: vec![9; 8] },
        Entry::Delete { ids: vec![u64::MAX] },
        Entry::Upsert { ids: vec![3], rows: vec![7; 4] },
    ];
    let mut bytes = header([5; 16], 4, 1).to_vec();
    for (i, entry) in entries.iter().enumerate() {
        // Each record says that the one before it is durable.
        bytes.extend(encode(i as u64 + 1, i as u64, &entry.payload()));
    }
    let run = |bytes: Vec<u8>| replay(&[LogBytes { name: "log".into(), bytes }], 1, [5; 16], 4, 4);
    assert_eq!(run(bytes.clone()).expect("sound").entries.len(), 3);
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match run(flipped) {
            Err(StorageError::Corruption { .. }) => {}
            // Only the last record may be taken for one that was never acknowledged: nothing says that it was.
            Ok(found) => assert!(found.entries.len() == 2 && found.torn_bytes > 0, "bit {bit}"),
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
}
