//! Gated attention from outside.

use parsimon_testkit::golden;

use super::{json, parsimon};

const TOKENS: &str = "5,9,2,6,5,3,5,8,9,7,9,3,2,3,8,4,6,2,6,4,3,3,8,3,2,7,9,5,0,2,8,8,4,1,9,7,1,6,9,3,9,9,3,7,5,1,0,5,8,2";

#[test]
fn gates_choose_blocks_and_are_never_left_out_in_silence() {
    golden("parsimon-cli", "attention/seer_tiny", |dir| {
        let [base, gate] = ["base", "gate"].map(|name| dir.join(name).to_str().unwrap().to_owned());
        let run = |words: &[&str]| {
            let all = ["generate", "--model", &base, "--prompt-tokens", TOKENS, "-n", "2", "--json"];
            parsimon(&[&all[..], words].concat())
        };
        let gated = json(&run(&["--attention", "seer", "--gate", &gate, "--nz-ratio", "0.5"]));
        let density = gated["density"].as_f64().unwrap();
        assert!(density > 0.0 && density < 1.0, "{gated}");
        assert!(json(&run(&[]))["density"].is_null());

        let alone = run(&["--gate", &gate]);
        let message = json(&alone)["error"]["message"].as_str().unwrap().to_owned();
        assert!(alone.status.code() == Some(2) && message.contains("--attention seer"), "{message}");
        let missing = run(&["--attention", "seer", "--gate", "nowhere"]);
        assert_eq!(missing.status.code(), Some(2));
        1
    });
}
