//! `parsimon chat`, fed by a pipe.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::made;

/// What the command says to lines of input.
fn chat(folder: &std::path::Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsimon"));
    command.args(["chat", "-n", "12", "--model"]).arg(folder).args(args).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_conversation_goes_on_and_is_saved() {
    let model = made::model();
    let output = chat(
        model.path(),
        &["--system", "S", "--json"],
        "one\n\ntwo \\\nthree\n/save said.json\n/nothing\n/quit\nfour\n",
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let transcript: Value = serde_json::from_slice(&output.stdout).unwrap();
    let messages = transcript["messages"].as_array().unwrap();
    let said: Vec<(&str, &str)> =
        messages.iter().map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap())).collect();
    assert_eq!(
        said.iter().map(|(role, _)| *role).collect::<Vec<_>>(),
        ["system", "user", "assistant", "user", "assistant"]
    );
    assert_eq!([said[0].1, said[1].1, said[3].1], ["S", "one", "two \nthree"]);
    let saved: Value = serde_json::from_slice(&std::fs::read(model.path().join("said.json")).unwrap()).unwrap();
    assert_eq!(saved, transcript["messages"]);
    let replies = transcript["replies"].as_array().unwrap();
    assert!(
        replies.len() == 2
            && replies.iter().all(|r| r["tokens"].as_u64().unwrap() <= 12 && r["first_token_ms"].is_f64())
    );
    assert!(replies[1]["prompt_tokens"].as_u64() > replies[0]["prompt_tokens"].as_u64());
    assert!(stderr.contains("saved said.json") && stderr.contains("there is no `/nothing`"), "{stderr}");
}

#[test]
fn a_reset_forgets_and_seeds_repeat() {
    let model = made::model();
    let run = || chat(model.path(), &["--seed", "3"], "one\n/reset\none\n");
    let output = run();
    assert!(output.status.success() && output.stdout == run().stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let prompts: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix('[')?.split(' ').next()).collect();
    assert_eq!(prompts.len(), 2, "{stderr}");
    assert_eq!(prompts[0], prompts[1], "the second conversation begins anew");
    assert!(stderr.contains("tokens/s"), "{stderr}");
    // Too long for the context: told, and the conversation can go on after a reset.
    let output = chat(model.path(), &["--context", "60", "--json"], &format!("{}\n/reset\nhi\n", "x".repeat(100)));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("the context 60"), "{stderr}");
    let transcript: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&transcript["messages"][0]["content"], transcript["messages"].as_array().unwrap().len()),
        (&json!("hi"), 2)
    );
}
