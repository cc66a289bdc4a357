//! `parsimon isa --plan`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{json, parsimon};

/// Runs at the plainest level, which every machine has.
fn at_scalar(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsimon"));
    command.args(["isa", "--plan"]).args(args).env("PARSIMON_ISA", "scalar").output().unwrap()
}

#[test]
fn a_plan_has_every_level_down_to_scalar() {
    let output = parsimon(&["isa", "--plan", "11008", "4096", "8", "2", "--json"]);
    let document = json(&output);
    let plan = &document["plan"];
    assert_eq!((plan["m"].as_u64(), plan["n"].as_u64(), plan["group"].as_u64()), (Some(11008), Some(8), Some(128)));
    let levels = plan["levels"].as_array().unwrap();
    assert_eq!(levels[0]["level"], document["level"]);
    let scalar = levels.last().unwrap();
    assert_eq!((&scalar["level"], &scalar["kernel"]), (&"scalar".into(), &"lut-scalar".into()));
    for level in levels {
        // 11008 rows are whole tiles of every kernel for two bits.
        let (codes, scales) = (11008 * 4096 * 2 / 8, 11008 * 4096 / 128 * 2);
        assert_eq!((level["codes_bytes"].as_u64(), level["scales_bytes"].as_u64()), (Some(codes), Some(scales)));
        assert_eq!(level["gemv"]["bytes"].as_u64(), Some(codes + scales));
        assert_eq!(level["bits_per_weight"].as_f64(), Some(2.125));
        assert_eq!(level["work"]["flops"].as_u64(), Some(2 * 11008 * 4096 * 8));
        assert_eq!(level["gemv"]["operations"].as_u64().unwrap() * 8, level["work"]["operations"].as_u64().unwrap());
    }
}

#[test]
fn a_person_reads_kernels_bytes_and_reasons() {
    let output = at_scalar(&["64", "256", "2", "3", "--group", "64"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "weights [64, 256], 3 bits, groups of 64, one zero point, times 2 tokens",
        "lut-scalar",
        &(64 * 256 * 3 / 8).to_string(),
        &(64 * 4 * 2).to_string(),
        &(64 * 256 * 3 / 4).to_string(),
        &(2 * 64 * 256 * 3 / 4).to_string(),
        "scalar: lut-scalar: up to 3 bits: a lookup covers four weights",
        "65536 multiplications and additions",
    ] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    let ternary = json(&at_scalar(&["64", "256", "1", "ternary", "--json"]))["plan"].clone();
    assert_eq!((&ternary["ternary"], &ternary["bits"]), (&Value::Bool(true), &2.into()));
    let narrow = json(&parsimon(&["isa", "--plan", "64", "32", "1", "ternary", "--json"]))["plan"].clone();
    assert_eq!(narrow["group"], 32);
    let kernel = narrow["levels"][0]["kernel"].as_str().unwrap();
    assert!(!kernel.starts_with("elut"), "a row of 32 columns is too short a group for fives: {kernel}");
    let without = json(&parsimon(&["isa", "--json"]));
    assert!(without.get("plan").is_none(), "{without}");
}

#[track_caller]
fn check_refused(args: &[&str], variant: &str, part: &str) {
    let output = at_scalar(&[args, &["--json"]].concat());
    let error = &json(&output)["error"];
    assert_eq!((output.status.code(), error["variant"].as_str()), (Some(2), Some(variant)), "{args:?}: {error}");
    assert!(error["message"].as_str().unwrap().contains(part), "{args:?}: {error}");
}

#[test]
fn matrices_that_no_kernel_takes_exit_with_2() {
    check_refused(&["64", "256", "1", "9"], "UnsupportedBits", "9-bit");
    check_refused(&["64", "256", "1", "0"], "UnsupportedBits", "0-bit");
    check_refused(&["0", "256", "1", "2"], "EmptyShape", "0");
    check_refused(&["64", "256", "1", "2", "--group", "40"], "UnsupportedGroup", "groups of 40");
    check_refused(&["18446744073709551615", "2", "1", "2"], "TooLarge", "18446744073709551615");
    check_refused(&["64", "256", "0", "2"], "BadInput", "N = 0");
    check_refused(&["64", "256", "1", "two"], "BadInput", "`two`");
    check_refused(&["-1x", "256", "1", "2"], "Usage", "-1");
    check_refused(&["64", "256", "1"], "Usage", "4 values");
    let group_alone = parsimon(&["isa", "--group", "32"]);
    assert_eq!(group_alone.status.code(), Some(2));
    let help = parsimon(&["isa", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Example: parsimon isa --plan"));
}
