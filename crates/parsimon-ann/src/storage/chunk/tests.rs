use parsimon_testkit::golden;
use serde_json::Value;

use super::*;
use crate::{Element, Metric};

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn read(dir: &std::path::Path, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join(name)).expect("a file")).expect("valid JSON")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

#[test]
fn golden_checksums_and_geometry() {
    golden("parsimon-ann", "ann/golden", |dir| {
        let crc = read(dir, "crc.json");
        for case in crc.as_array().expect("a list") {
            let found = format!("{:08x}", crc32c::crc32c(&hex(case["hex"].as_str().expect("hex"))));
            assert_eq!(found, case["crc32c"].as_str().expect("hex"));
        }
        let geometry = read(dir, "geometry.json");
        for case in geometry.as_array().expect("a list") {
            let element: Element = case["dtype"].as_str().expect("a name").parse().expect("a type");
            let space = Space::new(Metric::L2, element, number(&case["dim"]), None).expect("a space");
            let found = Geometry::of(&space);
            let expected =
                ["chunk_blocks", "cap", "stride", "vectors_at", "chunk_bytes", "limit"].map(|key| match key {
                    "chunk_bytes" => number(&case["chunk_bytes"]),
                    key => number(&case[key]),
                });
            let actual = [
                found.chunk_blocks,
                found.cap,
                found.stride,
                found.vectors_at,
                found.chunk_bytes(),
                found.default_limit() as usize,
            ];
            assert_eq!(actual, expected, "{case}");
        }
        crc.as_array().map_or(0, Vec::len) + geometry.as_array().map_or(0, Vec::len)
    });
}

/// One chunk byte by byte: decoded, encoded again, and every flipped bit found.
#[test]
fn golden_chunk() {
    golden("parsimon-ann", "ann/golden", |dir| {
        let case = read(dir, "chunk.json");
        let bytes = std::fs::read(dir.join("chunk.bin")).expect("chunk.bin");
        let space = Space::new(Metric::L2, Element::U8, 5, None).expect("a space");
        let uuid: Uuid = hex(case["uuid"].as_str().expect("hex")).try_into().expect("16 bytes");
        let format = ChunkFormat { geometry: Geometry::of(&space), uuid, row_dim: 5, element: 3, metric: 0 };
        let view = format.decode(&bytes).expect("sound");
        assert_eq!((view.seq, view.owner), (77, Owner { head: 9, index: 0 }));
        let mut records = Records::default();
        view.append_to(&mut records);
        for (i, record) in case["records"].as_array().expect("records").iter().enumerate() {
            assert_eq!(records.iids[i] as usize, number(&record["iid"]));
            assert_eq!(records.versions[i] as usize, number(&record["version"]));
            let row: Vec<u8> = record["row"].as_array().expect("a row").iter().map(|v| number(v) as u8).collect();
            assert_eq!(records.row(i, 16)[..5], row);
        }
        assert_eq!(format.encode(77, view.owner, &records, 0, records.len()), bytes);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(format.decode(&flipped).is_err(), "bit {bit}");
        }
        1
    });
}
