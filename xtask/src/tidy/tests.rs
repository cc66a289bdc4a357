use serde_json::json;

use super::*;

/// A repository of the given files, without packages and pages.
fn repo(files: &[(&str, &str)]) -> Repo {
    Repo {
        sources: files.iter().map(|(path, text)| Source::parse(path, text).unwrap()).collect(),
        papers: BTreeMap::from([("sigma".to_owned(), "Eq. 3, Table 14 and §3.1.".to_owned())]),
        packages: Vec::new(),
        architecture: String::new(),
        pulls: BTreeMap::new(),
    }
}

fn rule(name: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.name == name).expect("the rule is in the table")
}

/// Checks that the rule finds something at exactly these lines of the one file.
#[track_caller]
fn check(name: &str, path: &str, text: &str, lines: &[usize]) {
    let found: Vec<usize> = (rule(name).check)(&repo(&[(path, text)])).iter().map(|finding| finding.line).collect();
    assert_eq!(found, lines, "rule {name} on {path}:\n{text}");
}

const LIB: &str = "crates/parsimon-attn/src/heads.rs";
const KERNEL: &str = "crates/parsimon-attn/src/kernel/avx2.rs";
const ROOT: &str = "crates/parsimon-attn/src/lib.rs";

#[test]
fn unsafe_places() {
    check("unsafe", LIB, "fn f() {\n    unsafe { g() }\n}", &[2]);
    check("unsafe", LIB, "unsafe fn f() {}\nunsafe impl Send for X {}", &[1, 2]);
    check("unsafe", LIB, "m! {\n  unsafe { g() }\n}", &[2]);
    check("unsafe", LIB, "use std::arch::x86_64::*;\nuse core::{mem, arch};\nuse std::{fs, io};", &[1, 2]);
    check("unsafe", LIB, "#[target_feature(enable = \"avx2\")]\nfn f() {}", &[1]);
    check("unsafe", LIB, "#![allow(unsafe_code)]\n#[expect(unsafe_code)]\nfn f() {}", &[1, 2]);
    check("unsafe", LIB, "// unsafe\n/// unsafe\nfn f() { g(\"unsafe std::arch\") }", &[]);
    check("unsafe", KERNEL, "#![allow(unsafe_code)]\nfn f() { unsafe { g() } }", &[]);
    check("unsafe", "crates/parsimon-core/src/io/map.rs", "fn f() { unsafe { g() } }", &[]);
    check("unsafe", "crates/parsimon-core/src/io/json.rs", "fn f() { unsafe { g() } }", &[1]);
    check("unsafe", "crates/parsimon-simd/src/x86.rs", "fn f() { unsafe { g() } }", &[]);
    check("unsafe", ROOT, "#[allow(unsafe_code)]\nmod kernel;\n#[allow(unsafe_code)]\nmod heads;", &[3]);
    check("unsafe", "crates/parsimon-core/src/io.rs", "#[allow(unsafe_code)]\nmod map;", &[]);
    check("unsafe", "benches/src/main.rs", "fn f() { unsafe { g() } }", &[1]);
    check("unsafe", "benches/compare/src/ggml.rs", "fn f() { unsafe { g() } }", &[]);
    check(
        "unsafe",
        "benches/compare/src/main.rs",
        "#[allow(unsafe_code)]\nmod ggml;\n#[allow(unsafe_code)]\nmod ours;",
        &[3],
    );
}

#[test]
fn crate_roots() {
    check("lints", ROOT, "//! docs", &[1]);
    check("lints", ROOT, "#![deny(unsafe_code)]", &[1]);
    check("lints", ROOT, "#![forbid(unsafe_code)]", &[]);
    check("lints", ROOT, "// #![forbid(unsafe_code)]", &[1]);
    check("lints", "crates/parsimon-simd/src/lib.rs", "", &[]);
    check("lints", "benches/src/bin/lut.rs", "fn main() {}", &[1]);
    let with_kernel = |root| (rule("lints").check)(&repo(&[(ROOT, root), (KERNEL, "")])).len();
    assert_eq!(with_kernel("#![forbid(unsafe_code)]"), 1);
    assert_eq!(with_kernel("#![deny(unsafe_code)]"), 0);
    let program = |root| {
        let main = ("benches/compare/src/main.rs", root);
        (rule("lints").check)(&repo(&[main, ("benches/compare/src/ggml.rs", "")])).len()
    };
    assert_eq!(program("#![forbid(unsafe_code)]"), 1);
    assert_eq!(program("#![deny(unsafe_code)]"), 0);
    check("lints", "benches/src/main.rs", "#![deny(unsafe_code)]", &[1]);
}

#[test]
fn cpu_detection() {
    let text = "fn f() -> bool {\n    std::arch::is_x86_feature_detected!(\"avx2\")\n}";
    check("detection", KERNEL, text, &[2]);
    check("detection", "crates/parsimon-simd/src/level.rs", text, &[]);
}

#[test]
fn lengths() {
    check("file-length", LIB, &"// line\n".repeat(600), &[]);
    check("file-length", LIB, &"// line\n".repeat(601), &[601]);
    let function = |lines: usize| format!("//! d\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    check("fn-length", LIB, &function(70), &[]);
    check("fn-length", LIB, &function(71), &[2]);
    check("fn-length", "crates/parsimon-attn/tests/it/main.rs", &function(71), &[]);
    check("fn-length", LIB, &format!("#[cfg(test)]\nmod tests {{\n{}}}", function(71).replace("//! d\n", "")), &[]);
    check("fn-length", LIB, &format!("#[cfg(unix)]\nmod a {{\n{}}}", function(71).replace("//! d\n", "")), &[3]);
    check("fn-length", LIB, &format!("impl X {{\n{}}}", function(71).replace("//! d\n", "")), &[2]);
    check("fn-length", LIB, &format!("trait X {{\n{}}}", function(71).replace("//! d\n", "")), &[2]);
}

#[test]
fn file_names() {
    for name in ["mod", "utils", "helpers", "common", "misc", "types"] {
        check("names", &format!("crates/parsimon-attn/src/{name}.rs"), "", &[1]);
        check("names", &format!("crates/parsimon-attn/src/{name}/heads.rs"), "", &[1]);
    }
    check("names", "crates/parsimon-attn/src/common_prefix.rs", "", &[]);
}

#[test]
fn opening_docs() {
    check("module-docs", LIB, "//! Heads.\nfn f() {}", &[]);
    check("module-docs", LIB, "#![forbid(unsafe_code)]\n//! Late.", &[1]);
    check("module-docs", LIB, "// Not docs.\nfn f() {}", &[1]);
    check("module-docs", LIB, "/// Of the function.\nfn f() {}", &[1]);
    check("module-docs", "crates/parsimon-attn/src/heads/tests.rs", "fn f() {}", &[]);
}

#[test]
fn paper_tags() {
    check("papers", LIB, "//! PAPER(sigma Eq. 3), PAPER(sigma Table 14), PAPER(sigma §3.1)", &[]);
    check("papers", LIB, "//!\n//! PAPER(sigma Table 1)", &[2]);
    check("papers", LIB, "//! PAPER(sigma §3)", &[1]);
    check("papers", LIB, "//! PAPER(nobody §3)", &[1]);
    check("papers", LIB, "//! PAPER(sigma)", &[1]);
    check("papers", LIB, "//! PAPER(sigma\n//! Eq. 3)", &[1]);
}

#[test]
fn claims_name_what_exists() {
    let mut repo = repo(&[(LIB, "/// Ghost\npub struct HeadMap;\nfn heads_are_mapped() {}")]);
    let mut check = |row: &str, findings: usize| {
        repo.papers =
            BTreeMap::from([("sigma".to_owned(), format!("| claim | symbol | test | bench | status |\n{row}"))]);
        assert_eq!((rule("claims").check)(&repo).len(), findings, "{row}");
    };
    check("| x | `parsimon_attn::HeadMap` | `heads_are_mapped` | | done |", 0);
    check("| x | `parsimon_attn::Ghost` | `heads_are_mapped` | | done |", 1);
    check("| x | `HeadMap`, `Other` | `a_ghost` | `lut` | done |", 2);
    check("| `x` | | `parsimon eval` | | no |", 0);
}

#[test]
fn unfinished_work() {
    check("unfinished", LIB, concat!("// TO", "DO: later"), &[1]);
    check("unfinished", LIB, concat!("// FIX", "ME"), &[1]);
    check("unfinished", LIB, "fn f() {\n    dbg!(1);\n    todo!()\n}", &[2, 3]);
    check("unfinished", LIB, "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n#[test]\n#[ignore]\nfn g() {}", &[2, 5]);
    check("unfinished", LIB, "fn f(ignore: bool) -> bool { g(ignore) && dbg != 1 }", &[]);
}

#[test]
fn ambient_calls() {
    let text = "fn f() {\n    println!(\"x\");\n    eprint!(\"y\");\n}";
    check("printing", LIB, text, &[2, 3]);
    check("printing", LIB, "/// println!(\"x\")\nfn f() {}", &[]);
    check("printing", "crates/parsimon-attn/src/heads/tests.rs", text, &[]);
    for program in [
        "crates/parsimon-cli/src/main.rs",
        "xtask/src/main.rs",
        "benches/src/lib.rs",
        "crates/parsimon-testkit/src/lib.rs",
    ] {
        check("printing", program, text, &[]);
    }
    let text = "use std::env::{args, var};\nfn f() {\n    std::env::var_os(\"X\");\n    env!(\"X\");\n}";
    check("environment", LIB, text, &[1, 3]);
    check("environment", "crates/parsimon-simd/src/level.rs", text, &[]);
    check("environment", "crates/parsimon-simd/src/x86.rs", text, &[1, 3]);
    check("environment", "xtask/src/main.rs", text, &[]);
    let text = "fn f() {\n    let start = std::time::Instant::now();\n    SystemTime::now();\n}\nfn g(now: Instant) {}";
    check("clocks", LIB, text, &[2, 3]);
    check("clocks", "benches/src/lib.rs", text, &[]);
}

/// A package as `cargo metadata` shows it; a dependency is `name` or `name/kind`.
fn package(name: &str, dependencies: &[&str]) -> Value {
    let dependencies: Vec<Value> = dependencies
        .iter()
        .map(|dependency| match dependency.split_once('/') {
            Some((name, kind)) => json!({"name": name, "kind": kind}),
            None => json!({"name": dependency, "kind": null}),
        })
        .collect();
    json!({"name": name, "manifest_path": format!("/x/{name}/Cargo.toml"), "dependencies": dependencies})
}

#[track_caller]
fn check_edges(name: &str, packages: &[(&str, &[&str])], findings: usize) {
    let mut repo = repo(&[]);
    repo.packages = packages.iter().map(|(name, dependencies)| package(name, dependencies)).collect();
    let found = (rule(name).check)(&repo);
    assert_eq!(found.len(), findings, "{found:?}");
}

#[test]
fn crate_edges() {
    let lut: (&str, &[&str]) = ("parsimon-lut", &["parsimon-core", "serde"]);
    let core: (&str, &[&str]) = ("parsimon-core", &[]);
    let testkit: (&str, &[&str]) = ("parsimon-testkit", &[]);
    check_edges("edges", &[core, lut], 0);
    check_edges("edges", &[("parsimon-core", &["parsimon-lut"]), lut], 1);
    check_edges("edges", &[core, ("parsimon-attn", &["parsimon-core", "parsimon-lut"]), lut], 1);
    check_edges("edges", &[testkit, ("parsimon-core", &["parsimon-testkit/dev"])], 0);
    check_edges("edges", &[testkit, ("parsimon-core", &["parsimon-testkit"])], 1);
    check_edges("edges", &[core, ("xtask", &["parsimon-core"])], 1);
    check_edges("edges", &[core, ("parsimon-new", &["parsimon-core"])], 2);
}

#[test]
fn external_dependencies() {
    check_edges("external", &[("parsimon-train", &["burn"]), ("xtask", &["anyhow"])], 0);
    check_edges("external", &[("parsimon-model", &["burn-core"])], 1);
    check_edges("external", &[("parsimon-lut", &["anyhow", "rand"])], 2);
    check_edges("external", &[("parsimon-lut", &["rand/dev"])], 0);
}

#[test]
fn dependency_budget() {
    let mut repo = repo(&[]);
    repo.architecture = "| parsimon-simd | 10 | 8 |".into();
    repo.pulls.insert("parsimon-simd".into(), 8);
    assert_eq!((rule("budget").check)(&repo), []);
    repo.pulls.insert("parsimon-simd".into(), 11);
    assert_eq!((rule("budget").check)(&repo).len(), 1);
    repo.architecture.clear();
    assert_eq!((rule("budget").check)(&repo).len(), 2);
}
