//! Any text as a runbook: an error, or steps that are the same after they were written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_ann::runbook::Runbook;

fuzz_target!(|text: &str| {
    let Ok(runbook) = Runbook::parse(text) else { return };
    let _ = runbook.check(1000);
    let again = Runbook::parse(&runbook.to_yaml()).expect("what was written can be read");
    assert_eq!(again.steps.len(), runbook.steps.len());
});
