use parsimon_testkit::golden;
use serde_json::Value;

use super::*;
use crate::Diagnose;
use crate::io::{Checkpoint, read_json};

#[test]
fn golden_files_load_or_are_refused() {
    golden("parsimon-core", "attention/pth", |dir| {
        let index: Value = read_json(&dir.join("index.json")).unwrap();
        let expected = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
        let files = index["files"].as_array().unwrap();
        for file in files {
            let name = file["file"].as_str().unwrap();
            let result = PthFile::open(&dir.join(name));
            if file["ok"] == false {
                assert_eq!(result.unwrap_err().variant(), file["error"].as_str().unwrap(), "{name}");
                continue;
            }
            let archive = result.unwrap();
            let tensors = file["tensors"].as_object().unwrap();
            assert_eq!(archive.names().count(), tensors.len(), "{name}");
            for (tensor, shape) in tensors {
                let ours = archive.tensor(tensor).unwrap();
                let shape: Vec<u64> = shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
                assert_eq!(ours.shape().iter().map(|&n| n as u64).collect::<Vec<_>>(), shape, "{name}");
                let theirs = expected.tensor(&format!("{}/{tensor}", name.trim_end_matches(".pth"))).unwrap();
                assert_eq!(ours.to_f32().unwrap(), theirs.to_f32().unwrap(), "{name} {tensor}");
            }
        }
        files.len()
    });
}

/// Every file cut at every length, and with bytes changed, is an error or a list of names: never a panic.
#[test]
fn damaged_files_do_not_panic() {
    golden("parsimon-core", "attention/pth", |dir| {
        let bytes = std::fs::read(dir.join("attn_gate_decode.pth")).unwrap();
        let mut refused = 0;
        for len in 0..bytes.len() {
            refused += usize::from(read_names(&bytes[..len]).is_err());
        }
        assert_eq!(refused, bytes.len(), "no file that ends early is whole");
        let mut rng = crate::SplitMix64::new(7);
        for _ in 0..4000 {
            let mut damaged = bytes.clone();
            for _ in 0..=rng.next_u64() % 3 {
                let at = rng.next_u64() as usize % damaged.len();
                damaged[at] ^= 1 << (rng.next_u64() % 8);
            }
            _ = read_names(&damaged);
        }
        1
    });
}

fn run(program: &[u8]) -> Result<Vec<(String, TensorRef)>, PthError> {
    pickle::tensors(program, 10, Place { file: Path::new("test") })
}

#[test]
fn what_is_not_on_the_list_is_refused_by_name() {
    let cases: [(&[u8], &str); 9] = [
        (b"\x80\x02cos\nsystem\n.", "ForbiddenGlobal"),
        (b"\x80\x02\x8c\x05posix\x8c\x06system\x93.", "ForbiddenGlobal"),
        (b"\x80\x01}.", "UnsupportedProtocol"),
        (b"\x80\x02}0.", "UnsupportedOpcode"),
        (b"\x80\x02iposix\nsystem\n.", "UnsupportedOpcode"),
        (b"\x80\x02K\x01.", "BadPickle"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01R.", "BadPickle"),
        (b"\x80\x02h\x05.", "BadPickle"),
        (b"\x80\x02X\xff\xff\xff\xff.", "BadPickle"),
    ];
    for (program, error) in cases {
        assert_eq!(run(program).unwrap_err().variant(), error, "{program:?}");
    }
    assert_eq!(run(b"\x80\x02}.").unwrap(), []);
    // The index of a memory costs nothing.
    assert_eq!(run(b"\x80\x02}r\xff\xff\xff\xff.").unwrap(), []);
}

/// Lists that hold themselves twice, again and again, are stopped long before memory is.
#[test]
fn growth_is_bounded() {
    let mut program = b"\x80\x02]q\x00".to_vec();
    for _ in 0..60 {
        program.extend(b"(h\x00h\x00lq\x00");
    }
    program.push(b'.');
    assert_eq!(run(&program).unwrap_err().variant(), "LimitExceeded");
    let deep = [&b"\x80\x02"[..], &[b'('; 100], &[b't'; 100], b"."].concat();
    assert_eq!(run(&deep).unwrap_err().variant(), "LimitExceeded");
    let tall = [&b"\x80\x02"[..], &[b'('; 70_000], b"."].concat();
    assert_eq!(run(&tall).unwrap_err().variant(), "LimitExceeded");
}
