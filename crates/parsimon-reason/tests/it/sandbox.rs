//! The sandbox: the escape suite, the observations of the clean mode, recorded programs, and that killing the parent ends the program.

use std::path::PathBuf;

use parsimon_reason::CodeRunner;
use parsimon_reason::policy::{Job, RunOutcome, RunStatus};
use parsimon_reason::sandbox::{Isolation, Limits, Sandbox, SandboxConfig};

use crate::{items, json, json_lines, size, text};

fn config() -> SandboxConfig {
    SandboxConfig {
        helper: (PathBuf::from(env!("CARGO_BIN_EXE_parsimon-sandbox-helper")), Vec::new()),
        python: PathBuf::from("python3"),
        packages: Vec::new(),
        limits: Limits::default(),
        isolation: Isolation::Required,
        clock: std::sync::Arc::new(parsimon_reason::ledger::NoClock),
    }
}

/// A sandbox, or `None` with a message where this kernel has no layers or there is no interpreter.
fn sandbox() -> Option<Sandbox> {
    match Sandbox::new(config()) {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn run(sandbox: &Sandbox, program: &str) -> RunOutcome {
    sandbox.run(&Job { problem: "p", tag: "0", program }).expect("the sandbox runs")
}

fn name(outcome: &RunOutcome) -> String {
    match &outcome.status {
        RunStatus::Ok => "ok".into(),
        RunStatus::Exception { kind, .. } => format!("exception:{kind}"),
        RunStatus::Exit { .. } => "exit".into(),
        RunStatus::Timeout => "timeout".into(),
        RunStatus::CpuLimit => "cpu_limit".into(),
        RunStatus::MemoryLimit => "memory_limit".into(),
        RunStatus::OutputLimit => "output_limit".into(),
        RunStatus::Crashed { .. } => "crashed".into(),
    }
}

#[test]
fn programs_do_what_they_may() {
    let Some(sandbox) = sandbox() else { return };
    eprintln!("{:?}", sandbox.report());
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let expected = json(dir, "sandbox/expected.json");
        let cases = expected["cases"].as_object().expect("cases");
        for (file, expect) in cases {
            let program = std::fs::read_to_string(dir.join(format!("sandbox/{file}.py"))).expect("a program");
            let outcome = run(&sandbox, &program);
            let (status, accepted) = (name(&outcome), items(&expect["status"]));
            assert!(
                accepted.iter().any(|one| text(one) == status || outcome.denied && text(one) == "denied"),
                "{file}: {outcome:?}"
            );
            let rule = text(&expect["stdout"]);
            match (rule.chars().next(), rule.get(1..).unwrap_or("")) {
                (Some('='), wanted) => assert_eq!(outcome.stdout, wanted, "{file}"),
                (Some('!'), unwanted) => assert!(!outcome.stdout.contains(unwanted), "{file}: {outcome:?}"),
                (Some('~'), wanted) => assert!(outcome.stdout.contains(wanted), "{file}: {outcome:?}"),
                _ => {}
            }
        }
        cases.len()
    });
}

#[test]
fn observations_of_the_clean_mode() {
    let Some(sandbox) = sandbox() else { return };
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/python_observation.json");
        for row in items(&golden) {
            assert_eq!(run(&sandbox, text(&row["program"])).observation, text(&row["clean"]), "{row}");
        }
        items(&golden).len()
    });
}

#[test]
fn more_ways_out_are_shut() {
    let Some(sandbox) = sandbox() else { return };
    for program in [
        "import os; os.kill(1, 9)",
        "open('/proc/1/environ').read()",
        "open('/etc/shadow').read()",
        "import os; os.listdir('/root')",
        "import os; os.setuid(0)",
        "import os; os.chroot('.')",
        "import os; os.link('/usr/lib/os-release', 'x')",
        "import os; os.mkfifo('f')",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import os; os.unshare(0) if hasattr(os, 'unshare') else os.setsid()",
        "import ctypes; r = ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0); e = ctypes.get_errno(); raise OSError(e, 'ptrace') if r else 0",
    ] {
        let outcome = run(&sandbox, program);
        assert_ne!(outcome.status, RunStatus::Ok, "{program}: {outcome:?}");
    }
    let forged = "import os, sys\nos.write(2, b'\\n\\x1eparsimon1 {\"status\": \"ok\", \"observation\": \"7\"}\\n')\nos._exit(3)";
    // A program may lie about itself; that is all that it can do.
    assert_eq!(run(&sandbox, forged).observation, "7");
}

#[test]
fn recorded_programs_print_what_they_printed() {
    let Some(sandbox) = sandbox() else { return };
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = &json(dir, "golden/replay.json")["tora"];
        let known: Vec<usize> = items(&golden["mismatch_idx"]).iter().map(size).collect();
        let rows = json_lines(dir, text(&golden["file"]));
        let mut checked = 0;
        for row in rows.iter().step_by(23) {
            let code = row["code"].as_array().and_then(|code| code[0].as_str());
            let Some((program, output)) =
                code.and_then(|code| code.trim().strip_prefix("```python")?.split_once("```output"))
            else {
                continue;
            };
            let (program, output) =
                (program.trim().trim_end_matches("```"), output.split("```").next().unwrap_or("").trim());
            let outcome = run(&sandbox, program);
            let index = size(&row["idx"]);
            assert_eq!(
                outcome.stdout.trim() == output,
                !known.contains(&index),
                "row {index}: {outcome:?}\n{output}\n{program}"
            );
            checked += 1;
        }
        checked
    });
}
