//! Which crate may depend on which, inside the workspace and outside, and how many packages each pulls in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use super::{Finding, Repo};
use crate::workspace;

const SIMD: &str = "parsimon-simd";
const CORE: &str = "parsimon-core";
const LUT: &str = "parsimon-lut";
const VQ: &str = "parsimon-vq";
const ATTN: &str = "parsimon-attn";
const ANN: &str = "parsimon-ann";
const DATA: &str = "parsimon-data";
const REASON: &str = "parsimon-reason";
const HW: &str = "parsimon-hw";
const MODEL: &str = "parsimon-model";
const TRAIN: &str = "parsimon-train";
const FACADE: &str = "parsimon";
const CLI: &str = "parsimon-cli";
const TESTKIT: &str = "parsimon-testkit";
const BENCH: &str = "parsimon-bench";
const XTASK: &str = "xtask";

const LIBRARIES: &[&str] = &[SIMD, CORE, LUT, VQ, ATTN, ANN, DATA, REASON, HW, MODEL, TRAIN];

/// The allowed edges of docs/ARCHITECTURE.md; a package that is missing here may depend on none of ours.
const EDGES: &[(&str, &[&str])] = &[
    (SIMD, &[]),
    (CORE, &[SIMD]),
    (LUT, &[CORE, SIMD]),
    (VQ, &[CORE, SIMD]),
    (ATTN, &[CORE, SIMD]),
    (ANN, &[CORE, SIMD]),
    (DATA, &[CORE, SIMD]),
    (REASON, &[CORE, SIMD]),
    (HW, &[CORE]),
    (MODEL, &[CORE, SIMD, LUT, VQ, ATTN]),
    (TRAIN, &[CORE, SIMD, VQ, ATTN, MODEL]),
    (FACADE, LIBRARIES),
    (CLI, &[FACADE]),
    (TESTKIT, &[]),
    (BENCH, &[FACADE, SIMD, CORE, LUT, VQ, ATTN, ANN, DATA, REASON, HW, MODEL, TRAIN]),
    (XTASK, &[]),
];

const PROGRAMS: &[&str] = &[CLI, BENCH, XTASK];

/// External packages that only some crates may use: name (or a prefix with `*`), who may, why.
const EXTERNAL: &[(&str, &[&str], &str)] = &[
    ("burn*", &[TRAIN], "it takes seven minutes to build on two cores"),
    ("anyhow", PROGRAMS, "libraries have typed errors"),
    ("clap*", PROGRAMS, "libraries know no command line"),
    ("indicatif", &[CLI], "bars are drawn by the command line alone"),
    ("comfy-table", &[CLI], "tables are drawn by the command line alone"),
    ("ctrlc", &[CLI], "signals belong to the program"),
    ("tracing-subscriber", &[CLI], "where logs go is the program's choice"),
    ("axum", &[CLI], "the server belongs to the program"),
    ("hyper*", &[CLI], "the server belongs to the program"),
    ("tokio*", &[CLI], "libraries block, the program decides on tasks"),
    ("utoipa*", &[CLI], "the server belongs to the program"),
    ("minijinja*", &[MODEL], "only the runtime renders chat templates"),
    ("tokenizers", &[MODEL, DATA], "the runtime and the corpus share one tokenizer"),
    ("html5ever", &[DATA], "only the corpus reads HTML"),
    ("syn", &[XTASK], "only the tidy rules parse Rust"),
    ("rand*", &[], "the seeded generator of parsimon-core is the only source of randomness"),
    ("lazy_static", &[], "std::sync::LazyLock does it"),
    ("once_cell", &[], "std::sync::OnceLock does it"),
];

/// How many packages the default features of each crate may pull in, itself included: a little above today's number, so that
/// growth is a decision. docs/ARCHITECTURE.md shows the same numbers.
const BUDGET: &[(&str, usize)] = &[
    (SIMD, 10),
    (CORE, 42),
    (LUT, 75),
    (VQ, 75),
    (ATTN, 55),
    (ANN, 52),
    (DATA, 175),
    (REASON, 48),
    (HW, 45),
    (MODEL, 80),
    (TRAIN, 180),
    (FACADE, 205),
    (CLI, 355),
    (TESTKIT, 1),
    (XTASK, 35),
];

/// Edges between our own crates.
pub(super) fn own(repo: &Repo) -> Vec<Finding> {
    let ours: BTreeSet<&str> = repo.packages.iter().map(|package| text(&package["name"])).collect();
    let mut findings = Vec::new();
    for package in &repo.packages {
        let name = text(&package["name"]);
        let allowed = EDGES.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
        if allowed.is_none() {
            findings.push(at_manifest(package, format!("{name} is not in the table of allowed edges")));
        }
        for dependency in dependencies(package).filter(|dependency| ours.contains(dependency.name)) {
            let fine = match dependency.kind {
                // Tests may use the test kit; tests of one crate through another would be an edge in disguise.
                "dev" => dependency.name == TESTKIT || allowed.unwrap_or_default().contains(&dependency.name),
                _ => allowed.unwrap_or_default().contains(&dependency.name),
            };
            if !fine {
                let message = format!("{name} may not depend on {} ({} dependency)", dependency.name, dependency.kind);
                findings.push(at_manifest(package, message));
            }
        }
    }
    findings
}

/// External dependencies that are reserved.
pub(super) fn external(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &repo.packages {
        let name = text(&package["name"]);
        for dependency in dependencies(package).filter(|dependency| dependency.kind != "dev") {
            for (pattern, allowed, why) in EXTERNAL {
                let hit = match pattern.strip_suffix('*') {
                    Some(prefix) => dependency.name.starts_with(prefix),
                    None => dependency.name == *pattern,
                };
                if hit && !allowed.contains(&name) {
                    findings.push(at_manifest(package, format!("{name} may not use {}: {why}", dependency.name)));
                }
            }
        }
    }
    findings
}

/// Numbers of packages against the budget, and the table in docs/ARCHITECTURE.md.
pub(super) fn budget(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, limit) in BUDGET {
        let Some(&count) = repo.pulls.get(*name) else { continue };
        if count > *limit {
            let message = format!(
                "{name} pulls in {count} packages, the budget is {limit}: drop one, or raise the budget with a reason"
            );
            findings.push(Finding::new("xtask/src/tidy/edges.rs", 1, message));
        }
        let row = format!("| {name} | {limit} |");
        if !repo.architecture.contains(&row) {
            findings.push(Finding::new("docs/ARCHITECTURE.md", 1, format!("the table of budgets has no row `{row}`")));
        }
    }
    findings
}

/// The rows of the table in docs/ARCHITECTURE.md with today's counts.
pub(super) fn budget_table(pulls: &BTreeMap<String, usize>) -> String {
    let count = |name: &str| pulls.get(name).map_or("?".to_owned(), usize::to_string);
    BUDGET.iter().map(|(name, limit)| format!("| {name} | {limit} | {} |\n", count(name))).collect()
}

/// Counts what the default features of each package pull in: one `cargo tree` each, as many at once as there are processors.
pub(super) fn pulls(packages: &[Value]) -> Result<BTreeMap<String, usize>> {
    let names: Vec<&str> = packages.iter().map(|package| text(&package["name"])).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let count_all =
        |names: &[&str]| names.iter().map(|name| Ok((name.to_string(), pulled_by(name)?))).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let chunks = names.chunks(names.len().div_ceil(workers).max(1));
        let running: Vec<_> = chunks.map(|chunk| scope.spawn(|| count_all(chunk))).collect();
        running.into_iter().flat_map(|worker| worker.join().expect("counting does not panic")).collect::<Result<_>>()
    })
}

fn pulled_by(name: &str) -> Result<usize> {
    let mut command = workspace::cargo();
    command.args(["tree", "--quiet", "-p", name, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    let tree = workspace::output_of(&mut command)?;
    let packages: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    Ok(packages.len())
}

struct Dependency<'a> {
    name: &'a str,
    /// `normal`, `dev` or `build`.
    kind: &'a str,
}

fn dependencies(package: &Value) -> impl Iterator<Item = Dependency<'_>> {
    let list = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|dependency| Dependency {
        name: text(&dependency["name"]),
        kind: dependency["kind"].as_str().unwrap_or("normal"),
    })
}

fn at_manifest(package: &Value, message: String) -> Finding {
    let path = text(&package["manifest_path"]);
    let path = path.strip_prefix(&*workspace::root().to_string_lossy()).unwrap_or(path);
    Finding::new(path.trim_start_matches('/'), 1, message)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
