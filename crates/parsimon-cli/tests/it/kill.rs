//! Commands that write are killed at random moments: no unfinished file has a final name, and the next run ends in the bytes of one that was
//! never disturbed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::parsimon;
use crate::made::model;

/// Kills a command suffers.
const KILLS: u32 = 20;

/// Every file below a folder, or the file itself, without what a killed run may leave beside.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    if path.is_file() {
        all.insert(String::new(), std::fs::read(path).unwrap());
    }
    for entry in std::fs::read_dir(path).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // The report holds the seconds that it took.
        if name == "quantize.json" {
            continue;
        }
        for (inner, bytes) in contents(&entry.path()) {
            all.insert(format!("{name}/{inner}"), bytes);
        }
    }
    all
}

/// A small model that takes some tens of milliseconds to write.
fn source(dir: &Path) -> String {
    let model = dir.join("model").to_str().unwrap().to_owned();
    assert!(parsimon(&["synthesize", "--shape", "llama-15m", "--out", &model]).status.success());
    model
}

/// Runs `words --out PATH` undisturbed, then kills it at moments spread over that time, and lets a last run end.
#[track_caller]
fn check(words: &[&str], name: &str) {
    let dir = tempfile::tempdir().unwrap();
    check_model(&source(dir.path()), words, name);
}

#[track_caller]
fn check_model(model: &str, words: &[&str], name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsimon"));
        command.args(words).args(["--model", model, "--out"]).arg(out);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let whole = dir.path().join("whole").join(name);
    std::fs::create_dir_all(whole.parent().unwrap()).unwrap();
    let start = Instant::now();
    assert!(run(&whole).wait().unwrap().success());
    let (time, expected) = (start.elapsed(), contents(&whole));
    assert!(!expected.is_empty());

    let out = dir.path().join("killed").join(name);
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let mut child = run(&out);
        std::thread::sleep(time.mul_f64(f64::from(kill) / f64::from(KILLS)).max(Duration::from_millis(1)));
        child.kill().unwrap();
        interrupted += u32::from(!child.wait().unwrap().success());
        for (file, bytes) in contents(&out) {
            // What has a final name is whole; what has not is not among the files of a finished run.
            if let Some(expected) = expected.get(&file) {
                assert!(bytes == *expected, "{words:?}: {file} after kill {kill}");
            }
        }
    }
    assert!(interrupted > 0, "no run was killed before its end");
    assert!(run(&out).wait().unwrap().success());
    let after = contents(&out);
    for (file, bytes) in &expected {
        assert!(after.get(file) == Some(bytes), "{words:?}: {file} after the last run");
    }
}

#[test]
fn a_killed_quantize_leaves_nothing_half_written() {
    check(&["quantize", "--bits", "2", "--group", "32"], "folder");
    check(&["quantize", "--to", "gguf", "--type", "q4_0"], "model.gguf");
}

#[test]
fn a_killed_convert_leaves_nothing_half_written() {
    check(&["convert", "--dtype", "f16"], "model.gguf");
}

/// Finished layers are taken from the run before, and the folder is the one of a run that was never disturbed.
#[test]
fn a_killed_calibrated_quantize_goes_on() {
    let model = model();
    let text = model.path().join("calibration.txt");
    std::fs::write(&text, "Every layer depends on the text, the weights and the settings alone. ".repeat(60)).unwrap();
    let calib = text.to_str().unwrap();
    let words = ["quantize", "--method", "vptq", "--bits", "2", "--ctx", "128", "--calib", calib, "--compat", "none"];
    check_model(model.path().to_str().unwrap(), &words, "folder");
}
