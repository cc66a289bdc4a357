use parsimon_core::Diagnose;

use super::*;

#[test]
fn jsonl_round_trip_and_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JsonlWriter::create(dir.path(), "a/x.jsonl.zst").unwrap();
    writer.push(&serde_json::json!({"n": 1})).unwrap();
    writer.push_line(b"[2]").unwrap();
    assert!(!dir.path().join("a/x.jsonl.zst").exists(), "the file appears whole");
    let info = writer.commit().unwrap();
    assert_eq!(hash_file(dir.path(), "a/x.jsonl.zst").unwrap(), info);
    let path = dir.path().join("a/x.jsonl.zst");
    let mut reader = JsonlReader::open(&path).unwrap();
    assert_eq!(reader.next_line().unwrap(), Some(&b"{\"n\":1}"[..]));
    assert_eq!(reader.next_row::<Vec<u8>>().unwrap(), Some(vec![2]));
    assert_eq!(reader.next_line().unwrap(), None);
    let mut reader = JsonlReader::open(&path).unwrap();
    assert_eq!(reader.next_row::<Vec<u8>>().unwrap_err().variant(), "Malformed");

    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let mut reader = JsonlReader::open(&path).unwrap();
        let mut lines = 0;
        let is_error = loop {
            match reader.next_line() {
                Ok(Some(_)) => lines += 1,
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(lines < 3 && (is_error || length == 0), "{length}");
    }
}

#[test]
fn patterns_stand_for_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.gz", "a.gz", "c.txt", "sub/d.gz"] {
        std::fs::create_dir_all(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    let at = |name: &str| dir.path().join(name);
    let pattern = |name: &str| at(name).to_str().unwrap().to_owned();
    let cases = [
        (vec![pattern("*.gz")], vec!["a.gz", "b.gz"]),
        (vec![pattern("**/*.gz")], vec!["a.gz", "b.gz", "sub/d.gz"]),
        (vec![pattern("c.txt"), pattern("*.gz"), pattern("a.gz")], vec!["a.gz", "b.gz", "c.txt"]),
        (vec![pattern("{b,c}.*")], vec!["b.gz", "c.txt"]),
    ];
    for (patterns, expected) in cases {
        assert_eq!(expand(&patterns).unwrap(), expected.into_iter().map(at).collect::<Vec<_>>());
    }
    for (bad, variant) in
        [("*.zip", "NoInput"), ("absent/*.gz", "NoInput"), ("absent.gz", "NoInput"), ("[", "BadArgument")]
    {
        assert_eq!(expand(&[pattern(bad)]).unwrap_err().variant(), variant, "{bad}");
    }
}
