//! `parsimon index`: the life of an index, a runbook, and what is refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parsimon::tensor::SplitMix64;
use serde_json::Value;

use crate::{json, parsimon};

const DIM: usize = 8;

/// A folder with vectors, queries, and a place for an index.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        place.bytes("base.u8bin", 300, 1);
        place.bytes("queries.u8bin", 20, 2);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes random vectors.
    fn bytes(&self, name: &str, n: u32, seed: u64) {
        let mut rng = SplitMix64::new(seed);
        let mut bytes = [n.to_le_bytes(), (DIM as u32).to_le_bytes()].concat();
        bytes.extend((0..n as usize * DIM).map(|_| rng.next_u64() as u8));
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// `parsimon index`, where words that begin with `@` are names in the folder.
    fn run(&self, words: &str) -> Output {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).to_str().unwrap().to_owned(),
            None => word.to_owned(),
        };
        let words: Vec<String> = words.split(' ').map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        parsimon(&[&["index"], &words[..], &["--json"]].concat())
    }

    #[track_caller]
    fn good(&self, words: &str) -> Value {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    }

    /// The command fails with status 2, this variant, and a message with these parts.
    #[track_caller]
    fn bad(&self, words: &str, variant: &str, parts: &[&str]) {
        let output = self.run(words);
        let error = json(&output)["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert_eq!((output.status.code(), error["variant"].as_str()), (Some(2), Some(variant)), "{words}: {message}");
        for part in parts {
            assert!(message.contains(part), "{words}: `{message}` should name `{part}`");
        }
    }
}

#[test]
fn an_index_lives() {
    let place = Place::new();
    let built = place.good("build @i --data @base.u8bin --limit 16");
    assert_eq!(built["live"], 300);
    place.good("groundtruth --data @base.u8bin --queries @queries.u8bin -k 10 --out @gt.bin");
    let search = "search @i --queries @queries.u8bin -k 10 --nprobe 1000";
    let found = place.good(&format!("{search} --gt @gt.bin --out @found.ibin"));
    assert_eq!((found["recall"].as_f64(), found["complete"].as_bool()), (Some(1.0), Some(true)));
    assert!(place.path("found.ibin").exists());

    place.bytes("more.u8bin", 50, 3);
    assert_eq!(place.good("insert @i --data @more.u8bin --start 1000")["applied"], 50);
    place.bad("insert @i --data @more.u8bin --start 1049", "AlreadyExists", &["1049"]);
    let again = place.good("upsert @i --data @more.u8bin --start 1025");
    assert_eq!((&again["applied"], &again["replaced"]), (&50.into(), &25.into()));
    let gone = place.good("delete @i --id 0 --id 1 --id 777777");
    assert_eq!((&gone["applied"], &gone["missing"]), (&2.into(), &1.into()));
    let ids = place.good(search)["neighbours"].as_array().unwrap().clone();
    assert!(ids.iter().flat_map(|row| row.as_array().unwrap()).all(|hit| hit["id"] != "0" && hit["id"] != "1"));

    assert_eq!(place.good("stats @i")["live"], 373);
    place.good("maintain @i --jobs 10");
    place.good("maintain @i");
    place.good("checkpoint @i");
    place.good("compact @i");
    let report = place.good("verify @i --level full");
    assert_eq!((&report["clean"], &report["live"]), (&true.into(), &373.into()));
    assert_eq!(place.good("salvage @i --out @saved.u8bin")["rows"], 373);
    place.good("convert @saved.u8bin @saved.bvecs");
    assert_eq!(place.good("build @j --data @saved.bvecs")["live"], 373);
}

#[test]
fn an_empty_index_grows() {
    let place = Place::new();
    place.good("create @i --dim 8 --dtype u8");
    let found = place.good("search @i --queries @queries.u8bin -k 3");
    assert!(found["neighbours"].as_array().unwrap().iter().all(|row| row == &Value::Array(Vec::new())));
    place.good("insert @i --data @base.u8bin");
    let found = place.good("search @i --queries @queries.u8bin -k 3 --read-only");
    assert!(found["neighbours"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == 3));
}

#[test]
fn a_runbook_runs() {
    let place = Place::new();
    place.good("runbook churn --initial 200 --days 4 --per-day 20 --out @rb.yaml");
    let steps = place.good("run @i @rb.yaml --data @base.u8bin --queries @queries.u8bin --nprobe 1000 --report @out");
    let steps = steps.as_array().unwrap();
    let recalls: Vec<f64> = steps.iter().filter_map(|step| step["recall"].as_f64()).collect();
    assert!(recalls.len() >= 4 && recalls.iter().all(|&recall| recall == 1.0), "{recalls:?}");
    assert_eq!(steps.last().unwrap()["live"], 200);
    let csv = std::fs::read_to_string(place.path("out/steps.csv")).unwrap();
    assert_eq!(csv.lines().count(), steps.len() + 1);
    assert!(std::fs::read_to_string(place.path("out/report.html")).unwrap().contains("<svg"));
    assert_eq!(place.good("verify @i")["clean"], true);

    std::fs::write(place.path("bad.yaml"), "data:\n  max_pts: 10\n  1:\n    operation: search\n").unwrap();
    place.bad("run @k @bad.yaml --data @base.u8bin --queries @queries.u8bin", "Runbook", &["step 1", "insert"]);
    assert!(!place.path("k").exists(), "a runbook is checked before anything is made");
}

#[test]
fn bad_input_is_refused() {
    let place = Place::new();
    place.good("build @i --data @base.u8bin");
    place.bad("build @i --data @base.u8bin", "AlreadyAnIndex", &[]);
    place.bad("build @j --data @base.u8bin --codec rabitq1", "Unsupported", &["rabitq1"]);
    place.bad("build @j --data @base.u8bin --head-ratio 2", "InvalidParam", &["head_ratio"]);
    place.bad("build @j --data @base.u8bin --metric ip", "InvalidParam", &["metric"]);
    place.bad("search @i --queries @queries.u8bin --nprobe 0", "InvalidParam", &["nprobe"]);
    place.bad("stats @nothing", "NotAnIndex", &[]);
    let whole = std::fs::read(place.path("base.u8bin")).unwrap();
    std::fs::write(place.path("cut.u8bin"), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(place.run("insert @i --data @cut.u8bin").status.code(), Some(2));
    let mut wide = whole;
    wide[4] = 4;
    wide.truncate(8 + 300 * 4);
    std::fs::write(place.path("wide.u8bin"), wide).unwrap();
    place.bad("insert @i --data @wide.u8bin --start 5000", "Shape", &[]);
    let float = [1u32.to_le_bytes(), 8u32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
    std::fs::write(place.path("nan.fbin"), [float, vec![0; 28]].concat()).unwrap();
    place.bad("insert @i --data @nan.fbin", "InvalidParam", &["dtype"]);
    place.bad("build @j --data @nan.fbin", "InvalidVector", &["row 0", "not finite"]);
    assert_eq!(place.good("verify @i")["live"], 300);
}

#[test]
fn a_damaged_file_is_named() {
    let place = Place::new();
    place.good("build @i --data @base.u8bin");
    let data = place.path("i/data.blk");
    let mut bytes = std::fs::read(&data).unwrap();
    // A chunk that nothing refers to may be damaged without harm, so all are.
    bytes.chunks_mut(4096).skip(1).for_each(|chunk| chunk[300] ^= 1);
    std::fs::write(&data, bytes).unwrap();
    let output = place.run("verify @i");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("data.blk"));
}

#[test]
fn one_writer_at_a_time() {
    let place = Place::new();
    place.good("build @i --data @base.u8bin");
    let lock = std::fs::OpenOptions::new().write(true).open(place.path("i/LOCK")).unwrap();
    lock.lock().unwrap();
    place.bad("insert @i --data @base.u8bin --start 9000", "Locked", &["another process"]);
    place.good("search @i --queries @queries.u8bin -k 3 --read-only");
    drop(lock);
    place.good("insert @i --data @base.u8bin --start 9000");
}

/// As `parsimon index`, where no file may grow past some blocks: what a full disk does to a write.
#[cfg(target_os = "linux")]
fn limited(blocks: u32, words: &[&str]) -> Output {
    let mut command = Command::new("sh");
    let script = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_parsimon"), "index"]).args(words).output().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_the_index_as_it_was() {
    let place = Place::new();
    place.good("build @i --data @base.u8bin");
    place.bytes("more.u8bin", 40_000, 5);
    let (index, more) = (place.path("i"), place.path("more.u8bin"));
    let insert = ["insert", index.to_str().unwrap(), "--data", more.to_str().unwrap(), "--start", "1000", "--json"];
    let output = limited(200, &insert);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("error[") && !message.contains("panicked"), "{message}");
    // What was acknowledged before is whole, the rest is not there.
    let report = place.good("verify @i");
    assert_eq!(report["clean"], true);
    assert!(report["live"].as_u64().unwrap() >= 300);
}

#[test]
#[cfg(unix)]
fn a_read_only_folder_can_be_searched() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.good("build @i --data @base.u8bin");
    let set = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let index = place.path("i");
    set(&index, 0o555);
    let probe = std::fs::write(index.join("probe"), "");
    if probe.is_ok() {
        // Permissions do not bind this user (root): only the search is shown.
        std::fs::remove_file(index.join("probe")).unwrap();
    } else {
        let output = place.run("insert @i --data @base.u8bin --start 9000");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("error["));
    }
    place.good("search @i --queries @queries.u8bin -k 3 --read-only");
    set(&index, 0o755);
    assert_eq!(place.good("verify @i")["live"], 300);
}
